"""A tiny residual network of 45,280 parameters, for tests, demonstrations and images of 8 to 64 pixels.

A stem of full resolution and three basic blocks: methods that empty layers find by-passes, dense tasks find a quarter
of the image's resolution.
"""

from torch import Tensor, nn
from torch.nn.functional import relu

from mtl_core.backbones.layers import Norm, conv, scale_channels
from mtl_core.backbones.normalize import Normalization, input_normalization
from mtl_core.backbones.residual import BasicBlock
from mtl_core.backbones.weights import Weights, load_weights
from mtl_core.types import Float


class TinyNet(nn.Module):
    """A stem and three residual blocks; `tiny()` makes one.

    Args:
        width: Multiplier of the channels 16, 24, 32, 32; each is rounded to a multiple of 8, at least 8.
        in_channels: Channels of the images.
        norm: `channels -> Module`: makes the norm after each convolution.
        normalize: Mean and standard deviation of each input channel, kept as first submodule `normalize`.
        weights: File of safetensors to start from; default random.

    Attributes:
        channels: Channels of the features: 32 at width 1.

    Raises:
        ValueError: If `width`, `in_channels` or `normalize` is not usable, or `weights` do not fit.
    """

    def __init__(
        self,
        *,
        width: float = 1.0,
        in_channels: int = 3,
        norm: Norm = nn.BatchNorm2d,
        normalize: Normalization | None = None,
        weights: Weights | None = None,
    ) -> None:
        super().__init__()
        stem, first, second = (scale_channels(channels, width) for channels in (16, 24, 32))
        self.channels = second
        self.normalize = input_normalization(normalize, in_channels)
        self.conv1 = conv(in_channels, stem, 3)
        self.bn1 = norm(stem)
        self.layer1 = BasicBlock(stem, first, stride=2, norm=norm)
        self.layer2 = BasicBlock(first, second, stride=2, norm=norm)
        self.layer3 = BasicBlock(second, second, norm=norm)
        load_weights(self, weights)

    def forward(self, images: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch _ _ _"]:
        """Features of a batch of images, `[batch, channels, ceil(h / 4), ceil(w / 4)]`."""
        x = relu(self.bn1(self.conv1(self.normalize(images))))
        return self.layer3(self.layer2(self.layer1(x)))


def tiny(
    *,
    width: float = 1.0,
    in_channels: int = 3,
    norm: Norm = nn.BatchNorm2d,
    normalize: Normalization | None = None,
    weights: Weights | None = None,
) -> TinyNet:
    """The tiny network; arguments and errors as for the class `TinyNet`.

    Examples:
        >>> import torch
        >>> backbone = tiny(in_channels=1)
        >>> backbone(torch.zeros(2, 1, 28, 28)).shape, backbone.channels
        (torch.Size([2, 32, 7, 7]), 32)
    """
    return TinyNet(width=width, in_channels=in_channels, norm=norm, normalize=normalize, weights=weights)
