"""A task: what is predicted, its loss element by element, and its metrics.

The loss is given as `elements(prediction, target) -> (values, valid)`, first axis the sample, and core does every
reduction: the training loss (sum over labelled elements / their number), losses per sample, one loss per prediction where
a model gives several, exact means over ranks. So a task is written once for all methods.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mtl_core.metrics.metric import Metric
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
            raise ValueError(f"`weight` must be positive and finite. Got `weight = {self.weight}` for task `{self.name}`.")
