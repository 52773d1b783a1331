"""Samples as they come, made into the tensors of a batch."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mtl_core.task import Task


def as_input(value: Any) -> Tensor:
    """An input as a tensor: uint8 divided by 255, double and half precision as float32."""
    tensor = torch.as_tensor(value)
    if tensor.dtype == torch.uint8:
        return tensor.float() / 255
    return tensor.float() if tensor.dtype in (torch.float64, torch.float16) else tensor


def as_target(value: Any) -> Tensor:
    """A target as a tensor: float32 or int64."""
    tensor = torch.as_tensor(value)
    if tensor.dtype in (torch.bool, torch.float64, torch.float16):
        return tensor.float()
    return tensor if tensor.is_floating_point() else tensor.long()


def present(target: Tensor, missing: float) -> Tensor:
    """Where a target is labelled."""
    return ~target.isnan() if missing != missing else target != missing


def filled(column: list[Tensor | None], task: Task) -> list[Tensor]:
    """A column of targets with the task's `missing` where there is none."""
    example = next(target for target in column if target is not None)
    lacking = any(target is None for target in column)
    if lacking and task.missing != task.missing and not example.is_floating_point():
        raise ValueError(
            f"`missing` of task `{task.name}` must be an integer where targets are integers. "
            f"Got `missing = {task.missing}`: give the targets as floats, or the task another `missing`."
        )
    return [torch.full_like(example, task.missing) if target is None else target for target in column]


def stacked(tensors: list[Tensor], what: str) -> Tensor:
    """Tensors of one shape as one tensor, sample first."""
    shapes = sorted({tuple(tensor.shape) for tensor in tensors})
    if len(shapes) > 1:
        raise ValueError(f"The {what} must have one shape within a batch. Got {shapes[0]} and {shapes[1]}.")
    return torch.stack(tensors)


def check_view(
    source: int, indices: Tensor, inputs: Tensor, targets: dict[str, Tensor], tasks: Mapping[str, Task]
) -> None:
    """Refuse inputs that are not finite, and targets of the wrong length or against their task's rule.

    Raises:
        ValueError: If something is wrong.
    """
    # One sum is one pass; NaN and Inf both survive it.
    if inputs.is_floating_point() and not torch.isfinite(inputs.sum()):
        bad = indices[~torch.isfinite(inputs.reshape(len(inputs), -1)).all(1)].tolist()
        if bad:
            raise ValueError(f"Inputs must be finite. Got NaN or Inf in sample {bad[0]} of source {source}.")
    for name, target in targets.items():
        check = tasks[name].check
        if len(target) != len(inputs):
            raise ValueError(
                f"Targets of task `{name}` must have one row per input. Got {len(target)} for {len(inputs)} inputs."
            )
        if check is not None:
            check(target)
