"""A phase: one resumable piece of training.

It owns the loop's position, the reduction of elementwise losses (over views, elements and ranks), the guard against losses
that are not finite, and the checkpoints. Stopped anywhere and started again it continues from its last checkpoint, and ends
with the weights of the phase that was never stopped, bit for bit.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor, nn

from mtl_core import ranks, stored
from mtl_core.checkpoint import StorageError, in_one_line
from mtl_core.components import chosen, prepared
from mtl_core.data import Batch, Split
from mtl_core.history import History
from mtl_core.objective import over_ranks, sums_and_counts
from mtl_core.progress import Progress
from mtl_core.randomness import generator, random_state, seed_everything, set_random_state
from mtl_core.result import Plots, Result
from mtl_core.snapshots import Snapshots
from mtl_core.stepper import Stepper
from mtl_core.stopping import StopRequest

if TYPE_CHECKING:
    from mtl_core.run import Run

KEPT = 2
"""Checkpoints kept while a phase runs: the last, and the one before in case the last is damaged."""


class Phase:
    """The piece of training inside `run.phase(...)`; made by it, not by hand.

    Attributes:
        name: The phase's name.
        finished: Whether it was finished before; then `batches` gives nothing and everything is loaded.
        labelled: Labelled elements of the last `losses` call by task, over all ranks.
    """

    def __init__(self, run: "Run", name: str, model: nn.Module, optimizer: Any, state: Sequence[Any]) -> None:
        self.name, self.finished = name, False
        self.labelled: dict[str, int] = {}
        self._run, self._model, self._optimizer, self._state = run, model, optimizer, list(state)
        self._stored = None if run.folder is None else Snapshots(run.folder / name, run.rank, run.world)
        self._history = History()
        self._step, self._steps, self._epoch, self._per_epoch = 0, 0, 0, 1
        self._seconds, self._started, self._saved = 0.0, time.monotonic(), time.monotonic()
        self._looped = False
        self._stop = StopRequest()
        self._progress: Progress | None = None
        scaler = torch.amp.GradScaler(run.device.type, enabled=run.precision == "float16")
        self._stepper = Stepper(model, run.world, scaler)

    # What a method uses ---------------------------------------------------------------------------------------------

    @property
    def progress(self) -> float:
        """Share of the phase's steps that are done, 0 to 1."""
        return 1.0 if self.finished else self._step / max(1, self._steps)

    @property
    def step_number(self) -> int:
        """Steps done so far."""
        return self._step

    @property
    def ends_epoch(self) -> bool:
        """Whether the step under way is the last of its epoch: the moment to measure, and to decide."""
        return (self._step + 1) % self._per_epoch == 0

    def stop(self) -> None:
        """End the phase with the step under way. What decides must be in `state`, and the same on all ranks."""
        self._steps = self._step + 1

    @property
    def history(self) -> dict[str, list[float]]:
        """Mean training loss by task, one value an epoch (NaN for an epoch without a label); task weights left out."""
        return self._history.means()

    @property
    def curves(self) -> dict[str, list[float]]:
        """What `record` was given, by name: one value each time."""
        return self._history.curves

    def generator(self, name: str) -> Generator:
        """A CPU generator seeded by (seed, phase, name, step), equal on all ranks."""
        return generator(self._run.seed, "phase", self.name, name, self._step)

    def record(self, **values: float) -> None:
        """Add one value to each named curve; curves are kept in checkpoints and in the report."""
        self._history.record(values)

    def batches(self, split: Split, *, epochs: int, batch_size: int) -> Iterator[Batch]:
        """Give the training batches from where the phase stands.

        Args:
            split: The training part of the data.
            epochs: Passes of the longest source.
            batch_size: Samples per source, step and rank.

        Raises:
            ValueError: If a number is not at least 1, or a task has no label at all.
            RuntimeError: If called twice in one phase.
        """
        for name, value in (("epochs", epochs), ("batch_size", batch_size)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a whole number of at least 1. Got `{name} = {value}`.")
        if self._looped:
            raise RuntimeError(f"`batches` must be called once in a phase. Got a second call in phase `{self.name}`.")
        self._looped = True
        if self.finished:
            return
        bare = split.unlabelled()
        if bare:
            raise ValueError(f"`train` must hold at least one label of each task. Got none for {bare}.")
        run = self._run
        self._per_epoch = per_epoch = split.steps(batch_size * run.world)
        self._steps = per_epoch * epochs
        self._progress = Progress(run.title(self.name), self._steps, self._step, run.shows_progress)
        self._started = self._saved = time.monotonic()
        left, pin = range(self._step, self._steps), run.device.type == "cuda"
        ahead = split.batches(run.seed, left, batch_size, run.rank, run.world, pin=pin)
        try:
            while self._step < self._steps:
                self._epoch, position = divmod(self._step, per_epoch)
                batch = next(ahead)
                self._stepper.begin()
                yield batch.to(run.device, run.dtype)
                self._step += 1
                self._progress.step(self._history.latest)
                if position + 1 == per_epoch:
                    last = {task: values[-1] for task, values in self.history.items()}
                    self._progress.epoch(self._epoch + 1, epochs, last)
                self._checkpoint_if_due()
        finally:
            ahead.close()
            self._progress.close()

    def losses(self, model: nn.Module, batch: Batch, tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        """The loss of each task on a batch: mean over its labelled elements, over all ranks, times the task's weight.

        Args:
            model: The phase's model (or one that holds its parameters).
            batch: What `batches` gave.
            tasks: Some tasks; default all of the data's.

        Returns:
            Losses by task, `[]`, or `[K]` where the model gives K predictions of a task. A task without a label in this
            step has loss 0 with zero gradient and `labelled` 0.

        Raises:
            FloatingPointError: If a loss is NaN or infinite; the model is then as it was before the step.
            ValueError: If a task is not in the data, or the model gives no prediction of it.
        """
        run = self._run
        wanted = {name: batch.tasks[name] for name in chosen(batch.tasks, tasks)}
        self._stepper.remember()
        views = [(view, [name for name in view.targets if name in wanted]) for view in batch]
        views = [(view, names) for view, names in views if names]
        with self._autocast(), prepared(model):
            predictions = [model(view.inputs, names) for view, names in views]
        sums, counts = sums_and_counts(predictions, views, wanted)
        zero = torch.zeros((), dtype=run.dtype, device=run.device)
        losses, values, self.labelled = over_ranks(sums, counts, list(wanted), run.world, zero)
        self._note(values)
        return {name: loss * wanted[name].weight for name, loss in losses.items()}

    def step(self, loss: Tensor, optimizer: Any, *, clip: float | None = None) -> None:
        """One step of the optimizer: backward, (unscale, clip,) step, zero.

        Args:
            loss: What to minimise; gradients are averaged over ranks. A loss without a gradient, as where the step has no
                label, is a gradient of nothing.
            optimizer: A torch optimizer, or something with its `step`, `zero_grad` and `param_groups`.
            clip: Largest norm of the gradient; None does not clip.

        Raises:
            FloatingPointError: If the loss or a gradient is NaN or infinite; nothing has changed then.
            ValueError: If the loss is not one number.
        """
        if loss.numel() != 1:
            raise ValueError(f"`loss` must be one number. Got `loss.shape = {tuple(loss.shape)}`.")
        self._stepper.step(loss, optimizer, clip, f"step {self._step}")

    def result(self, model: nn.Module, *, plots: Plots = (), **found: Any) -> Result:
        """The model and a report of what was found, with what the run knows: configuration, history, seconds, machine.

        Args:
            model: What the method gives; put into evaluation mode.
            plots: Functions `report -> figure` that draw the report's pictures.
            found: What the method found, as JSON values, tensors or arrays, by name.
        """
        return self._run.result(model, plots=plots, **found)

    # The phase's life -----------------------------------------------------------------------------------------------

    @contextmanager
    def running(self) -> Iterator["Phase"]:
        """Enter, hand out, and finish the phase; global random numbers are as before at the end."""
        before, run = random_state(), self._run
        stop: AbstractContextManager[Any] = self._stop if self._stored is not None else nullcontext()
        try:
            seed_everything(run.seed, "phase", self.name, run.rank)
            ranks.copy_first([*self._model.parameters(), *self._stepper.buffers], run.world)
            self._load()  # after it, for fingerprints hold the weights
            if not self.finished:
                self._model.train()
            with stop:
                yield self
                if not self.finished:
                    # The time stops here: a report says the same whether the phase was trained or loaded.
                    self._seconds, self.finished = self._time(), True
                    self._save()
                self._answer(int(ranks.largest(torch.tensor(self._stop.signal or 0), run.world)))
            run.note(self.name, {**self._history.reported(), "steps": self._step, "seconds": self._time()})
        finally:
            set_random_state(before)

    def _load(self) -> None:
        if self._stored is None:
            return
        self._run.check_fingerprint(self._stored.folder, self._model, self._optimizer)
        found = self._stored.last()
        if found is None:
            return
        folder, shared, mine = found
        try:
            stored.check(shared, folder, self._model, self._optimizer, self._state)
            set_random_state(mine["random"])
            self._history.load_state_dict(shared["history"])
            self._stepper.load_state_dict(shared["scaler"], folder)
            for item, state in zip(self._state, shared["state"], strict=True):
                item.load_state_dict(state)
            self._optimizer.load_state_dict(shared["optimizer"])
            self._model.load_state_dict(shared["model"])  # last: what does not fit leaves the model as it was
        except Exception as error:  # whoever is given a foreign state raises what it likes
            raise StorageError(
                f"`{folder}` does not fit this phase: {in_one_line(error)}. "
                f"Delete the folder of the phase, `{self._stored.folder}`, to start it again."
            ) from error
        self._step, self._seconds, self.finished = shared["step"], shared["seconds"], shared["finished"]

    def _save(self) -> None:
        self._saved = time.monotonic()
        if self._stored is None:
            return
        shared = {
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "state": [item.state_dict() for item in self._state],
            "scaler": self._stepper.state_dict(),
            "history": self._history.state_dict(),
            "step": self._step,
            "seconds": self._time(),
            "finished": self.finished,
        }
        self._stored.save(self._step, shared, {"random": random_state()}, keep=1 if self.finished else KEPT)

    def _checkpoint_if_due(self) -> None:
        run = self._run
        if self._stored is None or self._step >= self._steps:
            return
        due = time.monotonic() - self._saved >= run.checkpoint_seconds
        asked = ranks.largest(torch.tensor([self._stop.signal or 0, int(due and run.rank == 0)]), run.world).tolist()
        if any(asked):
            self._save()
        self._answer(asked[0])

    def _answer(self, asked: int) -> None:
        if asked:
            self._stop.answer(asked)

    def _time(self) -> float:
        running = self._looped and self._steps and not self.finished
        return self._seconds + (time.monotonic() - self._started if running else 0.0)

    # Parts of a step ------------------------------------------------------------------------------------------------

    def _autocast(self) -> AbstractContextManager[Any]:
        half = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(self._run.precision)
        return nullcontext() if half is None else torch.autocast(self._run.device.type, half)

    def _note(self, values: Mapping[str, list[float]]) -> None:
        """Refuse losses that are not finite, and book the others."""
        for name, mine in values.items():
            if not all(map(math.isfinite, mine)):
                self._stepper.restore()
                value = next(v for v in mine if not math.isfinite(v))
                raise FloatingPointError(
                    f"The loss of task `{name}` must be finite. Got {value} at step {self._step} of phase `{self.name}`; "
                    "no step was made. Lower the learning rate or look at the targets of that task."
                )
        for name, mine in values.items():
            self._history.book(name, self._epoch, sum(mine) / len(mine), self.labelled[name] > 0)
