"""A phase: one resumable piece of training.

It owns the loop's position, the reduction of elementwise losses (over views, elements and ranks), the guard against losses
that are not finite, and the checkpoints. Stopped anywhere and started again it continues from its last checkpoint, and ends
with the weights of the phase that was never stopped, bit for bit.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, Tensor, nn

from mtl_core import checkpoint, ranks
from mtl_core.cuda import move
from mtl_core.data import Batch, Split, View
from mtl_core.model import chosen, prepared
from mtl_core.progress import Progress
from mtl_core.randomness import generator, random_state, seed_everything, set_random_state
from mtl_core.reduction import mean_loss
from mtl_core.result import Plots, Report, Result
from mtl_core.stopping import StopRequest
from mtl_core.task import Task
from mtl_core.version import __version__

if TYPE_CHECKING:
    from mtl_core.run import Run

KEPT = 2
"""Checkpoints kept while a phase runs: the last, and the one before in case the last is damaged."""


REPORTED = 500
"""Values of a curve that a report keeps; a picture shows no more."""


class Phase:
    """The piece of training inside `run.phase(...)`; made by it, not by hand.

    Attributes:
        name: The phase's name.
        finished: Whether it was finished before; then `batches` gives nothing and everything is loaded.
        labelled: Labelled elements of the last `losses` call by task, over all ranks.
        curves: What `record` was given, by name: lists of values, one per step.
    """

    def __init__(self, run: "Run", name: str, model: nn.Module, optimizer: Any, state: Sequence[Any]) -> None:
        self.name, self.finished = name, False
        self.labelled: dict[str, int] = {}
        self.curves: dict[str, list[float]] = {}
        self._run, self._model, self._optimizer, self._state = run, model, optimizer, list(state)
        self._folder: Path | None = None if run.folder is None else run.folder / name
        self._sums: dict[str, list[list[float]]] = {}  # task -> one [sum of losses, number of steps] an epoch
        self._step, self._steps, self._epoch, self._per_epoch = 0, 0, 0, 1
        self._seconds, self._started, self._saved = 0.0, time.monotonic(), time.monotonic()
        self._looped = False
        self._stop = StopRequest()
        self._progress: Progress | None = None
        self._latest: dict[str, float] = {}
        self._buffers = [b for b in model.buffers() if b.is_floating_point() or b.dtype == torch.int64]
        self._before = [b.clone() for b in self._buffers]
        self._fresh = True  # no loss of this step was asked for yet
        self._scaler = torch.amp.GradScaler(run.device.type, enabled=run.precision == "float16")

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
        return {task: [s / n if n else math.nan for s, n in epochs] for task, epochs in self._sums.items()}

    def generator(self, name: str) -> Generator:
        """A CPU generator seeded by (seed, phase, name, step), equal on all ranks."""
        return generator(self._run.seed, "phase", self.name, name, self._step)

    def record(self, **values: float) -> None:
        """Add one value to each named curve; curves are kept in checkpoints and in the report."""
        for name, value in values.items():
            self.curves.setdefault(name, []).append(float(value))

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
        try:
            while self._step < self._steps:
                self._epoch, position = divmod(self._step, per_epoch)
                batch = split.batch(run.seed, self._epoch, position, batch_size, run.rank, run.world)
                self._fresh = True
                yield self._moved(batch)
                self._step += 1
                self._progress.step(self._latest)
                if position + 1 == per_epoch:
                    last = {task: values[-1] for task, values in self.history.items()}
                    self._progress.epoch(self._epoch + 1, epochs, last)
                self._checkpoint_if_due()
        finally:
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
        if self._fresh:  # the first call of a step: what a refused step goes back to
            self._fresh = False
            for kept, buffer in zip(self._before, self._buffers, strict=True):
                kept.copy_(buffer)
        views = [(view, [name for name in view.targets if name in wanted]) for view in batch]
        views = [(view, names) for view, names in views if names]
        with self._autocast(), prepared(model):
            predictions = [model(view.inputs, names) for view, names in views]
        sums, counts = _reduce(predictions, views, wanted)
        shapes = torch.tensor([sums[name].numel() if name in sums and sums[name].ndim else 0 for name in wanted])
        widths = ranks.largest(shapes, run.world)
        found = [torch.as_tensor(counts.get(name, 0), dtype=torch.float64, device=run.device) for name in wanted]
        number = ranks.total(torch.stack(found), run.world)
        local = {}
        for name, n, width in zip(wanted, number, widths.tolist(), strict=True):
            width = (
                width if n else int(widths.max())
            )  # without a label anywhere: as many zeros as other tasks have losses
            zero = torch.zeros((width,) if width else (), dtype=run.dtype, device=run.device)
            loss = sums.get(name, zero)
            local[name] = loss * (run.world / n.clamp(min=1)).to(loss.dtype)
        values = torch.cat([loss.detach().double().reshape(-1) for loss in local.values()]) / run.world
        ranks.total(values, run.world)
        losses = self._checked(local, values, number.tolist())
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
        self._fresh = True
        if not torch.isfinite(loss.detach()):
            self._restore_buffers()
            raise FloatingPointError(
                f"The loss of step {self._step} must be finite. Got {loss.item()}; no step was made."
            )
        if loss.requires_grad:  # not so where this rank has no label in this step
            self._scaler.scale(loss).backward()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        ranks.average_gradients(parameters, self._run.world)
        ranks.copy_first(
            self._buffers, self._run.world
        )  # running means of norms; backward still needed this rank's own
        gradients = [p.grad for p in parameters if p.grad is not None]
        scaled = self._scaler.is_enabled() and bool(gradients)
        if scaled:
            self._scaler.unscale_(optimizer)
        elif not torch.isfinite(torch.nn.utils.get_total_norm(gradients)) and not _all_finite(gradients):
            self._restore_buffers()
            optimizer.zero_grad(set_to_none=True)
            raise FloatingPointError(
                f"The gradient of step {self._step} must be finite. Got NaN or Inf; no step was made."
            )
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, clip)
        self._scaler.step(optimizer) if scaled else optimizer.step()
        self._scaler.update() if scaled else None
        optimizer.zero_grad(set_to_none=True)

    def result(self, model: nn.Module, *, plots: Plots = (), **found: Any) -> Result:
        """The model and a report of what was found, with what the run knows: configuration, history, seconds, machine.

        Args:
            model: What the method gives; put into evaluation mode.
            plots: Functions `report -> figure` that draw the report's pictures.
            found: What the method found, as JSON values, tensors or arrays, by name.
        """
        run = self._run
        facts = {
            **run.context,
            "seed": run.seed,
            "precision": run.precision,
            "ranks": run.world,
            "device": torch.cuda.get_device_name(run.device) if run.device.type == "cuda" else "CPU",
            "threads": torch.get_num_threads(),
            "versions": {"torch": str(torch.__version__), "mtl-core": __version__},
            "phases": run.phases,
        }
        return Result(model.eval(), Report({**facts, **found}), tuple(plots))

    # The phase's life -----------------------------------------------------------------------------------------------

    @contextmanager
    def running(self) -> Iterator["Phase"]:
        """Enter, hand out, and finish the phase; global random numbers are as before at the end."""
        before, run = random_state(), self._run
        stop: AbstractContextManager[Any] = self._stop if self._folder is not None else nullcontext()
        try:
            seed_everything(run.seed, "phase", self.name, run.rank)
            self._load()
            if not self.finished:
                self._model.train()
                ranks.copy_first([*self._model.parameters(), *self._buffers], run.world)
            with stop:
                yield self
                if not self.finished:
                    # The time stops here: a report says the same whether the phase was trained or loaded.
                    self._seconds, self.finished = self._time(), True
                    self._save()
                self._answer(int(ranks.largest(torch.tensor(self._stop.signal or 0), run.world)))
            curves = {name: _thinned(values) for name, values in self.curves.items()}
            run.note(
                self.name,
                {"history": self.history, "curves": curves, "steps": self._step, "seconds": self._time()},
            )
        finally:
            set_random_state(before)

    def _load(self) -> None:
        if self._folder is None:
            return
        self._run.check_fingerprint(self._folder, self._model, self._optimizer)
        if self._run.rank == 0:
            checkpoint.clear(self._folder)
        ranks.wait(self._run.world)
        found = checkpoint.checkpoints(self._folder)
        if not found:
            return
        checkpoint.verify(found[-1])
        shared = checkpoint.read_part(found[-1], "shared")
        mine = checkpoint.read_part(found[-1], f"rank-{self._run.rank}")
        try:
            self._model.load_state_dict(shared["model"])
            self._optimizer.load_state_dict(shared["optimizer"])
            for item, state in zip(self._state, shared["state"], strict=True):
                item.load_state_dict(state)
            self._scaler.load_state_dict(shared["scaler"]) if self._scaler.is_enabled() else None
            self._step, self._sums, self.finished = shared["step"], shared["sums"], shared["finished"]
            self.curves = {name: values.tolist() for name, values in shared["curves"].items()}
            self._seconds = shared["seconds"]
            set_random_state(mine["random"])
        except (KeyError, ValueError, RuntimeError, TypeError) as error:
            raise checkpoint.StorageError(
                f"`{found[-1]}` does not fit this phase: {' '.join(str(error).split())[:300]}. "
                "Delete the folder of the phase to start it again."
            ) from error

    def _save(self) -> None:
        self._saved = time.monotonic()
        if self._folder is None:
            return
        run = self._run
        final = self._folder / f"checkpoint-{self._step}"
        temporary = self._folder / f".writing-{self._step}"
        checkpoint.write_part(temporary, f"rank-{run.rank}", {"random": random_state()})
        if run.rank == 0:
            curves = {name: torch.tensor(values, dtype=torch.float64) for name, values in self.curves.items()}
            state = {
                "model": self._model.state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "state": [item.state_dict() for item in self._state],
                "scaler": self._scaler.state_dict() if self._scaler.is_enabled() else None,
                "step": self._step,
                "sums": self._sums,
                "curves": curves,
                "finished": self.finished,
                "seconds": self._time(),
            }
            checkpoint.write_part(temporary, "shared", state)
        ranks.wait(run.world)
        if run.rank == 0:
            checkpoint.seal(temporary, final, {"phase": self.name, "step": self._step, "ranks": run.world})
            checkpoint.forget(self._folder, keep=1 if self.finished else KEPT)
        ranks.wait(run.world)

    def _checkpoint_if_due(self) -> None:
        run = self._run
        if self._folder is None or self._step >= self._steps:
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

    def _moved(self, batch: Batch) -> Batch:
        run = self._run

        def place(tensor: Tensor) -> Tensor:
            moved = move(tensor, run.device)
            return moved.to(run.dtype) if moved.is_floating_point() else moved

        views = [View(place(v.inputs), {n: place(t) for n, t in v.targets.items()}) for v in batch]
        return Batch(views, batch.tasks)

    def _autocast(self) -> AbstractContextManager[Any]:
        half = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(self._run.precision)
        return nullcontext() if half is None else torch.autocast(self._run.device.type, half)

    def _checked(self, local: dict[str, Tensor], values: Tensor, number: list[float]) -> dict[str, Tensor]:
        """Guard and book the losses, and give them the value that all ranks agree on with this rank's gradient."""
        plain, place, found = values.tolist(), 0, {}
        for (name, loss), n in zip(local.items(), number, strict=True):
            mine = plain[place : place + loss.numel()]
            if not all(map(math.isfinite, mine)):
                self._restore_buffers()
                value = next(v for v in mine if not math.isfinite(v))
                raise FloatingPointError(
                    f"The loss of task `{name}` must be finite. Got {value} at step {self._step} of phase `{self.name}`; "
                    "no step was made. Lower the learning rate or look at the targets of that task."
                )
            self.labelled[name] = int(n)
            self._book(name, sum(mine) / len(mine), n > 0)
            agreed = values[place : place + loss.numel()].view(loss.shape).to(loss.dtype)
            found[name] = loss if self._run.world == 1 else loss + (agreed - loss.detach())
            place += loss.numel()
        return found

    def _book(self, name: str, value: float, counts: bool) -> None:
        epochs = self._sums.setdefault(name, [])
        while len(epochs) <= self._epoch:
            epochs.append([0.0, 0])
        if counts:
            epochs[-1][0] += value
            epochs[-1][1] += 1
            self._latest[name] = value

    def _restore_buffers(self) -> None:
        with torch.no_grad():
            for kept, buffer in zip(self._before, self._buffers, strict=True):
                buffer.copy_(kept)


def _thinned(values: list[float]) -> list[float]:
    """At most `REPORTED` values, evenly spaced, the last among them."""
    width = -(-len(values) // REPORTED) if values else 1
    return values[::-1][::width][::-1]


def _reduce(
    predictions: Sequence[Mapping[str, Any]],
    views: Sequence[tuple[View, Sequence[str]]],
    tasks: Mapping[str, Task],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Sum of the labelled elements' losses and their number, by task, over the views of this rank."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, Tensor] = {}
    for found, (view, wanted) in zip(predictions, views, strict=True):
        for name in wanted:
            if name not in found:
                raise ValueError(f"The model must give a prediction of every task asked for. Got none of `{name}`.")
            several = isinstance(found[name], (tuple, list))
            parts = []
            for prediction in found[name] if several else [found[name]]:
                part, count = mean_loss(*tasks[name].elements(_whole(prediction), view.targets[name]))
                parts.append(part)
            total = torch.stack(parts) if several else parts[0]
            sums[name] = sums[name] + total if name in sums else total
            counts[name] = counts[name] + count if name in counts else count
    return sums, counts


def _whole(prediction: Any) -> Any:
    """A prediction of half precision as float32: a sum over many pixels would lose digits, or overflow."""
    half = isinstance(prediction, Tensor) and prediction.dtype in (torch.bfloat16, torch.float16)
    return prediction.float() if half else prediction


def _all_finite(tensors: Sequence[Tensor]) -> bool:
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
