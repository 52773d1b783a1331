"""`Run`: everything of a training that is not mathematics.

It owns device, precision, seed, folder, progress and ranks, so that a method's `fit` is only the paper's stages. A run with
a folder resumes: give the same command again, and finished phases are loaded, an interrupted one continues bit by bit.
"""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from mtl_core import fingerprint, lock, randomness, ranks
from mtl_core.cuda import best_device
from mtl_core.data import MultiTaskData
from mtl_core.phase import Phase
from mtl_core.result import Plots, Report, Result
from mtl_core.version import __version__

T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)

PRECISIONS = ("float32", "float64", "bfloat16", "float16")


class Run:
    """Where and how a training runs.

    Args:
        folder: Where checkpoints go; None keeps nothing on disk. Several ranks need a folder that all see.
        seed: Seeds everything: weights, order, augmentation, dropout.
        device: Default: the GPU where there is one, else the CPU.
        precision: `float32`, `float64`, `bfloat16` (autocast), `float16` (autocast with scaling, GPU only).
        deterministic: Use deterministic kernels; needed for bit-identical resuming on CUDA, and slower there.
        checkpoint_seconds: Time between checkpoints within a phase.
        again: Delete what the folder's phases hold and start afresh.
        progress: Show progress (on standard error); the default shows it.

    Raises:
        ValueError: If an option is not usable.
        StorageError: If the folder is in use by another process or cannot be written.

    Examples:
        >>> run = Run(seed=1)
        >>> with run.seeded("model"):
        ...     first = torch.rand(2)
        >>> with run.seeded("model"):
        ...     torch.equal(first, torch.rand(2))
        True
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        seed: int = 0,
        device: str | torch.device | None = None,
        precision: str = "float32",
        deterministic: bool = False,
        checkpoint_seconds: float = 60.0,
        again: bool = False,
        progress: bool = True,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"`precision` must be one of {PRECISIONS}. Got `precision = {precision!r}`.")
        if checkpoint_seconds < 0:
            raise ValueError(f"`checkpoint_seconds` must be >= 0. Got `checkpoint_seconds = {checkpoint_seconds}`.")
        self.rank, self.world = ranks.connect()
        self.device = torch.device(device) if device is not None else best_device(ranks.device_index())
        if precision == "float16" and self.device.type != "cuda":
            raise ValueError('`precision = "float16"` must run on a GPU. Take `bfloat16` on a CPU.')
        self.folder = None if folder is None else Path(folder)
        self.seed, self.precision, self.deterministic = seed, precision, deterministic
        self.checkpoint_seconds, self._progress = checkpoint_seconds, progress
        self.phases: dict[str, dict[str, Any]] = {}
        self.context: dict[str, Any] = {}
        self._parent: tuple[Run, str] | None = None
        self._lock: lock.FolderLock | None = None
        if self.folder is not None and self.rank == 0:
            self._lock = lock.hold(self.folder)
            if again:
                fingerprint.forget_phases(self.folder)
        ranks.wait(self.world)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights: float64 where asked for, else float32."""
        return torch.float64 if self.precision == "float64" else torch.float32

    @property
    def shows_progress(self) -> bool:
        """Whether this rank shows progress."""
        return self._progress and self.rank == 0

    def child(self, name: str, *, seed: int | None = None) -> "Run":
        """A run in the subfolder `name`; its phases are in this run's report, too, as `name/phase`.

        Args:
            name: Name of the subfolder.
            seed: Another seed, as for a second training of the same task; default this run's.

        Raises:
            ValueError: If the name is no folder's.
        """
        _check_name(name)
        return self._with(
            folder=None if self.folder is None else self.folder / name,
            seed=self.seed if seed is None else seed,
            phases={},
            context=dict(self.context),  # a method's own children train under its configuration and data
            _parent=(self, name),
        )

    def place(self, module: M) -> M:
        """Move a module to the run's device and precision, in place."""
        return module.to(device=self.device, dtype=self.dtype)

    def seeded(self, *name: object) -> AbstractContextManager[None]:
        """A context in which everything that draws random numbers is a function of (seed, name)."""
        return randomness.seeded(self.seed, "seeded", *name)

    def spread(self, names: Sequence[str], fn: Callable[[str, "Run"], T]) -> dict[str, T]:
        """Share independent trainings out over the ranks; then every rank loads all results by the same call.

        Args:
            names: One training each.
            fn: `fn(name, run.child(name))`; what it makes must come from its phases alone.

        Raises:
            ValueError: If there are several ranks and no folder that all see.
        """
        if self.world > 1 and self.folder is None:
            raise ValueError("`spread` over several ranks must have a folder that all see: give `Run(folder)`.")
        with ranks.alone():  # what `fn` evaluates, it evaluates alone
            if self.world > 1:
                for name in list(names)[self.rank :: self.world]:
                    fn(name, self._alone(name))
                ranks.wait(self.world)
            return {name: fn(name, self._alone(name)) for name in names}

    @contextmanager
    def phase(self, name: str, *, model: nn.Module, optimizer: Any, state: Sequence[Any] = ()) -> Iterator[Phase]:
        """A resumable piece of training; a finished one is loaded, not run again.

        Args:
            name: Unique within the run; the name of its folder.
            model: What is trained.
            optimizer: A torch optimizer, or something with its methods.
            state: Whatever else must come back after a stop: anything with `state_dict` and `load_state_dict` of tensors
                and JSON values. Modules among them are placed on the device, and their gradients averaged over ranks.

        Raises:
            ValueError: If the name is no folder's, or there was a phase of this name.
            StorageError: If the folder holds the phase of another configuration, or a damaged checkpoint.
        """
        _check_name(name)
        if name in self.phases:
            raise ValueError(f"`name` must be new within the run. Got a second phase `{name}`.")
        for item in (model, *state):
            if isinstance(item, nn.Module):
                self.place(item).zero_grad(set_to_none=True)
        with self._deterministic(), Phase(self, name, model, optimizer, state).running() as phase:
            yield phase

    def result(self, model: nn.Module, *, plots: Plots = (), **found: Any) -> Result:
        """The model and a report of what was found, with what the run knows: configuration, history, seconds, machine.

        Args:
            model: What the method gives; put into evaluation mode.
            plots: Functions `report -> figure` that draw the report's pictures.
            found: What the method found, as JSON values, tensors or arrays, by name.
        """
        facts = {
            **self.context,
            **_environment(self),
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU",
            "threads": torch.get_num_threads(),
            "phases": self.phases,
        }
        return Result(model.eval(), Report({**facts, **found}), tuple(plots))

    # What phases and reports ask of a run ---------------------------------------------------------------------------

    def title(self, phase: str) -> str:
        """How a phase is called on the terminal."""
        return phase if self.folder is None else f"{self.folder.name}/{phase}"

    def note(self, phase: str, facts: Mapping[str, Any]) -> None:
        """Keep what a phase found for the report, and for those of the runs that this one is a child of."""
        self.phases.pop(phase, None)  # noted again it comes last, so that all ranks have one order
        self.phases[phase] = dict(facts)
        if self._parent is not None:
            parent, name = self._parent
            parent.note(f"{name}/{phase}", facts)

    def check_fingerprint(self, folder: Path, model: nn.Module, optimizer: Any) -> None:
        """Compare the phase's fingerprint with the stored one, or store it.

        Raises:
            StorageError: If they differ, with what differs.
        """
        mine = {**self.context, **_environment(self), **fingerprint.of_training(model, optimizer)}
        fingerprint.check(folder, mine, writes=self.rank == 0)
        ranks.wait(self.world)
        if self.rank > 0:  # it may have looked before rank 0 had written
            fingerprint.check(folder, mine, writes=False)

    def _alone(self, name: str) -> "Run":
        run = self.child(name)
        run.rank, run.world = 0, 1
        run._progress = self._progress and self.rank == 0
        return run

    def _with(self, **changes: Any) -> "Run":
        other = object.__new__(Run)
        other.__dict__.update(self.__dict__)
        other.__dict__.update(changes)
        return other

    @contextmanager
    def _deterministic(self) -> Iterator[None]:
        before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
        if self.deterministic:
            if self.device.type == "cuda":  # without it torch refuses cuBLAS
                os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def begin(run: Run | None, method: str, config: Any, data: MultiTaskData) -> Run:
    """Start a method's `fit`: the run that it was given, or a new one, with what its phases' fingerprints hold.

    Args:
        run: The caller's run; None makes one without a folder.
        method: Name of the method, for reports.
        config: The method's configuration, a dataclass.
        data: What it trains on.

    Raises:
        TypeError: If `data` is not a `MultiTaskData` or `config` not a dataclass.
    """
    if not isinstance(data, MultiTaskData):
        raise TypeError(f"`data` must be a `MultiTaskData`. Got `{type(data).__name__}`.")
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise TypeError(f"`config` must be a configuration object. Got `{config!r}`.")
    run = run or Run()
    tasks = {t.name: [t.channels, t.dense, t.weight, t.kind] for t in data.tasks.values()}
    # Without a folder nobody compares fingerprints, and hashing the data would be for nothing.
    parts = {} if run.folder is None else {"train": data.train, "validation": data.validation}
    content = {name: part.fingerprint() for name, part in parts.items() if part is not None}
    augment = None if data.augment is None else fingerprint.function_name(data.augment)
    context = {
        "method": method,
        "config": fingerprint.config_values(config),
        "tasks": tasks,
        "data": content,
        "augment": augment,
    }
    return run._with(context=context, phases={})


def _check_name(name: str) -> None:
    if not name or name != Path(name).name or name.startswith("."):
        raise ValueError(f"`name` must be the name of a folder. Got `name = {name!r}`.")


def _environment(run: Run) -> dict[str, Any]:
    return {
        "seed": run.seed,
        "ranks": run.world,
        "precision": run.precision,
        "versions": {"torch": str(torch.__version__), "mtl-core": __version__},
    }
