"""Checks of targets: a malformed one is refused before it is used, with the task, the value and the rule.

A pass or two over a target cost less than reading it did; without it a class index out of range is an illegal memory
access on a GPU, and a depth of NaN is a NaN loss many layers later. Each check names the value that stands for "not
labelled", because a wrong one (−1 in a segmentation, 0 in a classification) is the usual mistake.
"""

import torch

from mtl_core.types import Tensor


def check_classes(task: str, classes: int, missing: int, ndim: int, target: Tensor) -> None:
    """Refuse classes that are neither from 0 to `classes - 1` nor `missing`.

    Args:
        task: Name of the task, for the message.
        classes: Number of classes.
        missing: The value where it is not labelled.
        ndim: Axes of the target: 1 for `[batch]`, 3 for `[batch, h, w]`.
        target: A batch of targets.

    Raises:
        ValueError: If the dtype, the shape or a value is wrong.
    """
    shape = "[batch]" if ndim == 1 else "[batch, h, w]"
    _check_form(task, f"int64, {shape}", target.dtype == torch.int64 and target.ndim == ndim, target)
    if target.numel() == 0:
        return
    low, high = (int(value) for value in target.masked_fill(target == missing, 0).aminmax())
    if low < 0 or high >= classes:
        _refuse(task, f"be a class from 0 to {classes - 1}, or {missing} where not labelled", low if low < 0 else high)


def check_zero_one(task: str, dense: bool, target: Tensor) -> None:
    """Refuse values that are neither 0, 1 nor NaN (not labelled).

    Args:
        task: Name of the task, for the message.
        dense: Whether the target is a map, `[batch, 1, h, w]`, rather than `[batch]`.
        target: A batch of targets.

    Raises:
        ValueError: If the dtype, the shape or a value is wrong.
    """
    _check_float(task, 1 if dense else None, target)
    wrong = (target != 0) & (target != 1) & ~target.isnan()
    if wrong.any():
        _refuse(task, "be 0 or 1, or NaN where not labelled", float(target[wrong][0]))


def check_unit_interval(task: str, target: Tensor) -> None:
    """Refuse values of a map `[batch, 1, h, w]` that are neither in [0, 1] nor NaN (not labelled).

    Args:
        task: Name of the task, for the message.
        target: A batch of targets.

    Raises:
        ValueError: If the dtype, the shape or a value is wrong.
    """
    _check_float(task, 1, target)
    if target.numel() == 0:
        return
    low, high = (float(value) for value in target.nan_to_num(nan=0.0).aminmax())
    if low < 0 or high > 1:
        _refuse(task, "lie in [0, 1], or be NaN where not labelled", low if low < 0 else high)


def check_depth(task: str, target: Tensor) -> None:
    """Refuse depths `[batch, 1, h, w]` that are negative or not finite; 0 is not labelled.

    Args:
        task: Name of the task, for the message.
        target: A batch of targets, metres.

    Raises:
        ValueError: If the dtype, the shape or a value is wrong.
    """
    _check_float(task, 1, target)
    if target.numel() == 0:
        return
    low, high = (float(value) for value in target.aminmax())  # NaN, if there is one
    if not low >= 0 or high == torch.inf:
        _refuse(task, "be positive and finite (metres), or 0 where not labelled", high if low >= 0 else low)


def check_normals(task: str, target: Tensor, tolerance: float = 0.1) -> None:
    """Refuse vectors `[batch, 3, h, w]` that are neither of length 1 nor the zero vector (not labelled).

    Args:
        task: Name of the task, for the message.
        target: A batch of targets.
        tolerance: How far a length may be from 1. Eight bits a coordinate are off by .014; a picture that was read as
            it is, without `2 v / 255 - 1`, by far more.

    Raises:
        ValueError: If the dtype, the shape or a length is wrong.
    """
    _check_float(task, 3, target)
    length = target.square().sum(dim=1).sqrt()
    right = ((length - 1).abs() <= tolerance) | (length == 0)
    if not right.all():
        value = f"a vector of length {float(length[~right][0]):.4g}"
        _refuse(task, "hold vectors of length 1, or the zero vector where not labelled", value)


def _check_float(task: str, channels: int | None, target: Tensor) -> None:
    """Refuse what is not a float `[batch]`, or `[batch, channels, h, w]`."""
    right = target.ndim == 1 if channels is None else target.ndim == 4 and target.shape[1] == channels
    shape = "[batch]" if channels is None else f"[batch, {channels}, h, w]"
    _check_form(task, f"float, {shape}", right and target.is_floating_point(), target)


def _check_form(task: str, rule: str, right: bool, target: Tensor) -> None:
    if not right:
        dtype = str(target.dtype).removeprefix("torch.")
        raise ValueError(f"`target` of task `{task}` must be {rule}. Got `target` of {dtype}, {list(target.shape)}.")


def _refuse(task: str, rule: str, value: object) -> None:
    raise ValueError(f"`target` of task `{task}` must {rule}. Got `target = {value}`.")
