"""What `measure` and `export` do with the folder of a finished run."""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtl_core.commands.architecture import Architecture, Parts
from mtl_core.compaction import Kernels, compact
from mtl_core.components import placed
from mtl_core.export import export
from mtl_core.measure import measure, measured_notes, measured_table
from mtl_core.page import aligned
from mtl_core.result import load


def compacted(model: nn.Module, example: Tensor, kernels: Kernels | None = None) -> nn.Module:
    """The model without what is zero; the model itself, and a line that says why, where that cannot be done."""
    try:
        small = compact(model, placed(example, model), kernels=kernels)
    except (ValueError, TypeError, ArithmeticError) as error:
        print(f"The zeros stay in the model: {' '.join(str(error).split())}", file=sys.stderr)
        return model
    return small


def measured(models: dict[str, nn.Module], example: Tensor, repeats: int = 30) -> dict[str, Any]:
    """Figures of models by name, for a report's entry `measured`; what is pruned also without its zeros.

    Args:
        models: By the name that the report gives them.
        example: One input batch.
        repeats: Passes that are timed.
    """
    found = {}
    for name, model in models.items():
        found[name] = measure(model, example, repeats=repeats).values()
        if name == "ours":
            small = compacted(model, example)
            found |= (
                {"ours, compacted": measure(small, example, repeats=repeats).values()} if small is not model else {}
            )
    return found


def measure_run(
    folder: Path, batch: int, repeats: int, device: str | None, backbone: str | None, parts: Parts | None = None
) -> None:
    """Print what a saved model takes.

    Args:
        folder: What `fit` or `demo` has written.
        batch: Samples of a pass.
        repeats: Passes that are timed.
        device: Where; default the CPU.
        backbone: The user's own function, where the run was trained with one.
        parts: What its architecture was made of, where that is a method's own.

    Raises:
        StorageError: If there is no saved run, or it is damaged.
        ValueError: If an option is not usable.
    """
    if batch < 1:
        raise ValueError(f"`--batch` must be at least 1. Got `--batch {batch}`.")
    architecture = Architecture.stored(folder, backbone, parts)
    model = load(folder, architecture.build).to(device or "cpu")
    example = architecture.example(batch)
    values = measured({"ours": model}, example.to(device or "cpu"), repeats)
    print("\n".join([*aligned(measured_table(values)), *measured_notes(values)]))


def export_run(folder: Path, path: Path, backbone: str | None = None, parts: Parts | None = None) -> None:
    """Write a saved model to one file, compacted first, and say what the file takes and gives.

    Args:
        folder: What `fit` or `demo` has written.
        path: `.onnx` or `.pt2`.
        backbone: The user's own function, where the run was trained with one.
        parts: What its architecture was made of, where that is a method's own.

    Raises:
        StorageError: If there is no saved run, it is damaged, or the file cannot be written.
        ValueError: If the suffix is another one, the extra is missing, or the model cannot be exported.
    """
    _write(*_small(folder, backbone, parts), path)


def export_demo(folder: Path, parts: Parts | None = None) -> None:
    """Write both kinds of file into a run's folder; without the extra, `.pt2` and a line that says so."""
    small = _small(folder, None, parts)
    _write(*small, folder / "model.pt2")
    try:
        _write(*small, folder / "model.onnx")
    except ValueError as error:
        if not isinstance(error.__cause__, ModuleNotFoundError):
            raise
        print(error)


def _small(folder: Path, backbone: str | None, parts: Parts | None) -> tuple[nn.Module, Tensor]:
    """A saved model without its zeros, and an input batch."""
    architecture = Architecture.stored(folder, backbone, parts)
    example = architecture.example()
    # Files carry no sparse kernels: none is chosen.
    return compacted(load(folder, architecture.build), example, Kernels()), example


def _write(model: nn.Module, example: Tensor, path: Path) -> None:
    try:
        export(model, example, path)
    except ModuleNotFoundError as error:
        raise ValueError(str(error)) from error
    with torch.no_grad():
        tasks = ", ".join(model(example))
    sizes = ", ".join(["batch", *map(str, example.shape[1:])])
    print(
        f"{path}: {path.stat().st_size / 2**10:,.0f} KiB, input [{sizes}], outputs {tasks}; checked against the model."
    )
