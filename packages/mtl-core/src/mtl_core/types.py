"""Names of the axes and the callables that the packages share.

Shapes are written as jaxtyping strings, `Float[Tensor, "batch channels h w"]`, and checked under pytest only. The axis
names have one meaning everywhere:

| Axis | Meaning |
|---|---|
| `batch` | samples of one view |
| `channels` | channels of a feature map or of a prediction (classes, for logits) |
| `h w` | rows and columns of an image or a map |
| `task` | tasks, in the order of `data.tasks` |
| `groups` | groups of tasks, or of weights under a group penalty |
| `width` | weights of one group |
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor, nn

Targets: TypeAlias = Mapping[str, Tensor]
"""Targets by task name; what is missing is not labelled."""

Predictions: TypeAlias = Mapping[str, Any]
"""Predictions by task name: a tensor, or a tuple of K tensors where a model gives K predictions of the task."""

Elements: TypeAlias = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""`(prediction, target) -> (values, valid)`: the loss element by element and where it is labelled, sample first."""

Augment: TypeAlias = Callable[[Tensor, dict[str, Tensor], Generator], tuple[Tensor, dict[str, Tensor]]]
"""`(input, targets, generator) -> (input, targets)` of one sample; acts in training batches only."""

__all__ = ["Augment", "Bool", "Elements", "Float", "Int", "Predictions", "Targets", "Tensor", "nn"]
