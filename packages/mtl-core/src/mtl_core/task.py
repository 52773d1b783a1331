"""A task: what is predicted, its loss element by element, and its metrics.

The loss is given as `elements(prediction, target) -> (values, valid)`, first axis the sample, and core does every
reduction: the training loss (sum over labelled elements / their number), losses per sample, one loss per prediction
where a model gives several, exact means over ranks. So a task is written once for all methods.

The constructors make the usual tasks; a task of one's own is a `Task(...)` with one's own functions.

| Constructor | Prediction | Target | Not labelled |
|---|---|---|---|
| `classification` | logits `[batch, classes]` | int64 `[batch]` | −1 |
| `attribute` | logit `[batch, 1]` or `[batch]` | float 0 or 1, `[batch]` | NaN |
| `segmentation` | logits `[batch, classes, h, w]` | int64 `[batch, h, w]` | 255 |
| `depth` | metres `[batch, 1, h, w]` | float metres `[batch, 1, h, w]` | 0 |
| `normals` | vectors `[batch, 3, h, w]` | float unit vectors `[batch, 3, h, w]` | the zero vector |
| `edges`, `saliency` | logit `[batch, 1, h, w]` | float 0 or 1, `[batch, 1, h, w]` | NaN |
| `edge_strength`, `keypoints` | value `[batch, 1, h, w]` | float in [0, 1], `[batch, 1, h, w]` | NaN |

A dense prediction may have another size than its target; it is resized to it.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from mtl_core import losses, targets
from mtl_core.metrics import Accuracy, Attribute, Binary, Depth, Metric, Normals, Regression, Segmentation
from mtl_core.types import Elements, Tensor


@dataclass(frozen=True)
class Task:
    """One thing to predict.

    Args:
        name: Unique among the tasks of a data set; letters, digits, `_` and `-`.
        channels: Channels of the head's prediction (classes, for a classification).
        elements: `(prediction, target) -> (values, valid)`: loss and mask, element by element, first axis the sample.
            A loss that gives only a mean returns that one value (a tensor without axes, `valid` likewise): it trains,
            and is refused by name where losses per sample are needed.
        metrics: Makes new, empty metric objects; called once per evaluation.
        dense: Whether the prediction is a map (`[batch, channels, h, w]`).
        weight: Multiplies the training loss in every method; enters no metric and no difficulty.
        missing: The value that a target holds where it is not labelled.
        kind: The loss's unit ("nats", "metres", ...): losses of different kinds have no common scale.
        check: Called with a batch of targets before they are used; raises `ValueError` where they are malformed.

    Raises:
        ValueError: If a name, a number of channels or a weight is not usable.
    """

    name: str
    channels: int
    elements: Elements
    metrics: Callable[[], Sequence[Metric]] = tuple
    dense: bool = False
    weight: float = 1.0
    missing: float = math.nan
    kind: str = ""
    check: Callable[[Tensor], None] | None = None

    def __post_init__(self) -> None:
        if not self.name or not all(c.isalnum() or c in "_-" for c in self.name):
            raise ValueError(f"`name` must be letters, digits, `_` and `-`. Got `name = {self.name!r}`.")
        if self.channels < 1:
            raise ValueError(f"`channels` must be at least 1. Got `channels = {self.channels}` for task `{self.name}`.")
        if not (self.weight > 0 and math.isfinite(self.weight)):
            raise ValueError(
                f"`weight` must be positive and finite. Got `weight = {self.weight}` for task `{self.name}`."
            )


def classification(name: str, classes: int, *, weight: float = 1.0) -> Task:
    """Make a task that tells `classes` classes apart: cross-entropy; accuracy.

    Args:
        name: Name of the task.
        classes: Number of classes, at least 2. Targets are 0 to `classes - 1`, or −1 where not labelled.
        weight: Multiplies the training loss.

    Raises:
        ValueError: If the name, the number of classes or the weight is not usable.

    Examples:
        >>> classification("letter", classes=26).channels
        26
    """
    if classes < 2:
        raise ValueError(f"`classes` must be at least 2. Got `classes = {classes}` for task `{name}`.")
    check = partial(targets.check_classes, name, classes, -1, 1)
    return _task(
        name, classes, losses.cross_entropy, Accuracy, check, dense=False, missing=-1, kind="nats", weight=weight
    )


def attribute(name: str, *, weight: float = 1.0) -> Task:
    """Make a task that says whether something is so: binary cross-entropy; accuracy at probability .5, F1.

    Args:
        name: Name of the task. Targets are 0 or 1, or NaN where not labelled.
        weight: Multiplies the training loss.
    """
    check = partial(targets.check_zero_one, name, False)
    return _task(name, 1, losses.attribute_bce, Attribute, check, dense=False, kind="nats", weight=weight)


def segmentation(name: str, classes: int, *, weight: float = 1.0) -> Task:
    """Make a task that gives each pixel a class: cross-entropy; mIoU, pixel accuracy.

    Args:
        name: Name of the task.
        classes: Number of classes, 2 to 255. Targets are 0 to `classes - 1`, or 255 where not labelled.
        weight: Multiplies the training loss.

    Raises:
        ValueError: If the name, the number of classes or the weight is not usable.

    Examples:
        >>> import torch
        >>> task = segmentation("rooms", classes=13)
        >>> task.check(torch.full((1, 2, 2), 13))
        Traceback (most recent call last):
        ...
        ValueError: `target` of task `rooms` must be a class from 0 to 12, or 255 where not labelled. Got `target = 13`.
    """
    metric = partial(Segmentation, classes)
    metric()  # refuses the number of classes now, not at the first evaluation
    check = partial(targets.check_classes, name, classes, 255, 3)
    loss = losses.segmentation_cross_entropy
    return _task(name, classes, loss, metric, check, dense=True, missing=255, kind="nats", weight=weight)


def depth(name: str, *, loss: Elements = losses.depth_l1, weight: float = 1.0) -> Task:
    """Make a task that estimates depth in metres: L1; absolute and relative error, δ < 1.25, 1.25², 1.25³.

    Args:
        name: Name of the task. Targets are positive, or 0 where not labelled.
        loss: `losses.depth_l1`, or `losses.depth_l2` for squared errors (DAG-MTL).
        weight: Multiplies the training loss.
    """
    kind = "square metres" if loss is losses.depth_l2 else "metres"
    check = partial(targets.check_depth, name)
    return _task(name, 1, loss, Depth, check, dense=True, missing=0, kind=kind, weight=weight)


def normals(name: str, *, weight: float = 1.0) -> Task:
    """Make a task that estimates surface normals: 1 − cosine; mean and median angle, shares within three angles.

    Args:
        name: Name of the task. Targets are unit vectors in the camera frame, or the zero vector where not labelled.
        weight: Multiplies the training loss.
    """
    check = partial(targets.check_normals, name)
    return _task(
        name, 3, losses.normals_cosine, Normals, check, dense=True, missing=0, kind="1 - cosine", weight=weight
    )


def edges(name: str, pos_weight: float | None = None, *, weight: float = 1.0) -> Task:
    """Make a task that finds edge pixels: class-balanced binary cross-entropy; best F-measure and mIoU over thresholds.

    Args:
        name: Name of the task. Targets are 0 or 1, or NaN where not labelled.
        pos_weight: In (0, 1): fixed weight of an edge pixel (.95 for PASCAL-Context); None balances each image.
        weight: Multiplies the training loss.

    Raises:
        ValueError: If the name or a weight is not usable.
    """
    if pos_weight is not None and not 0 < pos_weight < 1:
        raise ValueError(f"`pos_weight` must lie between 0 and 1. Got `pos_weight = {pos_weight}` for task `{name}`.")
    loss = partial(losses.balanced_bce, pos_weight=pos_weight)
    check = partial(targets.check_zero_one, name, True)
    return _task(name, 1, loss, Binary, check, dense=True, kind="balanced nats", weight=weight)


def saliency(name: str, pos_weight: float | None = None, *, weight: float = 1.0) -> Task:
    """Make a task that finds the pixels of what stands out: as `edges`.

    Args:
        name: Name of the task. Targets are 0 or 1, or NaN where not labelled.
        pos_weight: In (0, 1): fixed weight of a salient pixel; None balances each image.
        weight: Multiplies the training loss.

    Raises:
        ValueError: If the name or a weight is not usable.
    """
    return edges(name, pos_weight, weight=weight)


def edge_strength(name: str, *, weight: float = 1.0) -> Task:
    """Make a task that estimates how strong an edge passes through each pixel: L1; mean absolute error.

    Args:
        name: Name of the task. Targets lie in [0, 1], or are NaN where not labelled.
        weight: Multiplies the training loss.
    """
    check = partial(targets.check_unit_interval, name)
    return _task(name, 1, losses.regression_l1, Regression, check, dense=True, kind="share", weight=weight)


def keypoints(name: str, *, weight: float = 1.0) -> Task:
    """Make a task that estimates how much of a keypoint each pixel is: as `edge_strength`.

    Args:
        name: Name of the task. Targets lie in [0, 1], or are NaN where not labelled.
        weight: Multiplies the training loss.
    """
    return edge_strength(name, weight=weight)


# Partial applications of functions of this module, no closures: so a task can be sent to another process.


def _task(
    name: str,
    channels: int,
    loss: Elements,
    metric: Callable[[], Metric],
    check: Callable[[Tensor], None],
    *,
    dense: bool,
    weight: float,
    kind: str,
    missing: float = math.nan,
) -> Task:
    elements = partial(_checked, name, channels, dense, loss)
    return Task(name, channels, elements, partial(_one, metric), dense, weight, missing, kind, check)


def _one(metric: Callable[[], Metric]) -> tuple[Metric]:
    return (metric(),)


def _checked(
    name: str, channels: int, dense: bool, loss: Elements, prediction: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    """Refuse a prediction of the wrong form with the task's name, then compute the loss."""
    shape = list(prediction.shape)
    right = shape[:2] == [len(target), channels] and len(shape) == (4 if dense else 2)
    right = right or (not dense and channels == 1 and shape == [len(target)])
    if not (right and prediction.is_floating_point()):
        rule = f"float, [{len(target)}, {channels}{', h, w' if dense else ''}]"
        dtype = str(prediction.dtype).removeprefix("torch.")
        raise ValueError(f"`prediction` of task `{name}` must be {rule}. Got `prediction` of {dtype}, {shape}.")
    return loss(prediction, target)
