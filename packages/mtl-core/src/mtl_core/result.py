"""What comes out of a method: an ordinary model, and a report of what was found.

A report is a mapping of JSON values whose entries are attributes, too: `result.report.groups`. `Result.save` writes both
with pages and plots; `load` makes the model again from what `build` gives and the stored structure and weights. Tensors that
a model uses twice are stored once, with the alias named; equal weights give equal bytes.
"""

import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from mtl_core import storage
from mtl_core.checkpoint import FORMAT, StorageError, clear, flush, in_one_line, read_json, sha256, write_text
from mtl_core.components import Build, known_tasks, structure_of, tasks_of
from mtl_core.model import rebuild
from mtl_core.task import Task

MODEL, STRUCTURE = "model.safetensors", "structure.json"

Plots: TypeAlias = Sequence[Callable[["Report"], Any]]
"""Functions `report -> matplotlib figure`; name and first docstring line are file name and caption."""


class Report(Mapping[str, Any]):
    """What a run found: JSON values by name, also as attributes.

    Args:
        values: JSON values, tensors, arrays, and dicts and lists of them.

    Raises:
        TypeError: If a value is of another kind.

    Examples:
        >>> report = Report({"groups": {"a": ("x", "y")}})
        >>> report.groups, Report.from_json(report.to_json()) == report
        ({'a': ['x', 'y']}, True)
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values: dict[str, Any] = {str(k): _plain(v, str(k)) for k, v in values.items()}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._values:
            raise AttributeError(f"The report has no `{name}`; it has {sorted(self.__dict__.get('_values', ()))}.")
        return self._values[name]

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Report({', '.join(self._values)})"

    def extended(self, **values: Any) -> "Report":
        """This report with more entries."""
        return Report({**self._values, **values})

    def to_json(self) -> str:
        """The report as JSON; NaN and infinities as strings."""
        return json.dumps(_finite(self._values), indent=1)

    @staticmethod
    def from_json(text: str) -> "Report":
        """Read what `to_json` has written."""
        return Report(_unfinite(json.loads(text)))


@dataclass(frozen=True)
class Result:
    """What a method's `fit` gives.

    Attributes:
        model: An ordinary model, in evaluation mode.
        report: What was found.
        plots: Functions that draw the report's pictures.
        samples: Inputs, targets and predictions of a few samples, by name, for the report's pictures.
    """

    model: nn.Module
    report: Report
    plots: Plots = ()
    samples: Mapping[str, Tensor] | None = None

    def extended(self, *, samples: Mapping[str, Tensor] | None = None, **values: Any) -> "Result":
        """This result with more entries in its report."""
        return replace(self, report=self.report.extended(**values), samples=samples or self.samples)

    def save(self, folder: str | Path) -> None:
        """Write model, structure, report, pages and plots; files that are there are replaced once all new ones are written.

        Args:
            folder: Made where it is missing.

        Raises:
            StorageError: If it cannot be written.
        """
        from mtl_core.report import write_report

        with _written(Path(folder)) as made:
            save_model(self.model, made, self.report.get("tasks"))
            if self.samples:
                samples = {k: v.detach().cpu().contiguous() for k, v in self.samples.items()}
                _write_tensors(made / "samples.safetensors", samples)
            write_text(made / "report.json", self.report.to_json())
            write_report(made, self.plots)


def save(model: nn.Module, folder: str | Path) -> None:
    """Write a model alone, for `load`: of its exact zeros only where they are; files that are there are replaced.

    Args:
        model: Any model that `load` can make again: `build` gives its structure, or `restructure` does.
        folder: Made where it is missing.

    Raises:
        StorageError: If it cannot be written.

    Examples:
        >>> import torch
        >>> from tempfile import TemporaryDirectory
        >>> from mtl_core.model import SharedBackbone
        >>> from mtl_core.task import attribute
        >>> def build(tasks):
        ...     return SharedBackbone(nn.Flatten(), tasks, lambda c, t: nn.Linear(4, 1), example=torch.ones(1, 4))
        >>> model = build({"tall": attribute("tall")})
        >>> with TemporaryDirectory() as folder:
        ...     save(model, folder)
        ...     again = load(folder, build)
        >>> torch.equal(again(torch.ones(1, 4))["tall"], model(torch.ones(1, 4))["tall"])
        True
    """
    with _written(Path(folder)) as made:
        save_model(model, made)


def save_model(model: nn.Module, folder: Path, tasks: Mapping[str, Sequence[Any]] | None = None) -> None:
    """Write `model.safetensors` and `structure.json`.

    Args:
        model: The model.
        folder: Where to.
        tasks: Channels and `dense` by task, for a model that does not know its tasks itself.
    """
    _write_tensors(folder / MODEL, *storage.pack(*storage.distinct(model)))
    facts = {"tasks": _heads(model, tasks or {}), "structure": structure_of(model), "sha256": sha256(folder / MODEL)}
    write_text(folder / STRUCTURE, json.dumps({"format": FORMAT, **facts}, indent=1))


def load(folder: str | Path, build: Build, tasks: Mapping[str, Task] | None = None) -> nn.Module:
    """Make a saved model again.

    Args:
        folder: What `Result.save` has written.
        build: The architecture that the model was made from.
        tasks: The tasks, if losses are wanted of them; by default tasks that have only names, channels and `dense`.

    Returns:
        The model in evaluation mode, with equal weights.

    Raises:
        StorageError: If a file is missing or damaged, of a newer format, or does not fit what `build` makes.
    """
    folder = Path(folder)
    stored = read_json(folder / STRUCTURE)
    if not isinstance(stored, dict) or stored.get("format") != FORMAT or not isinstance(stored.get("tasks"), dict):
        raise StorageError(f"`{folder / STRUCTURE}` is not of format {FORMAT}, which this version of mtl-core reads.")
    path = folder / MODEL
    file = storage.read(path)
    if sha256(path) != stored.get("sha256"):
        raise StorageError(f"`{path}` is damaged: its checksum is not the one in `{STRUCTURE}`. Save the result again.")
    part = folder / STRUCTURE
    try:
        known, most = dict(tasks or {}), file.dimensions
        wanted = {n: known.get(n) or _stored_task(n, most, *facts) for n, facts in stored["tasks"].items()}
        model = rebuild(stored["structure"], build, wanted)
        part = path
        storage.fill(model, file)
    except StorageError:
        raise
    except Exception as error:  # whoever is given a foreign structure raises what it likes
        raise StorageError(
            f"`{part}` does not fit what `build` makes: {type(error).__name__}: {in_one_line(error)}. "
            "Give the `build` that the model was trained with."
        ) from error
    return model.eval()


def _stored_task(name: str, most: int, channels: Any, dense: Any) -> Task:
    """A task without a loss; a head with more channels than the stored weights could have would only fill the memory."""
    if not isinstance(channels, int) or not isinstance(dense, bool) or channels > most:
        raise ValueError(
            f"`tasks` must give the channels of `{name}` and whether it is dense. Got {channels!r}, {dense!r}"
        )
    return Task(name, channels, _no_loss, dense=dense)


def _heads(model: nn.Module, tasks: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    known = {name: [task.channels, task.dense] for name, task in known_tasks(model).items()}
    return {name: known.get(name) or list(tasks.get(name, [1, False]))[:2] for name in tasks_of(model)}


@contextmanager
def _written(folder: Path) -> Iterator[Path]:
    """A place for new files, which replace those of the folder when all of them are there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        clear(folder)
        made = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
        try:
            yield made
            _move(made, folder)
        finally:
            clear(folder)
    except StorageError:
        raise
    except (OSError, SafetensorError) as error:
        raise StorageError(f"Cannot write to `{folder}`: {error}. Choose another folder or make room.") from error


def _move(made: Path, folder: Path) -> None:
    """Put new files in the place of old ones; the model's two last, and one right after the other."""
    files = [path.relative_to(made) for path in sorted(made.rglob("*")) if path.is_file()]
    for path in sorted(files, key=lambda path: path.name in (MODEL, STRUCTURE)):
        (folder / path).parent.mkdir(exist_ok=True)
        os.replace(made / path, folder / path)


def _write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    temporary = path.with_name(f".{path.name}.writing")
    try:
        save_file(dict(tensors), temporary, metadata=metadata)
        flush(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _no_loss(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    raise ValueError("A loaded model's tasks have no loss: give `load(folder, build, tasks=data.tasks)`.")


def _plain(value: Any, path: str) -> Any:
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(k): _plain(v, f"{path}.{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, f"{path}.{i}") for i, v in enumerate(value)]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"A report must hold JSON values, tensors and arrays. Got {type(value).__name__} at `{path}`.")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return f"float:{value}" if isinstance(value, float) and not math.isfinite(value) else value


def _unfinite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _unfinite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_unfinite(v) for v in value]
    return float(value[6:]) if value in ("float:nan", "float:inf", "float:-inf") else value
