"""What every backbone is made of: widths, convolutions, and the trade of strides for dilation."""

from collections.abc import Callable
from typing import TypeAlias

from torch import nn

Norm: TypeAlias = Callable[[int], nn.Module]
"""`channels -> Module`: makes the norm after a convolution."""


def scale_channels(channels: int, width: float) -> int:
    """Multiply a number of channels by `width`: the nearest multiple of 8 (halves upwards), at least 8.

    Args:
        channels: Channels at width 1.
        width: Multiplier, positive.

    Raises:
        ValueError: If `width` is not positive.

    Examples:
        >>> [scale_channels(64, width) for width in (1.0, 0.25, 0.3, 0.01)]
        [64, 16, 16, 8]
    """
    if not width > 0:
        raise ValueError(f"`width` must be positive. Got `width = {width}`.")
    return max(8, 8 * int(channels * width / 8 + 0.5))


def strides_and_dilations(strides: tuple[int, ...], output_stride: int) -> list[tuple[int, int, int]]:
    """Give up strides for dilation where they would go beyond `output_stride`.

    A convolution whose stride is given up reads its input as before; what follows it reads every second, fourth, ...
    position. So the dense features, taken at every `32 / output_stride`-th row and column, are exactly those of the
    strided network with the same weights, norms in eval mode.

    Args:
        strides: Stride of each stage after a stem of stride 4.
        output_stride: 8, 16 or 32.

    Returns:
        Of each stage `(stride, dilation of the convolution that had the stride, dilation of all after it)`.

    Raises:
        ValueError: If `output_stride` is another number.

    Examples:
        >>> strides_and_dilations((1, 2, 2, 2), 8)
        [(1, 1, 1), (2, 1, 1), (1, 1, 2), (1, 2, 4)]
    """
    if output_stride not in (8, 16, 32):
        raise ValueError(f"`output_stride` must be 8, 16 or 32. Got `output_stride = {output_stride}`.")
    stages = []
    reached, dilation = 4, 1
    for stride in strides:
        if reached * stride > output_stride:
            stages.append((1, dilation, dilation * stride))
            dilation *= stride
        else:
            stages.append((stride, dilation, dilation))
            reached *= stride
    return stages


def conv(
    in_channels: int, channels: int, kernel: int, *, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Conv2d:
    r"""A convolution without bias for a norm to follow, padded to keep the size, weights from $N(0, 2 / (C k^2))$.

    Args:
        in_channels: Channels of the input.
        channels: Channels $C$ of the output.
        kernel: Side $k$ of the kernel, odd.
        stride: Stride.
        dilation: Distance of the positions that the kernel reads.
        groups: Groups of channels; their number makes it depthwise.

    Examples:
        >>> import torch
        >>> conv(3, 8, 3, stride=2)(torch.zeros(1, 3, 9, 9)).shape
        torch.Size([1, 8, 5, 5])
    """
    layer = nn.Conv2d(
        in_channels,
        channels,
        kernel,
        stride=stride,
        padding=dilation * (kernel // 2),
        dilation=dilation,
        groups=groups,
        bias=False,
    )
    # He et al. 2015, by the fan-out: keeps the variance of the gradients from layer to layer.
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer
