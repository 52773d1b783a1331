"""The losses of a step: elementwise losses reduced over views, elements and ranks, one number for each task.

The sum of a task's labelled elements and their number are added up separately and divided last, so labels that are missing
unevenly between views and ranks change nothing. Every rank gets the same values, each with the gradient of its own part.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_core import ranks
from mtl_core.data import View
from mtl_core.reduction import mean_loss
from mtl_core.task import Task


def sums_and_counts(
    predictions: Sequence[Mapping[str, Any]],
    views: Sequence[tuple[View, Sequence[str]]],
    tasks: Mapping[str, Task],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Sum of the labelled elements' losses and their number, by task, over the views of this rank.

    Args:
        predictions: The model's predictions for each view.
        views: Each view with the names of the tasks that were asked for.
        tasks: Tasks by name.

    Returns:
        Sums, `[]` or `[K]` where the model gives K predictions of a task, and numbers; only of tasks that are in a view.

    Raises:
        ValueError: If the model gives no prediction of a task.
    """
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


def over_ranks(
    sums: Mapping[str, Tensor], counts: Mapping[str, Tensor], names: Sequence[str], world: int, like: Tensor
) -> tuple[dict[str, Tensor], dict[str, list[float]], dict[str, int]]:
    """Divide sums by numbers, both over all ranks.

    Args:
        sums: This rank's sums by task.
        counts: This rank's numbers by task.
        names: All tasks, the same on all ranks.
        world: Number of ranks.
        like: Has the type and the device of losses that no view gave.

    Returns:
        Losses by task, with the value over all ranks and `world` times the gradient of this rank's part (gradients are
        averaged over ranks afterwards); their plain values; and the number of labelled elements over all ranks. A task
        without a label has loss 0.
    """
    shapes = torch.tensor([sums[name].numel() if name in sums and sums[name].ndim else 0 for name in names])
    widths = ranks.largest(shapes, world)
    found = [torch.as_tensor(counts.get(name, 0), dtype=torch.float64, device=like.device) for name in names]
    number = ranks.total(torch.stack(found), world)
    local = {}
    for name, n, own in zip(names, number, widths.tolist(), strict=True):
        width = own if n else int(widths.max())  # without a label anywhere: as many zeros as other tasks have losses
        loss = sums.get(name, like.new_zeros((width,) if width else ()))
        local[name] = loss * (world / n.clamp(min=1)).to(loss.dtype)
    values = torch.cat([loss.detach().double().reshape(-1) for loss in local.values()]) / world
    ranks.total(values, world)
    parts = dict(zip(names, values.split([loss.numel() for loss in local.values()]), strict=True))
    plain, place = values.tolist(), 0
    numbers = {}
    for name, loss in local.items():
        numbers[name] = plain[place : place + loss.numel()]
        place += loss.numel()
        if world > 1:
            local[name] = loss + (parts[name].view(loss.shape).to(loss.dtype) - loss.detach())
    return local, numbers, dict(zip(names, map(int, number.tolist()), strict=True))


def _whole(prediction: Any) -> Any:
    """A prediction of half precision as float32: a sum over many pixels would lose digits, or overflow."""
    half = isinstance(prediction, Tensor) and prediction.dtype in (torch.bfloat16, torch.float16)
    return prediction.float() if half else prediction
