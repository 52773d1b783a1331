r"""The poster's figures: total error, total loss, the gain over naive multi-task learning, and the cost in encoders.

$$\text{TotalError} = 100 \sum_i (1 - \text{acc}_i), \quad \text{TotalLoss} = \sum_i \ell_i, \quad
\text{NormGain} = \frac{100}{N} \sum_i \frac{\text{ref}_i - x_i}{\text{ref}_i}$$

with $x$ the errors or losses, and ref those of naive multi-task learning (one shared encoder). The poster prints no formula;
these give its tables again.
"""

import math
from collections.abc import Sequence

from torch import nn

from mtl_core.components import components_of


def total_error(accuracy: Sequence[float]) -> float:
    r"""Sum of the tasks' errors in percent; lower is better.

    Args:
        accuracy: Accuracy of each task, in [0, 1].

    Raises:
        ValueError: If there is none, or one is not in [0, 1].

    Examples:
        >>> round(total_error([0.9, 0.8]), 9)
        30.0
    """
    values = _numbers("accuracy", accuracy)
    if not all(0 <= value <= 1 for value in values):
        raise ValueError(f"`accuracy` must be in [0, 1]. Got `accuracy = {values}`.")
    return 100 * sum(1 - value for value in values)  # Eq. (4)


def total_loss(losses: Sequence[float]) -> float:
    """Sum of the tasks' losses; lower is better. Losses of different units are added as they are.

    Args:
        losses: Loss of each task.

    Raises:
        ValueError: If there is none.

    Examples:
        >>> total_loss([0.5, 0.25])
        0.75
    """
    return sum(_numbers("losses", losses))  # Eq. (5)


def norm_gain(value: Sequence[float], reference: Sequence[float]) -> float:
    """Mean relative gain over the tasks in percent; higher is better, 0 is the reference.

    Args:
        value: Error or loss of each task, lower is better.
        reference: Those of naive multi-task learning, in the same order.

    Raises:
        ValueError: If the lengths differ, there is none, or a reference is not positive.

    Examples:
        >>> norm_gain([0.5, 0.2], [1, 0.1])  # one task half as bad, the other twice as bad
        -25.0
    """
    x, ref = _numbers("value", value), _numbers("reference", reference)
    if len(x) != len(ref):
        raise ValueError(f"`value` and `reference` must have the same tasks. Got {len(x)} and {len(ref)} values.")
    if not all(r > 0 for r in ref):
        raise ValueError(f"`reference` must be positive: there is no gain relative to 0. Got `reference = {ref}`.")
    return 100 * sum((r - v) / r for v, r in zip(x, ref, strict=True)) / len(x)  # Eq. (6)


def relative_encoders(model: nn.Module) -> float:
    """How many encoders a model has, in those of naive multi-task learning: parameters of stem and backbones, heads left out.

    Args:
        model: A `BranchedModel`, a `TaskGroups` or any other model; one network counts 1, K groups without a stem K.

    Raises:
        ValueError: If there is no parameter outside the heads.
    """
    sizes: dict[str, int] = {}
    for name, modules in components_of(model).items():
        parts = name.split(".")
        if "head" not in parts[-2:-1]:
            sizes[name] = sum(p.numel() for p in {p for module in modules for p in module.parameters()})
    stem = sizes.pop("stem", 0)
    one = stem + max(sizes.values(), default=0)
    if not one:
        raise ValueError("`model` must have parameters outside its heads. Got none.")
    return (stem + sum(sizes.values())) / one


def _numbers(name: str, values: Sequence[float]) -> list[float]:
    found = [float(value) for value in values]
    if not found or not all(map(math.isfinite, found)):
        raise ValueError(f"`{name}` must hold a finite number for each task. Got `{name} = {found}`.")
    return found
