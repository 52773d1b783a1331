"""A model as one file for other runtimes: `.onnx`, or torch's own `.pt2`; checked against the model before it has its name.

The file takes a batch of any size, as `input`, of samples of the example's shape, and gives an output of each task by the
task's name: `depth`, or `depth.0`, `depth.1` where the model gives several predictions of one task. A module that gives one
tensor has `output`; several in a tuple are `output.0`, `output.1`. Maps have the size of the input image.
"""

import copy
import importlib.util
import io
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtl_core.checkpoint import StorageError
from mtl_core.components import evaluating, known_tasks, named_tasks, placed, prepared
from mtl_core.dense import dense_form
from mtl_core.resize import resize

TOLERANCE = 1e-4
"""Largest difference between the file's output and the model's, relative to the output's largest value of all batches."""

BATCHES = (1, 7)
"""Batches at which both are compared: none is the one that the model was followed with."""

ONNX_BYTES = 2**31 - 2**24
"""Weights of a larger model do not fit into one `.onnx` file: the format's limit is 2 GiB, the graph included."""

EXTRA = ("onnx", "onnxscript", "onnxruntime")


def export(model: nn.Module, example: Tensor, path: str | Path) -> Path:
    """Write a model to one file that runs without this package.

    The model is followed in evaluation mode (torch.export), written beside `path` under another name, loaded from there, run
    at two batch sizes and compared with the model (1e-4 of each output's largest value); only then the file gets its name.
    Layers with sparse kernels are written in dense form: neither format carries them.

    Args:
        model: Any module that takes the example and gives a tensor, or tuples and dicts of tensors; it is not changed.
        example: One input batch, of one sample at least; another batch size will do for the file, another shape will not.
        path: Where to: `.onnx` (needs the extra `mtl-core[export]` and torch 2.7) or `.pt2`. A `.pt2` holds pickled sample
            inputs of torch's: load only those that you have made.

    Returns:
        The path.

    Raises:
        ValueError: If the suffix is another one, torch is too old for it, the example is not usable, the model cannot be
            followed or written, or the file gives something else than the model.
        ModuleNotFoundError: If the extra is missing.
        StorageError: If the file cannot be written.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = export(nn.Linear(4, 3), torch.rand(1, 4), f"{folder}/model.pt2")
        ...     torch.export.load(path).module()(torch.rand(5, 4))["output"].shape
        torch.Size([5, 3])
    """
    path = Path(path)
    make, run = _format(path.suffix)
    if not isinstance(example, Tensor) or example.ndim < 1 or not len(example):
        raise ValueError(f"`example` must be one input batch with a sample in it. Got {_kind(example)}.")
    plain = _portable(dense_form(model))
    example = placed(example.detach().cpu(), plain)
    named = Named(plain)
    with evaluating(plain), prepared(plain):
        expected = {number: named(_batch(example, number)) for number in BATCHES}
        largest = _largest(expected.values())
        if path.suffix == ".onnx":
            _check_size(plain)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
                written = Path(folder) / f"model{path.suffix}"
                with _followed("torch must be able to follow `model` for any batch size, and to write it"):
                    content = make(_program(named, _batch(example, 2)), list(expected[1]))
                written.write_bytes(content)
                for number, outputs in expected.items():
                    with _followed(f"The file must run at a batch of {number}"):
                        found = run(written, _batch(example, number))
                    _compare(outputs, found, largest, number)
                os.replace(written, path)
        except OSError as error:
            raise StorageError(f"Cannot write `{path}`: {error}. Choose another place or make room.") from error
    return path


class Named(nn.Module):
    """A model as a file holds it: one input, and tensors by name, maps of the input's size.

    Args:
        model: What gives a tensor, or tuples and dicts of tensors.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        # A map is at the input's size, unless the task says that it has none; features of a module that names no tasks
        # are left as they are.
        self._dense = dict.fromkeys(named_tasks(model), True)
        self._dense |= {name: task.dense for name, task in known_tasks(model).items()}

    def forward(self, input: Tensor) -> dict[str, Tensor]:
        """Outputs by name."""
        outputs = dict(_flat(self.model(input), ""))
        return {name: self._sized(name, output, input) for name, output in outputs.items()}

    def _sized(self, name: str, output: Tensor, input: Tensor) -> Tensor:
        maps = output.ndim == 4 and input.ndim == 4 and output.is_floating_point()
        return resize(output, input.shape[2:]) if maps and self._dense.get(name.partition(".")[0]) else output


def _flat(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name or "output", value
        return
    if isinstance(value, Mapping):
        items = [(f"{name}.{key}" if name else str(key), item) for key, item in value.items()]
    elif isinstance(value, (tuple, list)):
        items = [(f"{name or 'output'}.{place}", item) for place, item in enumerate(value)]
    else:
        raise ValueError(f"`model` must give tensors, or tuples and dicts of them. Got {_kind(value)} as `{name}`.")
    for key, item in items:
        yield from _flat(item, key)


def _portable(model: nn.Module) -> nn.Module:
    """The model on the CPU, each weight contiguous and in memory of its own: torch's archive warns of others."""

    def whole(tensor: Tensor) -> bool:
        return tensor.is_contiguous() and tensor.untyped_storage().nbytes() == tensor.nbytes

    if all(t.device.type == "cpu" and whole(t) for t in (*model.parameters(), *model.buffers())):
        return model
    copied = copy.deepcopy(model).cpu()
    for tensor in (*copied.parameters(), *copied.buffers()):
        tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
    return copied


Make = Callable[[Any, Sequence[str]], bytes]
Execute = Callable[[Path, Tensor], Mapping[str, Tensor]]


def _format(suffix: str) -> tuple[Make, Execute]:
    """What makes a file's content of what torch has followed, and what runs a file."""
    if suffix not in (".onnx", ".pt2"):
        raise ValueError(f"`path` must end with `.onnx` or `.pt2`. Got `{suffix}`.")
    if suffix == ".pt2":
        return _pt2, _run_pt2
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f'An `.onnx` file needs {", ".join(EXTRA)}: `pip install "mtl-core[export]"`. '
            f"Got no {missing[0]}; `.pt2` needs nothing more."
        )
    if torch.__version__ < "2.7":
        raise ValueError(
            "An `.onnx` file needs torch 2.7 or newer: older exporters fail at a linear layer. "
            f"Got torch {torch.__version__}; `.pt2` can be written."
        )
    return _onnx, _run_onnx


def _program(named: Named, example: Tensor) -> Any:
    dynamic = {"input": {0: torch.export.Dim("batch", min=1)}}
    program = torch.export.export(named, (example,), dynamic_shapes=dynamic, strict=False)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it names files of this machine
    return program


def _pt2(program: Any, names: Sequence[str]) -> bytes:
    content = io.BytesIO()
    torch.export.save(program, content)
    return content.getvalue()


def _run_pt2(path: Path, inputs: Tensor) -> Mapping[str, Tensor]:
    outputs: Mapping[str, Tensor] = torch.export.load(path).module()(inputs)
    return outputs


def _onnx(program: Any, names: Sequence[str]) -> bytes:
    made = torch.onnx.export(program, (), dynamo=True, output_names=list(names), external_data=False, verbose=False)
    assert made is not None
    proto = made.model_proto
    graph = proto.graph
    del graph.value_info[:]  # shapes in between, which every runtime finds by itself
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output):
        del value.metadata_props[:]
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param == batch:
                size.dim_param = "batch"
    for node in graph.node:
        del node.metadata_props[:]
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def _run_onnx(path: Path, inputs: Tensor) -> Mapping[str, Tensor]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    values = session.run(names, {"input": inputs.numpy()})
    return {name: torch.from_numpy(value) for name, value in zip(names, values, strict=True)}


def _check_size(model: nn.Module) -> None:
    size = sum(tensor.nbytes for tensor in model.state_dict().values() if isinstance(tensor, Tensor))
    if size > ONNX_BYTES:
        raise ValueError(
            f"`model` must have at most {ONNX_BYTES:,} bytes of weights: one `.onnx` file holds no more. "
            f"Got {size:,}: take `.pt2`."
        )


def _largest(batches: Iterable[Mapping[str, Tensor]]) -> dict[str, float]:
    """The largest value of each output over all batches: the only number of a batch of one may be next to 0."""
    largest: dict[str, float] = {}
    for outputs in batches:
        for name, output in outputs.items():
            value = float(output.double().abs().max()) if output.numel() else 0.0
            largest[name] = max(largest.get(name, 0.0), value)
    return largest


def _compare(
    expected: Mapping[str, Tensor], found: Mapping[str, Tensor], largest: Mapping[str, float], number: int
) -> None:
    if list(expected) != list(found):
        raise ValueError(f"The file must have the outputs {list(expected)}. Got {list(found)}. Nothing was written.")
    for name, output in expected.items():
        other = found[name]
        same = output.shape == other.shape and output.dtype == other.dtype
        ours, theirs = output.double(), other.double()
        difference = float((ours - theirs).abs().max()) if same and ours.numel() else 0.0
        if not same or not difference <= TOLERANCE * largest[name]:  # NaN is not small either
            raise ValueError(
                f"The file must give what the model gives, to {TOLERANCE:g} of its largest value {largest[name]:.3g}. Got "
                + (f"a difference of {difference:.3g}" if same else f"{_kind(other)} for {_kind(output)}")
                + f" in `{name}` at a batch of {number}. Nothing was written."
            )


def _batch(example: Tensor, number: int) -> Tensor:
    """So many samples, made of the example's and all different, so that no two rows can be mistaken for each other."""
    rows = [example[place % len(example)] for place in range(number)]
    if example.is_floating_point():
        rows = [row * (1 - place / (2 * number)) for place, row in enumerate(rows)]
    else:
        rows = [row.roll(place, -1) if row.ndim else row for place, row in enumerate(rows)]
    return torch.stack(rows).contiguous()


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {list(value.shape)} and {str(value.dtype).removeprefix('torch.')}"
    return type(value).__name__


@contextmanager
def _followed(rule: str) -> Iterator[None]:
    """Turn what torch and the runtimes raise, of whatever type, into the user's error."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())
        raise ValueError(f"{rule}. Got {type(error).__name__}: {said[:400]}. Nothing was written.") from error
