r"""Residual networks: ResNet-10, -14, -18, -34, -50, and the ResNet-50 with a deep stem.

A stem of stride 4 and four stages of residual blocks, each stage with twice the channels of the one before. Parameters
have torchvision's names and shapes (`layer2.3.conv2.weight`), so that its weights can be loaded.

He et al., *Deep residual learning for image recognition*, 2016 (table 1). Output stride 8: Yu and Koltun,
*Multi-scale context aggregation by dilated convolutions*, 2016.
"""

from collections.abc import Sequence
from typing import TypedDict, Unpack

from torch import Tensor, nn
from torch.nn.functional import relu

from mtl_core.backbones.layers import Norm, conv, scale_channels, strides_and_dilations
from mtl_core.backbones.normalize import Normalization, input_normalization
from mtl_core.backbones.residual import BasicBlock, Block, Bottleneck
from mtl_core.backbones.weights import Weights, load_weights
from mtl_core.types import Float


class ResNet(nn.Module):
    """A residual network without its classifier; `resnet18()` and the like make one.

    Args:
        block: `BasicBlock` or `Bottleneck`.
        depths: Blocks of each of the four stages.
        stem: Channels of the stem's convolutions at width 1: one 7×7, or several 3×3.
        width: Multiplier of all channels; each is rounded to a multiple of 8, at least 8.
        output_stride: Image pixels per feature, 32, 16 or 8: instead of halving the map again, the last stages dilate.
        in_channels: Channels of the images.
        small_images: A first convolution of 3×3 with stride 1 and no pooling: four times finer than `output_stride`
            says, for images of about 32 pixels.
        norm: `channels -> Module`: makes the norm after each convolution.
        normalize: Mean and standard deviation of each input channel, kept as first submodule `normalize`.
        weights: File of safetensors to start from; default random.

    Attributes:
        channels: Channels of the features.

    Raises:
        ValueError: If `width`, `output_stride`, `in_channels` or `normalize` is not usable, or `weights` do not fit.

    Examples:
        >>> import torch
        >>> backbone = ResNet(BasicBlock, (1, 1, 1, 1), width=0.25, output_stride=8)
        >>> backbone(torch.zeros(2, 3, 48, 64)).shape, backbone.channels
        (torch.Size([2, 128, 6, 8]), 128)
    """

    def __init__(
        self,
        block: Block,
        depths: tuple[int, int, int, int],
        *,
        stem: Sequence[int] = (64,),
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
        stem = [scale_channels(channels, width) for channels in stem]
        self.conv1 = _stem(in_channels, stem, 1 if small_images else 2, 3 if small_images or len(stem) > 1 else 7, norm)
        self.bn1 = norm(stem[-1])
        self.maxpool = nn.Identity() if small_images else nn.MaxPool2d(3, stride=2, padding=1)
        self.channels = stem[-1]
        stages = []
        for index, (stride, first, dilation) in enumerate(strides_and_dilations((1, 2, 2, 2), output_stride)):
            blocks = []
            channels = scale_channels(64 * 2**index, width)
            for position in range(depths[index]):
                if position == 0:
                    blocks.append(block(self.channels, channels, stride, first, dilation, norm))
                else:
                    blocks.append(block(self.channels, channels, 1, dilation, dilation, norm))
                self.channels = block.expansion * channels
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        load_weights(self, weights)

    def forward(self, images: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch _ _ _"]:
        """Features of a batch of images, `[batch, channels, h, w]`."""
        x = self.maxpool(relu(self.bn1(self.conv1(self.normalize(images)))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class Options(TypedDict, total=False):
    """The keyword arguments of `ResNet`, which each function below takes: a signature written once, checked by mypy."""

    width: float
    output_stride: int
    in_channels: int
    small_images: bool
    norm: Norm
    normalize: Normalization | None
    weights: Weights | None


def resnet10(**options: Unpack[Options]) -> ResNet:
    """ResNet-10: one basic block in each stage.

    Args:
        options: `width`, `output_stride`, `in_channels`, `small_images`, `norm`, `normalize`, `weights`, as in `ResNet`.

    Examples:
        >>> resnet10(width=0.25, output_stride=8).channels
        128
    """
    return ResNet(BasicBlock, (1, 1, 1, 1), **options)


def resnet14(**options: Unpack[Options]) -> ResNet:
    """ResNet-14: 2, 2, 1, 1 basic blocks.

    Args:
        options: `width`, `output_stride`, `in_channels`, `small_images`, `norm`, `normalize`, `weights`, as in `ResNet`.

    Examples:
        >>> resnet14(in_channels=1).channels
        512
    """
    return ResNet(BasicBlock, (2, 2, 1, 1), **options)


def resnet18(**options: Unpack[Options]) -> ResNet:
    """ResNet-18: two basic blocks in each stage; 11,176,512 parameters.

    Args:
        options: `width`, `output_stride`, `in_channels`, `small_images`, `norm`, `normalize`, `weights`, as in `ResNet`.

    Examples:
        >>> import torch
        >>> resnet18(small_images=True)(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 512, 4, 4])
    """
    return ResNet(BasicBlock, (2, 2, 2, 2), **options)


def resnet34(**options: Unpack[Options]) -> ResNet:
    """ResNet-34: 3, 4, 6, 3 basic blocks; 21,284,672 parameters.

    Args:
        options: `width`, `output_stride`, `in_channels`, `small_images`, `norm`, `normalize`, `weights`, as in `ResNet`.

    Examples:
        >>> import torch
        >>> resnet34(width=0.25, output_stride=8)(torch.zeros(1, 3, 48, 64)).shape
        torch.Size([1, 128, 6, 8])
    """
    return ResNet(BasicBlock, (3, 4, 6, 3), **options)


def resnet50(**options: Unpack[Options]) -> ResNet:
    """ResNet-50: 3, 4, 6, 3 bottlenecks; 23,508,032 parameters.

    Args:
        options: `width`, `output_stride`, `in_channels`, `small_images`, `norm`, `normalize`, `weights`, as in `ResNet`.

    Examples:
        >>> resnet50(width=0.25).channels
        512
    """
    return ResNet(Bottleneck, (3, 4, 6, 3), **options)


def resnet50_d(**options: Unpack[Options]) -> ResNet:
    """ResNet-50 with a stem of three 3×3 convolutions, 3 → 64 → 64 → 128; 23,631,808 parameters.

    With `output_stride=8` this is the backbone that LOMT's released code calls ResNet-50-D. Its by-passes are plain 1×1
    convolutions; the ResNet-D of He et al. 2019 averages before them, with the same parameters.

    Args:
        options: `width`, `output_stride`, `in_channels`, `small_images`, `norm`, `normalize`, `weights`, as in `ResNet`.

    Examples:
        >>> import torch
        >>> resnet50_d(width=0.25, output_stride=8)(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 512, 8, 8])
    """
    return ResNet(Bottleneck, (3, 4, 6, 3), stem=(64, 64, 128), **options)


def _stem(in_channels: int, stem: Sequence[int], stride: int, kernel: int, norm: Norm) -> nn.Module:
    """The stem's convolutions; the first has the stride, the last is followed by the network's `bn1`."""
    layers: list[nn.Module] = []
    for channels in stem:
        if layers:
            layers += [norm(in_channels), nn.ReLU()]
        layers.append(conv(in_channels, channels, kernel, stride=1 if layers else stride))
        in_channels = channels
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)
