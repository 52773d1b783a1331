"""Plain training: hard parameter sharing, and each task alone. Both are the first baselines of the five papers."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from mtl_core import weighting
from mtl_core.components import Build, Builder, check_names
from mtl_core.data import MultiTaskData
from mtl_core.evaluate import mean_losses
from mtl_core.fingerprint import function_name
from mtl_core.model import TaskGroups
from mtl_core.result import Result
from mtl_core.run import Run, begin
from mtl_core.stored import check_module

Weighting: TypeAlias = Callable[[Mapping[str, Tensor], Mapping[str, int]], Tensor]
"""`weighting(losses, labelled) -> loss`."""


FUSED_ADAM = partial(torch.optim.Adam, fused=True)
"""Adam in one kernel: the same mathematics, less time per step on CPU and GPU."""


@dataclass(frozen=True)
class Config:
    """Configuration of plain multi-task training.

    Args:
        epochs: Passes of the longest source.
        batch_size: Samples per source and step (and per rank).
        lr: Learning rate.
        weight_decay: L2 decay of the weights.
        cosine: Let the learning rate fall to zero along half a cosine.
        keep_best: Give the weights of the epoch with the smallest mean validation loss instead of the last.
        optimizer: Makes the optimizer: `optimizer(parameters, lr=..., weight_decay=...)`.

    Raises:
        ValueError: If a number is out of range.
    """

    epochs: int = 20
    batch_size: int = 16
    lr: float = 1e-3
    weight_decay: float = 1e-4
    cosine: bool = False
    keep_best: bool = False
    optimizer: Callable[..., torch.optim.Optimizer] = FUSED_ADAM

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a whole number of at least 1. Got `{name} = {value}`.")
        for name, positive in (("lr", True), ("weight_decay", False)):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0 or (positive and value == 0):
                rule = "positive" if positive else ">= 0"
                raise ValueError(f"`{name}` must be {rule} and finite. Got `{name} = {value}`.")


def fit(
    build: Build,
    data: MultiTaskData,
    config: Config | None = None,
    run: Run | None = None,
    *,
    weigh: Callable[[Iterable[str]], Weighting] | None = None,
) -> Result:
    """Train one network for all tasks: a shared backbone and a head per task (hard parameter sharing).

    Args:
        build: The architecture.
        data: Tasks and their sources.
        config: Epochs, batch size, optimizer.
        run: Folder, device, seed; default nothing on disk.
        weigh: Makes the weighting of the losses from the tasks' names, as `weighting.Uncertainty`; default their sum.

    Returns:
        The trained model; the report holds configuration and loss history.

    Raises:
        ValueError: If `keep_best` is asked for without validation data.
        TypeError: If `data` or `config` is not of its type.
    """
    config = config or Config()
    if isinstance(config, Config) and isinstance(data, MultiTaskData) and config.keep_best and data.validation is None:
        raise ValueError("`keep_best` must have validation data. Got data without them.")
    run = begin(run, "mtl_core.fit", config, data)
    with run.seeded("model"):
        model = run.place(Builder(build)(data.tasks))
    weights: Any = weigh(data.tasks) if weigh else weighting.equal
    run.context["weighting"] = repr(weights) if isinstance(weights, weighting.Fixed) else function_name(weights)
    groups: list[dict[str, Any]] = [{"params": list(model.parameters())}]
    state: list[Any] = []
    if isinstance(weights, nn.Module):
        groups.append({"params": list(weights.parameters()), "weight_decay": 0.0})
        state.append(weights)
    optimizer = config.optimizer(groups, lr=config.lr, weight_decay=config.weight_decay)
    per_epoch = data.train.steps(config.batch_size * run.world)
    schedule = (
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs * per_epoch) if config.cosine else None
    )
    best = _Best(model) if config.keep_best else None
    state += [item for item in (schedule, best) if item is not None]
    with run.phase("train", model=model, optimizer=optimizer, state=state) as phase:
        for batch in phase.batches(data.train, epochs=config.epochs, batch_size=config.batch_size):
            losses = phase.losses(model, batch)
            phase.step(weights(losses, phase.labelled), optimizer)
            if schedule is not None:
                schedule.step()
            if best is not None and phase.ends_epoch:
                measured = mean_losses(model, data.validation).values()
                best.offer(sum(loss for loss in measured if not math.isnan(loss)))  # NaN: no label
    if best is not None:
        best.restore()
    return phase.result(model)


def fit_single_tasks(build: Build, data: MultiTaskData, config: Config | None = None, run: Run | None = None) -> Result:
    """Train a network of its own for each task.

    Args:
        build: The architecture; it is called once for each task.
        data: Tasks and their sources.
        config: As for `fit`.
        run: Its ranks share the tasks out.

    Returns:
        A `TaskGroups` with one group a task; the report holds each task's history.

    Raises:
        ValueError: If `build` gives a module twice, or a task's name cannot name a group.
        TypeError: If `data` or `config` is not of its type.
    """
    config = config or Config()
    top = begin(run, "mtl_core.fit_single_tasks", config, data)
    check_names("tasks", data.tasks, "head", "stem")  # before the training, not after it
    build = Builder(build)
    results = top.spread(list(data.tasks), lambda name, child: fit(build, data.select([name]), config, child))
    model = TaskGroups({name: result.model for name, result in results.items()}).eval()
    phases = {name: result.report.phases["train"] for name, result in results.items()}
    first = next(iter(results.values()))
    return Result(model, first.report.extended(**top.context, phases=phases))


class _Best:
    """The weights with the smallest loss offered so far."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._loss = float("inf")
        self._weights: dict[str, Tensor] = {}

    def offer(self, loss: float) -> None:
        if loss < self._loss:
            self._loss = loss
            self._weights = {name: tensor.clone() for name, tensor in self._model.state_dict().items()}

    def restore(self) -> None:
        self._model.load_state_dict(self._weights or self._model.state_dict())

    def state_dict(self) -> dict[str, Any]:
        return {"loss": self._loss, "weights": self._weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        loss, weights = float(state["loss"]), dict(state["weights"])
        if weights:
            check_module(weights, self._model, "weights")
        self._loss, self._weights = loss, weights
