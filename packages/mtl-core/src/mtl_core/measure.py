"""What a model takes: parameters, operations, time, memory and bytes on disk, in all and for each task alone."""

import statistics
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mtl_core import cuda
from mtl_core.components import evaluating, named_tasks, placed, prepared
from mtl_core.dense import dense_form
from mtl_core.page import Table, aligned, number
from mtl_core.storage import stored_bytes

WARM = 3
"""Passes before time is taken: caches, and what a kernel chooses at its first call."""


@dataclass(frozen=True)
class Path:
    """What one way through a model takes, for one forward pass of the whole input batch.

    Attributes:
        parameters: Parameters on the way.
        survivors: Those that are not zero.
        flops: Floating-point operations of convolutions and matrix products, 2 for each multiply-add.
        nonzero_flops: Those of multiply-adds with a weight that is not zero: what a kernel that skips zeros has to do.
        seconds: Median time, warm.
        quartiles: Lower and upper quartile of the time.
        memory: Peak bytes: weights, inputs and what lives at once between them. On a CPU the tensors are added up, without
            the buffers within a kernel; on a GPU it is what torch's allocator gave, with them.
        disk: Bytes of the file that these weights are saved to.
    """

    parameters: int
    survivors: int
    flops: int
    nonzero_flops: int
    seconds: float
    quartiles: tuple[float, float]
    memory: int
    disk: int


@dataclass(frozen=True)
class Measurement:
    """What `measure` gives; as text it is a table.

    Attributes:
        whole: The model with all its tasks.
        tasks: Each task alone, by name: `model(inputs, [task])`.
        shape: Shape of the input batch.
        dtype: Type of the arithmetic.
        device: Where it ran.
        threads: Threads that torch used on the CPU.
        repeats: Passes that were timed.
    """

    whole: Path
    tasks: dict[str, Path]
    shape: tuple[int, ...]
    dtype: str
    device: str
    threads: int
    repeats: int

    def values(self) -> dict[str, Any]:
        """As JSON values, for a report's entry `measured`: `result.extended(measured={"ours": measurement.values()})`."""
        return {**asdict(self), "shape": list(self.shape)}

    def __str__(self) -> str:
        """A table, and under it what was measured how."""
        values = {"": self.values()}
        return "\n".join([*aligned(measured_table(values)), *measured_notes(values)])


def measure(model: nn.Module, example: Tensor, *, repeats: int = 30) -> Measurement:
    """Measure a model, in evaluation mode: in all, and for each task alone where it has tasks.

    Args:
        model: Any module that takes the example. Tasks are measured where it names them (`components()`, or a mapping
            `tasks`). With sparse kernels it is timed as it is; its parameters, operations and bytes on disk are those of
            its dense form.
        example: One input batch. Every figure is for the whole batch: give one sample for the time of one sample.
        repeats: Passes that are timed, after some that are not.

    Returns:
        The figures, which print as a table.

    Raises:
        ValueError: If `repeats` is less than 2.

    Examples:
        >>> measured = measure(nn.Linear(4, 3), torch.zeros(2, 4))
        >>> measured.whole.parameters, measured.whole.flops, measured.whole.memory
        (15, 48, 116)
    """
    if repeats < 2:
        raise ValueError(f"`repeats` must be at least 2: a spread needs two. Got `repeats = {repeats}`.")
    inputs = placed(example, model)
    dense = dense_form(model)
    with evaluating(model), nullcontext() if dense is model else evaluating(dense):
        whole = _path(model, dense, inputs, (), repeats)
        alone = {task: _path(model, dense, inputs, ([task],), repeats) for task in named_tasks(model)}
    dtype = str(inputs.dtype).removeprefix("torch.")
    return Measurement(whole, alone, tuple(inputs.shape), dtype, _device(inputs), torch.get_num_threads(), repeats)


def measured_table(measured: Mapping[str, Mapping[str, Any]]) -> Table:
    """A row for each way through each model.

    Args:
        measured: `Measurement.values()` by the model's name.
    """
    rows = []
    for name, values in measured.items():
        for path, facts in {"all tasks": values["whole"], **values["tasks"]}.items():
            low, high = (number(1e3 * float(quartile)) for quartile in facts["quartiles"])
            cells = [number(facts["parameters"]), number(facts["survivors"])]
            cells += [number(facts[key] / 1e6) for key in ("flops", "nonzero_flops")]
            cells += [number(1e3 * float(facts["seconds"])), f"{low} to {high}"]
            rows.append((name, path, *cells, *(number(facts[key] / 2**10) for key in ("memory", "disk"))))
    figures = ("parameters", "not zero", "MFLOP", "MFLOP, not zero", "ms", "quartiles", "memory, KiB", "file, KiB")
    if not any(measured):  # one model without a name
        return Table(("for", *figures), tuple(row[1:] for row in rows))
    return Table(("model", "for", *figures), tuple(rows))


def measured_notes(measured: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the figures of a table are, in sentences; for each way of measuring once."""
    ways = {
        f"One pass of {'×'.join(map(str, values['shape']))}, {values['dtype']}, on {values['device']}"
        + (f", {values['threads']} thread{'s' * (values['threads'] > 1)}" if values["device"] == "cpu" else "")
        + f"; time: median and quartiles of {values['repeats']} passes, warm."
        for values in measured.values()
    }
    counted = "MFLOP: million operations of convolutions and matrix products, 2 for each multiply-add."
    kernels = any(values["device"] != "cpu" for values in measured.values())
    memory = "Memory: weights, inputs and activations at their peak, buffers within kernels "
    return [*sorted(ways), counted, memory + ("included on a GPU." if kernels else "left out.")]


def _path(model: nn.Module, dense: nn.Module, inputs: Tensor, tasks: tuple[Any, ...], repeats: int) -> Path:
    from mtl_core.trace import trace  # late: torch's counter of operations takes a third of a second to import

    def run() -> Any:
        return model(inputs, *tasks)

    with prepared(model):
        run()  # a lazy module has its weights from now on
        own = trace(model, run, [inputs])
        memory = own.weight_bytes + own.activation_bytes
        if inputs.device.type == "cuda":
            memory = own.weight_bytes + inputs.nbytes + _allocated(run, inputs.device)
        times = _times(run, inputs.device, repeats)
    if dense is not model:
        with prepared(dense):
            own = trace(dense, lambda: dense(inputs, *tasks), [inputs])
    parameters = [p for name, p in dense.named_parameters() if not tasks or name in own.used]
    low, median, high = statistics.quantiles(times, n=4, method="inclusive")
    return Path(
        sum(p.numel() for p in parameters),
        sum(int(torch.count_nonzero(p.detach())) for p in parameters),
        own.flops,
        own.nonzero_flops,
        median,
        (low, high),
        memory,
        stored_bytes(dense, own.used if tasks else None),
    )


def _times(run: Callable[[], Any], device: torch.device, repeats: int) -> list[float]:
    for _ in range(WARM):
        run()
    return [cuda.seconds(run, device) for _ in range(repeats)]


def _allocated(run: Callable[[], Any], device: torch.device) -> int:
    """What a pass takes on a GPU besides what is there before it."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def _device(inputs: Tensor) -> str:
    return torch.cuda.get_device_name(inputs.device) if inputs.device.type == "cuda" else str(inputs.device)
