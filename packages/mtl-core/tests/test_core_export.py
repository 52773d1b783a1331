"""One file for other runtimes: checked before it has its name, whole or not there, and never silently another model."""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mtl_core as core
from mtl_core import backbones, heads
from mtl_core.checkpoint import StorageError
from mtl_core.compaction import Choice, Kernels
from mtl_core.dense import dense_form
from mtl_core.export import Named
from mtl_core.resize import resize
from mtl_core.task import classification, segmentation

MODULE = sys.modules["mtl_core.export"]  # the package has the function under this name
TASKS = [segmentation("parts", 4), classification("kind", 3)]


def head(channels: int, task: core.Task) -> nn.Module:
    return nn.Conv2d(channels, task.channels, 1) if task.dense else heads.linear()(channels, task)


def run(path: Path, x: Tensor) -> dict[str, Tensor]:
    return torch.export.load(path).module()(x)


def test_a_pt2_file_gives_what_the_model_gives(tmp_path: Path) -> None:
    """By task, for batches of 1 and 7, maps of the input's size; in evaluation mode, and the model stays in its own."""
    torch.manual_seed(0)
    model = core.SharedBackbone(backbones.tiny(), TASKS, head)
    model(torch.rand(8, 3, 16, 16))  # norms with a past
    before = {name: t.clone() for name, t in model.state_dict().items()}
    assert core.export(model, torch.rand(1, 3, 16, 16), str(tmp_path / "m.pt2")) == tmp_path / "m.pt2"
    assert model.training
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert [path.name for path in tmp_path.iterdir()] == ["m.pt2"]
    model.eval()
    for batch in (1, 7):
        x = torch.rand(batch, 3, 16, 16)
        found = run(tmp_path / "m.pt2", x)
        assert list(found) == ["parts", "kind"]
        torch.testing.assert_close(found["parts"], resize(model(x)["parts"], (16, 16)))
        torch.testing.assert_close(found["kind"], model(x)["kind"])
    assert b"test_core_export.py" not in (tmp_path / "m.pt2").read_bytes()


class Kernel(nn.Module):
    """A linear layer by a kernel that no format carries."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("rows", layer.weight.detach().to_sparse())

    def forward(self, x: Tensor) -> Tensor:
        return torch.sparse.mm(self.rows, x.t()).t()  # type: ignore[arg-type]

    def dense_layer(self) -> nn.Module:
        layer = nn.Linear(4, 3, bias=False, dtype=self.rows.dtype)  # type: ignore[arg-type]
        layer.load_state_dict({"weight": self.rows.to_dense()})  # type: ignore[operator]
        return layer


def test_sparse_kernels_are_written_in_dense_form(tmp_path: Path) -> None:
    """In any type: this one is float64, which the example is brought to."""
    model = nn.Sequential(Kernel(nn.Linear(4, 3, bias=False)).double(), nn.ReLU())
    path = core.export(model, torch.rand(1, 4), tmp_path / "m.pt2")
    x = torch.rand(5, 4, dtype=torch.float64)
    torch.testing.assert_close(run(path, x)["output"], model(x))
    assert isinstance(model[0], Kernel)


def test_a_compacted_model_is_measured_and_written_by_task(tmp_path: Path) -> None:
    """It knows its tasks: each has a way of its own, and maps the input's size; sparse kernels are dense in the file."""
    torch.manual_seed(0)
    model = core.SharedBackbone(backbones.tiny(width=0.5), TASKS, head).eval()
    with torch.no_grad():
        model.backbone.layer3.conv1.weight[torch.rand(16, 16, 3, 3) < 0.9] = 0.0
    x = torch.rand(2, 3, 16, 16)
    small = core.compact(model, x, kernels=Kernels({"backbone.layer3.conv1": Choice("tapped", 0.5)}))
    assert any(hasattr(module, "dense_layer") for module in small.modules())
    assert {name: task and task.dense for name, task in small.tasks.items()} == {"parts": True, "kind": False}
    found = core.measure(small, x, repeats=2)
    assert list(found.tasks) == ["parts", "kind"]
    dense = dense_form(small)
    for name in ("parts", "kind"):  # also where the part of a task was made before
        torch.testing.assert_close(dense(x, [name])[name], model(x)[name], rtol=1e-4, atol=1e-4)
        assert not any(hasattr(module, "dense_layer") for module in dense.part([name]).modules())
    path = core.export(small, x, tmp_path / "m.pt2")
    assert run(path, x)["parts"].shape == (2, 4, 16, 16)


def test_weights_in_another_order_of_memory_are_written(tmp_path: Path) -> None:
    """Channels last, and a weight that is a part of a larger tensor; the model keeps its own."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2)).to(memory_format=torch.channels_last)
    model[2].weight = nn.Parameter(torch.rand(5, 16)[2:4])
    path = core.export(model, torch.rand(1, 3, 4, 4), tmp_path / "m.pt2")
    x = torch.rand(5, 3, 4, 4)
    torch.testing.assert_close(run(path, x)["output"], model(x))
    assert not model[0].weight.is_contiguous()


class Gives(nn.Module):
    """Gives whatever is asked of it."""

    def __init__(self, give: Any) -> None:
        super().__init__()
        self.give = give

    def forward(self, x: Tensor) -> Any:
        return self.give(x)


@pytest.mark.parametrize(
    ("give", "names"),
    [
        (lambda x: x, ["output"]),
        (lambda x: (x, [x, x]), ["output.0", "output.1.0", "output.1.1"]),
        (lambda x: {"a": x, "b": (x, x)}, ["a", "b.0", "b.1"]),
        (lambda x: {"a": {"b": x}, 3: x}, ["a.b", "3"]),
    ],
)
def test_every_tensor_has_a_name(give: Any, names: Sequence[str]) -> None:
    """A tensor, tuples, dicts, and one in the other."""
    assert list(Named(Gives(give))(torch.zeros(1, 2))) == names


def test_maps_have_the_size_of_the_input() -> None:
    """Those of dense tasks; of a model that knows no tasks, all; features of a module that names none stay."""
    x = torch.rand(2, 3, 8, 8)

    def small(x: Tensor) -> Any:
        return {"parts": (x[..., ::2, ::2],), "vector": x.mean((2, 3))}

    model = Gives(small)
    assert Named(model)(x)["parts.0"].shape == (2, 3, 4, 4)
    for task, size in ((None, 8), (segmentation("parts", 3), 8), (classification("parts", 3), 4)):
        model.tasks = {"parts": task, "vector": None}  # of a task that is none of maps, a map is no map of the image
        assert Named(model)(x)["parts.0"].shape == (2, 3, size, size)
        assert Named(model)(x)["vector"].shape == (2, 3)
    named = Gives(small)
    named.components = lambda: {"backbone": [], "head.parts": []}
    assert Named(named)(x)["parts.0"].shape == (2, 3, 8, 8)


def one_batch(x: Tensor) -> Tensor:
    return x.reshape(2, 4) if len(x) == 2 else x


def by_value(x: Tensor) -> Tensor:
    return x + 1 if bool(x.sum() > 0) else x


@pytest.mark.parametrize("give", [one_batch, by_value])
def test_a_model_that_cannot_be_followed_is_refused(give: Any, tmp_path: Path) -> None:
    """One that works for one batch only, one whose way hangs on values: nothing is left, not even a folder's file."""
    message = r"torch must be able to follow `model` for any batch size, and to write it\. Got .*Nothing was written\."
    with pytest.raises(ValueError, match=message) as caught:
        core.export(Gives(give), torch.rand(1, 4), tmp_path / "m.pt2")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("found", ["other", "nan", "shape", "type"])
def test_a_file_that_gives_something_else_is_refused(
    found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other values, NaN, another shape, another type: named with task and batch; what bore the name before stays."""
    (tmp_path / "m.pt2").write_text("before")
    off = {
        "other": (lambda y: y * 1.001, "a difference of"),
        "nan": (lambda y: y * torch.nan, "a difference of nan"),
        "shape": (lambda y: y[:, :1], r"a tensor of shape \[1, 1\] and float32 for a tensor of shape \[1, 3\]"),
        "type": (lambda y: y.double(), r"a tensor of shape \[1, 3\] and float64 for"),
    }[found]
    layer = nn.Linear(4, 3)
    monkeypatch.setattr(MODULE, "_run_pt2", lambda path, x: {"output": off[0](layer(x))})
    message = (
        rf"must give what the model gives, to 0.0001 of its largest value .*{off[1]}.* in `output` at a batch of 1"
    )
    with pytest.raises(ValueError, match=message):
        core.export(layer, torch.rand(1, 4), tmp_path / "m.pt2")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("m.pt2", "before")]


def test_an_output_next_to_zero_is_compared_by_the_size_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first sample's only number is 1e-4 and the other samples' about 1: rounding of 1e-6 is no other result."""
    signs = torch.tensor([[1.0], [-1.0]])
    monkeypatch.setattr(MODULE, "_run_pt2", lambda path, x: {"output": x @ signs + 1e-6})
    model = Gives(lambda x: x @ signs)
    core.export(model, torch.tensor([[1.0, 0.9999], [3.0, 1.0]]), tmp_path / "m.pt2")
    with pytest.raises(ValueError, match="a difference of"):
        core.export(model, torch.tensor([[1.0, 0.9999]]), tmp_path / "other.pt2")


def test_a_model_that_gives_nan_is_refused(tmp_path: Path) -> None:
    """Nothing can be compared with it."""
    with pytest.raises(ValueError, match="a difference of nan"):
        core.export(Gives(lambda x: x * torch.nan), torch.rand(1, 4), tmp_path / "m.pt2")


@pytest.mark.parametrize(
    ("name", "example", "message"),
    [
        ("m.tflite", torch.zeros(1, 4), r"`path` must end with `.onnx` or `.pt2`. Got `.tflite`"),
        ("m", torch.zeros(1, 4), "Got ``"),
        ("m.pt2", torch.zeros(0, 4), r"`example` must be one input batch.* Got a tensor of shape \[0, 4\]"),
        ("m.pt2", torch.tensor(1.0), r"`example` must be one input batch.* Got a tensor of shape \[\]"),
        ("m.pt2", [1], r"`example` must be one input batch with a sample in it. Got list"),
    ],
)
def test_what_cannot_be_meant_is_refused(name: str, example: Any, message: str, tmp_path: Path) -> None:
    """Another format, no sample."""
    with pytest.raises(ValueError, match=message):
        core.export(nn.Linear(4, 3), example, tmp_path / name)


def test_outputs_that_are_no_tensors_are_refused(tmp_path: Path) -> None:
    """With their place."""
    with pytest.raises(ValueError, match=r"`model` must give tensors, or tuples and dicts of them. Got int as `a.0`"):
        core.export(Gives(lambda x: {"a": (3,)}), torch.rand(1, 4), tmp_path / "m.pt2")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file as folder; a folder as file."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"Cannot write `.*m.pt2`: .*Choose another place or make room"):
        core.export(nn.Linear(4, 3), torch.rand(1, 4), tmp_path / "file" / "m.pt2")
    (tmp_path / "m.pt2").mkdir()
    with pytest.raises(StorageError, match=r"Cannot write `.*m.pt2`"):
        core.export(nn.Linear(4, 3), torch.rand(1, 4), tmp_path / "m.pt2")


def test_without_the_extra_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And that `.pt2` needs nothing."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    message = r'`pip install "mtl-core\[export\]"`. Got no onnx; `.pt2` needs nothing more'
    with pytest.raises(ModuleNotFoundError, match=message):
        core.export(nn.Linear(4, 3), torch.rand(1, 4), tmp_path / "m.onnx")


def test_a_torch_that_is_too_old_for_onnx_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is followed or written."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    monkeypatch.setattr(torch, "__version__", type(torch.__version__)("2.6.0+cu124"))
    with pytest.raises(ValueError, match=r"needs torch 2.7 or newer: .* Got torch 2.6.0\+cu124; `.pt2` can be written"):
        core.export(nn.Linear(2, 2), torch.rand(1, 2), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_integers_are_exported_too(tmp_path: Path) -> None:
    """An embedding of words: rows of a batch differ, and stay in range."""
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten())
    path = core.export(model, torch.tensor([[1, 8, 3]]), tmp_path / "m.pt2")
    x = torch.tensor([[0, 1, 2], [3, 4, 5]])
    torch.testing.assert_close(run(path, x)["output"], model(x))


@pytest.mark.cuda
def test_a_model_on_a_gpu_is_written_for_any_machine(tmp_path: Path) -> None:
    """The file runs on a CPU; the model stays where it is."""
    model = nn.Linear(4, 3).cuda()
    path = core.export(model, torch.rand(1, 4), tmp_path / "m.pt2")
    x = torch.rand(5, 4)
    torch.testing.assert_close(run(path, x)["output"], model(x.cuda()).cpu(), rtol=1e-4, atol=1e-4)
    assert model.weight.is_cuda
