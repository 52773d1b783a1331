r"""Residual blocks: what they are given plus a correction.

$$y = \operatorname{relu}(x' + F(x))$$

with $x' = x$ or, where the shape changes, a 1×1 convolution of it. A layer within $F$ whose weights are all zero
does not cut the signal: that is why methods that empty layers want such networks.

He et al., *Deep residual learning for image recognition*, 2016 (figure 5).
"""

from typing import TypeAlias

from torch import Tensor, nn
from torch.nn.functional import relu

from mtl_core.backbones.layers import Norm, conv
from mtl_core.types import Float


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and the by-pass.

    Args:
        in_channels: Channels of the input.
        channels: Channels of both convolutions.
        stride: Stride of the first convolution and of the by-pass.
        first: Dilation of the first convolution.
        dilation: Dilation of the second.
        norm: Makes the norms.

    Examples:
        >>> import torch
        >>> BasicBlock(8, 16, stride=2)(torch.zeros(1, 8, 6, 6)).shape
        torch.Size([1, 16, 3, 3])
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        first: int = 1,
        dilation: int = 1,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, channels, 3, stride=stride, dilation=first)
        self.bn1 = norm(channels)
        self.conv2 = conv(channels, channels, 3, dilation=dilation)
        self.bn2 = norm(channels)
        self.downsample = _bypass(in_channels, channels, stride, norm)

    def forward(self, features: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch _ _ _"]:
        """Add the correction to the input."""
        x = relu(self.bn1(self.conv1(features)))
        x = self.bn2(self.conv2(x))
        return relu(x + self.downsample(features))


class Bottleneck(nn.Module):
    """A 1×1 convolution to `channels`, a 3×3, a 1×1 to four times as many, and the by-pass.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the first two convolutions.
        stride: Stride of the 3×3 convolution and of the by-pass.
        first: Dilation of the 3×3 convolution.
        dilation: Dilation of what follows in the stage; nothing in this block.
        norm: Makes the norms.

    Examples:
        >>> import torch
        >>> Bottleneck(8, 16, stride=2)(torch.zeros(1, 8, 6, 6)).shape
        torch.Size([1, 64, 3, 3])
    """

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        first: int = 1,
        dilation: int = 1,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, channels, 1)
        self.bn1 = norm(channels)
        self.conv2 = conv(channels, channels, 3, stride=stride, dilation=first)
        self.bn2 = norm(channels)
        self.conv3 = conv(channels, 4 * channels, 1)
        self.bn3 = norm(4 * channels)
        self.downsample = _bypass(in_channels, 4 * channels, stride, norm)

    def forward(self, features: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch _ _ _"]:
        """Add the correction to the input."""
        x = relu(self.bn1(self.conv1(features)))
        x = relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        return relu(x + self.downsample(features))


Block: TypeAlias = type[BasicBlock] | type[Bottleneck]


def _bypass(in_channels: int, channels: int, stride: int, norm: Norm) -> nn.Module:
    """A 1×1 convolution where the shape changes, else nothing."""
    if stride == 1 and in_channels == channels:
        return nn.Identity()
    return nn.Sequential(conv(in_channels, channels, 1, stride=stride), norm(channels))
