"""Data of several tasks: sources, views, and an order that is a pure function.

A *source* is any map-style data set of `(input, {task: target})`. A batch is a list of *views*, one per source; a view is
`(inputs, {task: targets})`. Common images with many labels are one source and give one view per batch; a data set per task
gives one view per task; mixtures work too. There is no second code path anywhere.

An epoch is one pass of the longest source. Shorter ones start again with a new permutation, an incomplete last batch is
left out, and a source smaller than a batch gives one small batch. The order is a pure function of (seed, source, epoch,
round), so any position is found again without replaying.
"""

import hashlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mtl_core.collate import as_input, as_target, check_view, filled, present, stacked
from mtl_core.cuda import move
from mtl_core.loading import in_order
from mtl_core.randomness import generator
from mtl_core.task import Task
from mtl_core.types import Augment


class View(NamedTuple):
    """Inputs of one source and the targets of its tasks, sample first."""

    inputs: Tensor
    targets: dict[str, Tensor]


class Batch(list[View]):
    """The views of one training step, and the tasks that they may label."""

    def __init__(self, views: Iterable[View], tasks: Mapping[str, Task]) -> None:
        super().__init__(views)
        self.tasks = dict(tasks)

    def to(self, device: torch.device, dtype: torch.dtype) -> "Batch":
        """The batch on a device, floating-point tensors in `dtype`."""

        def place(tensor: Tensor) -> Tensor:
            moved = move(tensor, device)
            return moved.to(dtype) if moved.is_floating_point() else moved

        views = [View(place(v.inputs), {n: place(t) for n, t in v.targets.items()}) for v in self]
        return Batch(views, self.tasks)


@dataclass(frozen=True)
class Source:
    """A data set with its place among the sources, which seeds its order, and the tasks that it labels."""

    data: Any
    index: int
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.data)


@dataclass(frozen=True)
class Split:
    """One part of the data (training, validation or test): its tasks and sources.

    Attributes:
        tasks: Tasks by name.
        sources: The sources that label at least one of them.
        augment: Applied to each training sample; never where losses or metrics are measured.
        workers: Processes that make batches ahead.
    """

    tasks: dict[str, Task]
    sources: tuple[Source, ...]
    augment: Augment | None = None
    workers: int = 0

    def select(self, names: Iterable[str]) -> "Split":
        """The same part for some tasks, in the order given; sources that label none of them are left out."""
        tasks = {name: self.tasks[name] for name in names}
        mine = [(s, tuple(n for n in tasks if n in s.names)) for s in self.sources]
        return Split(tasks, tuple(Source(s.data, s.index, n) for s, n in mine if n), self.augment, self.workers)

    def steps(self, batch_size: int) -> int:
        """Number of training steps of one epoch: one pass of the longest source.

        Raises:
            ValueError: If `batch_size` is not at least 1.
        """
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1. Got `batch_size = {batch_size}`.")
        return max(max(1, len(source) // batch_size) for source in self.sources)

    def batches(
        self, seed: int, steps: range, batch_size: int, rank: int = 0, world: int = 1, *, pin: bool = False
    ) -> Generator[Batch, None, None]:
        """The training batches of some steps, counted from the first epoch's; `pin` puts them into pinned memory."""
        make = partial(self._views_at, seed, self.steps(batch_size * world), batch_size, rank, world)
        for views in in_order(make, steps, self.workers, pin=pin):
            yield Batch(views, self.tasks)

    def batch(self, seed: int, epoch: int, step: int, batch_size: int, rank: int = 0, world: int = 1) -> Batch:
        """The training batch at a position.

        Args:
            seed: Seeds order and augmentation.
            epoch: Counted from 0.
            step: Step within the epoch, counted from 0.
            batch_size: Samples per source and rank.
            rank: This process; it gets every `world`-th sample of the common batch.
            world: Number of processes.
        """
        views = []
        for source in self.sources:
            width = min(batch_size * world, len(source))
            round_, position = divmod(step, max(1, len(source) // width))
            order = _order(len(source), seed, source.index, epoch, round_)
            indices = order[position * width : (position + 1) * width][rank::world]
            if len(indices):
                place = (seed, "augment", source.index, epoch, round_)
                views.append(self._view(source, indices, place if self.augment else None))
        return Batch([view for view in views if view.targets], self.tasks)

    def views(self, batch_size: int, rank: int = 0, world: int = 1, *, pin: bool = False) -> Iterator[View]:
        """All samples once, in order and without augmentation; with several ranks, this rank's share."""
        mine = [(source, torch.arange(len(source))[rank::world]) for source in self.sources]
        places = [(source, indices) for source, all_ in mine if len(all_) for indices in all_.split(batch_size)]
        for view in in_order(partial(self._view_at, places), range(len(places)), self.workers, pin=pin):
            if view.targets:
                yield view

    def fingerprint(self) -> str:
        """A hash of the data: of what a source's own `fingerprint()` says, else of its length and eight samples."""
        digest = hashlib.sha256()
        for source in self.sources:
            digest.update(f"{source.index} {source.names} {len(source)}".encode())
            if hasattr(source.data, "fingerprint"):
                digest.update(str(source.data.fingerprint()).encode())
                continue
            for index in np.linspace(0, len(source) - 1, min(8, len(source))).astype(int).tolist():
                view = self._view(source, torch.tensor([index]), None)
                for tensor in (view.inputs, *(view.targets[name] for name in sorted(view.targets))):
                    digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def unlabelled(self) -> list[str]:
        """Names of tasks without a single label; usually known after one sample each."""
        return [name for name, task in self.tasks.items() if not self._has_label(name, task)]

    def _has_label(self, name: str, task: Task) -> bool:
        return any(
            name in view.targets and bool(present(view.targets[name], task.missing).any())
            for source in self.sources
            if name in source.names
            for indices in torch.arange(len(source)).split(8)
            for view in [self._view(source, indices, None)]
        )

    def _views_at(self, seed: int, per_epoch: int, batch_size: int, rank: int, world: int, step: int) -> list[View]:
        # Without the tasks: those of a user may hold what cannot be sent from one process to another.
        return list(self.batch(seed, *divmod(step, per_epoch), batch_size, rank, world))

    def _view_at(self, places: Sequence[tuple[Source, Tensor]], place: int) -> View:
        return self._view(*places[place], None)

    def _view(self, source: Source, indices: Tensor, augmented: tuple[object, ...] | None) -> View:
        if augmented is None and hasattr(source.data, "batch"):
            inputs, found = source.data.batch(indices)
            inputs = as_input(inputs)
            targets = {name: as_target(found[name]) for name in source.names if found.get(name) is not None}
        else:
            samples = [source.data[i] for i in indices.tolist()]
            pairs = [
                (as_input(x), {n: as_target(t[n]) for n in source.names if t.get(n) is not None}) for x, t in samples
            ]
            if augmented is not None:
                assert self.augment is not None
                pairs = [
                    self.augment(x, t, generator(*augmented, i))
                    for (x, t), i in zip(pairs, indices.tolist(), strict=True)
                ]
            inputs = stacked([x for x, _ in pairs], f"inputs of source {source.index}")
            targets = {}
            for name in source.names:
                column = [t.get(name) for _, t in pairs]
                if any(target is not None for target in column):
                    targets[name] = stacked(filled(column, self.tasks[name]), f"targets of task `{name}`")
        check_view(source.index, indices, inputs, targets, self.tasks)
        return View(inputs, targets)


class MultiTaskData:
    """Tasks and the sources of their training, validation and test parts.

    Args:
        tasks: The tasks; names are unique.
        train: A source or a list of sources. A source has `len(source)` and `source[i] -> (input, {task: target})`; a
            target that is missing (or None) counts as not labelled, and a uint8 input is divided by 255. Which tasks a
            source labels is said by its `tasks` attribute or else by its first sample, which then has a key for each.
        validation: Likewise, optional.
        test: Likewise, optional; to be looked at once.
        augment: `(input, targets, generator) -> (input, targets)` of one sample, in training batches only; it must draw
            from the generator it is given.
        workers: Processes that make batches ahead, in training and where something is measured: for data that take time
            to decode. Their number changes no bit of any batch. 0: none.

    Raises:
        ValueError: If there is no task, a name occurs twice, a part has no sample, a task is labelled by no source, or
            `workers` is negative.

    Examples:
        >>> from mtl_core.task import classification
        >>> pairs = [(torch.zeros(1, 4, 4), {"digit": 3}), (torch.ones(1, 4, 4), {})]
        >>> data = MultiTaskData([classification("digit", 10)], train=pairs)
        >>> data.train.batch(seed=0, epoch=0, step=0, batch_size=2)[0].targets["digit"].sort().values
        tensor([-1,  3])
    """

    def __init__(
        self,
        tasks: Iterable[Task] | Mapping[str, Task],
        train: Any,
        validation: Any = None,
        test: Any = None,
        augment: Augment | None = None,
        workers: int = 0,
    ) -> None:
        if workers < 0:
            raise ValueError(f"`workers` must be >= 0. Got `workers = {workers}`.")
        listed = list(tasks.values() if isinstance(tasks, Mapping) else tasks)
        names = [task.name for task in listed]
        if not listed:
            raise ValueError("`tasks` must name at least one task. Got none.")
        if len(set(names)) < len(names):
            raise ValueError(f"`tasks` must have different names. Got {names}.")
        self.tasks = {task.name: task for task in listed}
        self.augment = augment
        self.train = _split("train", train, self.tasks, augment, workers)
        self.validation = None if validation is None else _split("validation", validation, self.tasks, None, workers)
        self.test = None if test is None else _split("test", test, self.tasks, None, workers)

    def select(self, names: Iterable[str]) -> "MultiTaskData":
        """The same data for some tasks, in the order given.

        Raises:
            ValueError: If a name is not a task of this data.
        """
        wanted = list(names)
        unknown = [name for name in wanted if name not in self.tasks]
        if unknown or not wanted:
            raise ValueError(f"`names` must be among the tasks {list(self.tasks)}. Got `names = {wanted}`.")
        chosen = object.__new__(MultiTaskData)
        chosen.tasks = {name: self.tasks[name] for name in wanted}
        chosen.augment = self.augment
        chosen.train = self.train.select(wanted)
        chosen.validation = self.validation and self.validation.select(wanted)
        chosen.test = self.test and self.test.select(wanted)
        return chosen


def _split(part: str, given: Any, tasks: dict[str, Task], augment: Augment | None, workers: int) -> Split:
    sources = []
    listed = isinstance(given, (list, tuple)) and len(given) > 0 and not _is_pairs(given)
    for index, data in enumerate(given if listed else [given]):
        if not len(data):
            raise ValueError(f"`{part}` must hold at least one sample. Got an empty data set (source {index}).")
        labelled = data.tasks if hasattr(data, "tasks") else data[0][1]
        if not hasattr(data, "tasks") and not isinstance(labelled, Mapping):
            raise ValueError(
                f"`{part}` must give `(input, {{task: target}})`. Got {type(labelled).__name__} for the targets."
            )
        names = tuple(name for name in tasks if name in labelled)
        if names:
            sources.append(Source(data, index, names))
    covered = {name for source in sources for name in source.names}
    missing = [name for name in tasks if name not in covered]
    if missing:
        raise ValueError(f"`{part}` must label every task. Got no source with labels for {missing}.")
    return Split(tasks, tuple(sources), augment, workers)


@lru_cache(maxsize=32)
def _order(length: int, seed: int, index: int, epoch: int, round_: int) -> Tensor:
    return torch.randperm(length, generator=generator(seed, "order", index, epoch, round_))


def _is_pairs(given: Sequence[Any]) -> bool:
    """Whether a list is itself a data set of `(input, targets)` pairs and not a list of sources."""
    return bool(given) and isinstance(given[0], tuple) and len(given[0]) == 2 and isinstance(given[0][1], Mapping)
