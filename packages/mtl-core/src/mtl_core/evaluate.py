"""Measuring a model on a part of the data: metrics, mean losses, losses per sample. Never with augmentation."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mtl_core import ranks
from mtl_core.components import evaluating, prepared
from mtl_core.cuda import move
from mtl_core.data import Split, View
from mtl_core.metrics.metric import Metric
from mtl_core.reduction import mean_loss, sample_losses_of
from mtl_core.task import Task


def evaluate(
    model: nn.Module, sources: Split | None, tasks: Mapping[str, Task] | None = None, *, batch_size: int = 64
) -> dict[str, dict[str, float]]:
    """Give every figure of every task over a part of the data, in evaluation mode.

    Sums are accumulated over the whole part (and all ranks) before a ratio is taken.

    Args:
        model: Any model; it is afterwards in the mode that it was in.
        sources: `data.validation` or `data.test`.
        tasks: Some of the tasks; default all of the part's.
        batch_size: Samples a forward pass; changes no figure.

    Returns:
        `{task: {metric: value}}`.

    Raises:
        ValueError: If there is no such part of the data, or a task is not in it.
    """
    part = _part(sources, tasks)
    rank, world = ranks.connect()
    metrics = {name: list(task.metrics()) for name, task in part.tasks.items()}
    device = _device(model)
    with evaluating(model), prepared(model):
        for view in part.views(batch_size, rank, world):
            placed = _placed(view, model, device)
            predictions = model(placed.inputs, list(placed.targets))
            for name, target in placed.targets.items():
                for metric in metrics[name]:
                    metric.update(predictions[name], target)
    found: dict[str, dict[str, float]] = {}
    for name, several in metrics.items():
        found[name] = {}
        for metric, empty in zip(several, part.tasks[name].metrics(), strict=True):
            found[name].update(_over_ranks(metric, empty, world).compute())
    return found


def mean_losses(model: nn.Module, sources: Split | None, *, batch_size: int = 64) -> dict[str, float]:
    """Mean loss of each task over its labelled elements of a part of the data, task weights left out.

    Args:
        model: Any model that gives one prediction of each task.
        sources: A part of the data.
        batch_size: Samples a forward pass; changes no figure.

    Returns:
        `{task: loss}`; NaN for a task without a label.

    Raises:
        ValueError: If there is no such part of the data.
    """
    part = _part(sources, None)
    rank, world = ranks.connect()
    sums = torch.zeros(len(part.tasks), 2, dtype=torch.float64)
    device = _device(model)
    with evaluating(model), prepared(model):
        for view in part.views(batch_size, rank, world):
            placed = _placed(view, model, device)
            predictions = model(placed.inputs, list(placed.targets))
            for row, (name, task) in enumerate(part.tasks.items()):
                if name in placed.targets:
                    values, valid = task.elements(predictions[name], placed.targets[name])
                    sums[row] += torch.stack(mean_loss(values.double(), valid)).cpu()
    ranks.total(sums, world)
    return {name: float(s / n) for name, (s, n) in zip(part.tasks, sums, strict=True)}


def sample_losses(model: nn.Module, sources: Split | None, task: Task, *, batch_size: int = 64) -> Tensor:
    """Loss of every labelled sample of one task, in the order of the data, on this rank for all data.

    Args:
        model: Any model that gives one prediction of the task.
        sources: A part of the data.
        task: The task; its loss must be given element by element.
        batch_size: Samples a forward pass.

    Returns:
        `[samples]`; samples without a label are left out.

    Raises:
        ValueError: If there is no such part of the data, the task is not in it, or its loss is a mean only.
    """
    part = _part(sources, {task.name: task})
    device = _device(model)
    found = []
    with evaluating(model), prepared(model):
        for view in part.views(batch_size):
            placed = _placed(view, model, device)
            prediction = model(placed.inputs, [task.name])[task.name]
            losses = sample_losses_of(*task.elements(prediction, placed.targets[task.name]), task.name)
            found.append(losses[~losses.isnan()].cpu())
    return torch.cat(found) if found else torch.zeros(0)


def _over_ranks(metric: Metric, empty: Metric, world: int) -> Metric:
    """The metric with what all ranks have accumulated, merged into an empty one."""
    if world == 1:
        return metric
    state = metric.state()
    gathered = {
        key: ranks.gather(value.reshape(1) if value.ndim == 0 else value, world) for key, value in state.items()
    }
    for rank in range(world):
        parts = {key: several[rank] for key, several in gathered.items()}
        empty.merge({key: part.reshape(()) if state[key].ndim == 0 else part for key, part in parts.items()})
    return empty


def _part(sources: Split | None, tasks: Mapping[str, Task] | None) -> Split:
    if sources is None:
        raise ValueError("`sources` must be a part of the data. Got None: the data have no such part.")
    unknown = [name for name in tasks or () if name not in sources.tasks]
    if unknown:
        raise ValueError(f"`tasks` must be among {list(sources.tasks)}. Got {unknown}.")
    return sources if tasks is None else sources.select(tasks)


def _placed(view: View, model: nn.Module, device: torch.device) -> View:
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    inputs = move(view.inputs, device)
    inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
    return View(inputs, {name: move(target, device) for name, target in view.targets.items()})


def _device(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))
