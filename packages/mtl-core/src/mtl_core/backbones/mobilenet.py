r"""MobileNetV2: inverted residual blocks.

Each block widens its input $t$ times by a 1×1 convolution, filters every channel by itself (3×3, depthwise) and goes
back to few channels by a 1×1 convolution without activation; where input and output have one shape, the input is added.
Parameters have torchvision's names and shapes (`features.2.conv.1.0.weight`).

Sandler et al., *MobileNetV2: inverted residuals and linear bottlenecks*, 2018 (table 2).
"""

from torch import Tensor, nn

from mtl_core.backbones.layers import Norm, conv, scale_channels, strides_and_dilations
from mtl_core.backbones.normalize import Normalization, input_normalization
from mtl_core.backbones.weights import Weights, load_weights
from mtl_core.types import Float

# Table 2: expansion t, channels c, blocks n, stride s of the first block. The stem's stride 2 precedes them.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow; add the input where the shapes agree.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        expansion: How much wider the middle is; 1 leaves the first convolution out.
        stride: Stride of the depthwise convolution.
        dilation: Dilation of the depthwise convolution.
        residual: Whether the input is added.
        norm: Makes the norms.

    Examples:
        >>> import torch
        >>> InvertedResidual(8, 16, expansion=6, stride=2)(torch.zeros(1, 8, 6, 6)).shape
        torch.Size([1, 16, 3, 3])
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        expansion: int,
        stride: int = 1,
        dilation: int = 1,
        residual: bool = False,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        middle = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(nn.Sequential(conv(in_channels, middle, 1), norm(middle), nn.ReLU6()))
        depthwise = conv(middle, middle, 3, stride=stride, dilation=dilation, groups=middle)
        layers.append(nn.Sequential(depthwise, norm(middle), nn.ReLU6()))
        layers += [conv(middle, channels, 1), norm(channels)]
        self.conv = nn.Sequential(*layers)
        self.residual = residual

    def forward(self, features: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch _ _ _"]:
        """Filter, and add the input where the block is residual."""
        return features + self.conv(features) if self.residual else self.conv(features)


class MobileNetV2(nn.Module):
    """MobileNetV2 without its classifier; `mobilenet_v2()` makes one.

    Args:
        width: Multiplier of all channels, the last 1,280 included; each is rounded to a multiple of 8, at least 8.
        output_stride: Image pixels per feature, 32, 16 or 8: instead of halving the map again, later stages dilate.
        in_channels: Channels of the images.
        small_images: Stem and second stage without stride: four times finer than `output_stride` says, for images of
            about 32 pixels.
        norm: `channels -> Module`: makes the norm after each convolution.
        normalize: Mean and standard deviation of each input channel, kept as first submodule `normalize`.
        weights: File of safetensors to start from; default random.

    Attributes:
        channels: Channels of the features: 1,280 at width 1.

    Raises:
        ValueError: If `width`, `output_stride`, `in_channels` or `normalize` is not usable, or `weights` do not fit.
    """

    def __init__(
        self,
        *,
        width: float = 1.0,
        output_stride: int = 32,
        in_channels: int = 3,
        small_images: bool = False,
        norm: Norm = nn.BatchNorm2d,
        normalize: Normalization | None = None,
        weights: Weights | None = None,
    ) -> None:
        super().__init__()
        self.normalize = input_normalization(normalize, in_channels)
        fine = 1 if small_images else 2
        deep = strides_and_dilations(tuple(stride for _, _, _, stride in STAGES[2:]), output_stride)
        steps = [(1, 1, 1), (fine, 1, 1), *deep]
        before = scale_channels(32, width)
        layers: list[nn.Module] = [nn.Sequential(conv(in_channels, before, 3, stride=fine), norm(before), nn.ReLU6())]
        for (expansion, channels, blocks, _), (stride, first, dilation) in zip(STAGES, steps, strict=True):
            channels = scale_channels(channels, width)
            for position in range(blocks):
                layers.append(
                    InvertedResidual(
                        before,
                        channels,
                        expansion=expansion,
                        stride=1 if position else stride,
                        dilation=dilation if position else first,
                        residual=position > 0,
                        norm=norm,
                    )
                )
                before = channels
        self.channels = scale_channels(1280, width)
        layers.append(nn.Sequential(conv(before, self.channels, 1), norm(self.channels), nn.ReLU6()))
        self.features = nn.Sequential(*layers)
        load_weights(self, weights)

    def forward(self, images: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch _ _ _"]:
        """Features of a batch of images, `[batch, channels, h, w]`."""
        return self.features(self.normalize(images))


def mobilenet_v2(
    *,
    width: float = 1.0,
    output_stride: int = 32,
    in_channels: int = 3,
    small_images: bool = False,
    norm: Norm = nn.BatchNorm2d,
    normalize: Normalization | None = None,
    weights: Weights | None = None,
) -> MobileNetV2:
    """MobileNetV2; 2,223,872 parameters at width 1. Arguments and errors as for the class `MobileNetV2`.

    Examples:
        >>> import torch
        >>> backbone = mobilenet_v2(width=0.25, output_stride=8)
        >>> backbone(torch.zeros(1, 3, 48, 64)).shape, backbone.channels
        (torch.Size([1, 320, 6, 8]), 320)
    """
    return MobileNetV2(
        width=width,
        output_stride=output_stride,
        in_channels=in_channels,
        small_images=small_images,
        norm=norm,
        normalize=normalize,
        weights=weights,
    )
