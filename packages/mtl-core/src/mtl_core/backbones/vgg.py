"""VGG-16 without its classifier: thirteen 3×3 convolutions in five stages, a 2×2 max-pooling after each.

Parameters have torchvision's names and shapes (`features.24.weight`), with norms those of its `vgg16_bn`. It has no way round
its layers: methods that empty whole layers find none to empty.

Simonyan, Zisserman, *Very deep convolutional networks for large-scale image recognition*, 2015 (table 1, D).
"""

from torch import Tensor, nn

from mtl_core.backbones.layers import Norm, scale_channels
from mtl_core.backbones.normalize import Normalization, input_normalization
from mtl_core.backbones.weights import Weights, load_weights
from mtl_core.types import Float

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and number of the convolutions of each stage."""


class VGG16(nn.Module):
    """VGG-16; `vgg16()` makes one.

    Args:
        width: Multiplier of all channels; each is rounded to a multiple of 8, at least 8.
        pools: Poolings, 0 to 5; the last ones are left out. A feature stands for `2 ** pools` pixels.
        in_channels: Channels of the images.
        norm: `channels -> Module`: makes the norm after each convolution; None: no norms, as in the paper.
        normalize: Mean and standard deviation of each input channel, kept as first submodule `normalize`.
        weights: File of safetensors to start from; default random.

    Attributes:
        channels: Channels of the features: 512 at width 1.

    Raises:
        ValueError: If `width`, `pools`, `in_channels` or `normalize` is not usable, or `weights` do not fit.
    """

    def __init__(
        self,
        *,
        width: float = 1.0,
        pools: int = 5,
        in_channels: int = 3,
        norm: Norm | None = nn.BatchNorm2d,
        normalize: Normalization | None = None,
        weights: Weights | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= pools <= len(STAGES):
            raise ValueError(f"`pools` must be 0 to {len(STAGES)}. Got `pools = {pools}`.")
        self.normalize = input_normalization(normalize, in_channels)
        layers: list[nn.Module] = []
        before = in_channels
        for stage, (channels, number) in enumerate(STAGES):
            channels = scale_channels(channels, width)
            for _ in range(number):
                layers.append(_convolution(before, channels))
                layers += [norm(channels)] if norm else []
                layers.append(nn.ReLU())
                before = channels
            # A pooling that is left out keeps its place, so that the names after it stay torchvision's; rounded upwards, a
            # map of one position can be pooled, too.
            layers.append(nn.MaxPool2d(2, ceil_mode=True) if stage < pools else nn.Identity())
        self.channels = before
        self.features = nn.Sequential(*layers)
        load_weights(self, weights)

    def forward(self, images: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch _ _ _"]:
        """Features of a batch of images, `[batch, channels, h, w]`."""
        return self.features(self.normalize(images))


def vgg16(
    *,
    width: float = 1.0,
    pools: int = 5,
    in_channels: int = 3,
    norm: Norm | None = nn.BatchNorm2d,
    normalize: Normalization | None = None,
    weights: Weights | None = None,
) -> VGG16:
    """VGG-16; 14,723,136 parameters at width 1. Arguments and errors as for the class `VGG16`.

    Examples:
        >>> import torch
        >>> backbone = vgg16(width=0.25, pools=3)
        >>> backbone(torch.zeros(1, 3, 48, 64)).shape, backbone.channels
        (torch.Size([1, 128, 6, 8]), 128)
    """
    return VGG16(width=width, pools=pools, in_channels=in_channels, norm=norm, normalize=normalize, weights=weights)


def _convolution(in_channels: int, channels: int) -> nn.Conv2d:
    layer = nn.Conv2d(in_channels, channels, 3, padding=1)
    # Without norms the variance has to be kept by the weights alone (He et al. 2015).
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
