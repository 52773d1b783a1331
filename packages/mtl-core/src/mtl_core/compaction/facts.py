"""What is known of the channels of a value: where they are, and which of them are constant.

A channel is *constant* if it has one value at every position of every sample, whatever the input (for finite activations). A
filter of zeros gives its bias, a ReLU of it that or zero, and so on through the network. Constants are computed in float64.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from mtl_core.types import Bool, Float, Int


@dataclass(frozen=True)
class Channels:
    """The channels of a value.

    Attributes:
        axis: Their dimension.
        constants: The value of each constant channel, NaN for one that varies; float64.
    """

    axis: int
    constants: Float[Tensor, " channels"]

    def __len__(self) -> int:
        return len(self.constants)

    @property
    def varying(self) -> Bool[Tensor, " channels"]:
        """Which channels are not constant."""
        return self.constants.isnan()

    @property
    def all_constant(self) -> bool:
        """Whether no channel varies."""
        return not bool(self.varying.any())


def finite(constants: Float[Tensor, " channels"]) -> Float[Tensor, " channels"]:
    """Take what is not finite for varying: nothing is computed with it beforehand."""
    return torch.where(constants.isfinite(), constants, torch.nan)


def varying(channels: int) -> Float[Tensor, " channels"]:
    """Nothing is known of the channels."""
    return torch.full((channels,), torch.nan, dtype=torch.float64)


def apply(node: fx.Node, module: nn.Module | None, value: Tensor) -> Any:
    """What a node gives if its first input is `value`, and its others are the numbers that were recorded."""

    def other(used: fx.Node) -> Any:
        return value if used is node.args[0] else used.meta["value"]

    args = fx.node.map_arg(node.args, other)
    kwargs = fx.node.map_arg(node.kwargs, other)
    if module is not None:
        return module(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    function: Callable[..., Any] = node.target  # type: ignore[assignment]
    return function(*args, **kwargs)


def moved(
    node: fx.Node, module: nn.Module | None, channels: Channels, shape: tuple[int, ...]
) -> tuple[Channels, Int[Tensor, " _"]] | None:
    """Where an operation that acts on every channel alone takes the channels, and what becomes of the constants.

    It is found by letting the operation act: on a map that holds at every position the number of its channel.

    Args:
        node: A pooling, an average, a change of shape.
        module: Its module, if it is one.
        channels: The channels of its input.
        shape: The shape of its input.

    Returns:
        The channels of the result, and of each the input's channel; None where they are no longer one dimension.
    """
    if len(channels) < 2:
        return None  # one channel can be told from no other
    numbers = apply(node, module, _spread(torch.arange(1.0, len(channels) + 1).double(), channels.axis, shape))
    for axis in range(1, numbers.ndim):
        rows = numbers.movedim(axis, 0).flatten(1)
        largest = rows.amax(1)  # padding with zeros may have made some smaller
        rounded = largest.round()
        near = bool(((largest - rounded).abs() <= 1e-9 * len(channels)).all())
        if near and rounded.unique().tolist() == list(range(1, len(channels) + 1)):
            break
    else:
        return None
    source = rounded.long() - 1
    filled = apply(node, module, _spread(channels.constants.nan_to_num(0.0), channels.axis, shape))
    rows = filled.movedim(axis, 0).flatten(1)
    low, high = rows.amin(1), rows.amax(1)
    even = (high - low) <= 1e-12 * high.abs()  # rounding of an interpolation, in float64
    value = torch.where(even & ~channels.varying[source], rows[:, 0], torch.nan)
    return Channels(axis, finite(value)), source


def _spread(values: Tensor, axis: int, shape: tuple[int, ...]) -> Tensor:
    return values.view([-1 if place == axis else 1 for place in range(len(shape))]).expand(shape).contiguous()
