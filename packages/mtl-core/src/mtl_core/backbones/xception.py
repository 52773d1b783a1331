"""The Xception that DMTG's released code trains on Taskonomy, and the small residual network that it trains on CelebA.

Xception: two convolutions, three blocks that halve the map, eight residual blocks of equal width, all of separable convolutions,
then one to 512 channels. An image of 256 pixels gives a map of 16: the original's last block and its classifier are gone.

Chollet, *Xception: deep learning with depthwise separable convolutions*, 2017 (figure 5). Gao et al., *DMTG*, released code.
"""

from torch import Tensor, nn
from torch.nn.functional import relu

from mtl_core.backbones.layers import Norm, conv, scale_channels
from mtl_core.backbones.normalize import Normalization, input_normalization
from mtl_core.backbones.residual import BasicBlock
from mtl_core.backbones.weights import Weights, load_weights
from mtl_core.types import Float


class Separable(nn.Module):
    """A 3×3 convolution of each channel by itself, and a 1×1 over all of them.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.

    Examples:
        >>> import torch
        >>> Separable(8, 16)(torch.zeros(1, 8, 6, 6)).shape
        torch.Size([1, 16, 6, 6])
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.depthwise = conv(in_channels, in_channels, 3, groups=in_channels)
        self.pointwise = conv(in_channels, channels, 1)

    def forward(self, features: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch _ h w"]:
        """Filter."""
        return self.pointwise(self.depthwise(features))


class XceptionBlock(nn.Module):
    """Separable convolutions with norms, ReLU before each, and a by-pass.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        convolutions: How many; the first changes the number of channels.
        halve: Whether a 3×3 max-pooling of stride 2 ends the block; the by-pass is then a 1×1 convolution of stride 2.
        norm: Makes the norms.

    Examples:
        >>> import torch
        >>> XceptionBlock(8, 16, convolutions=2, halve=True)(torch.zeros(1, 8, 6, 6)).shape
        torch.Size([1, 16, 3, 3])
    """

    def __init__(
        self, in_channels: int, channels: int, *, convolutions: int, halve: bool, norm: Norm = nn.BatchNorm2d
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for place in range(convolutions):
            layers += [nn.ReLU(), Separable(channels if place else in_channels, channels), norm(channels)]
        self.layers = nn.Sequential(*layers)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1) if halve else nn.Identity()
        self.skip: nn.Module = nn.Identity()
        if halve:
            self.skip = nn.Sequential(conv(in_channels, channels, 1, stride=2), norm(channels))

    def forward(self, features: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch _ _ _"]:
        """Add the correction to the input."""
        return self.pool(self.layers(features)) + self.skip(features)


class Xception(nn.Module):
    """Xception for dense tasks; `xception()` makes one.

    Args:
        width: Multiplier of all channels; each is rounded to a multiple of 8, at least 8.
        in_channels: Channels of the images.
        norm: `channels -> Module`: makes the norm after each convolution.
        normalize: Mean and standard deviation of each input channel, kept as first submodule `normalize`.
        weights: File of safetensors to start from; default random.

    Attributes:
        channels: Channels of the features: 512 at width 1.

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
        first, second, *entry, last = (scale_channels(c, width) for c in (32, 64, 128, 256, 728, 512))
        self.channels = last
        self.normalize = input_normalization(normalize, in_channels)
        self.conv1, self.bn1 = conv(in_channels, first, 3, stride=2), norm(first)
        self.conv2, self.bn2 = conv(first, second, 3), norm(second)
        before = second
        for place, channels in enumerate([*entry, *[entry[-1]] * 8], start=1):
            halve = place <= len(entry)
            block = XceptionBlock(before, channels, convolutions=2 if halve else 3, halve=halve, norm=norm)
            self.add_module(f"block{place}", block)
            before = channels
        self.conv3, self.bn3 = Separable(before, last), norm(last)
        load_weights(self, weights)

    def forward(self, images: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch _ _ _"]:
        """Features of a batch of images, `[batch, channels, ceil(h / 16), ceil(w / 16)]`."""
        x = relu(self.bn1(self.conv1(self.normalize(images))))
        x = relu(self.bn2(self.conv2(x)))
        for place in range(1, 12):
            x = self.get_submodule(f"block{place}")(x)
        return self.bn3(self.conv3(x))


def xception(
    *,
    width: float = 1.0,
    in_channels: int = 3,
    norm: Norm = nn.BatchNorm2d,
    normalize: Normalization | None = None,
    weights: Weights | None = None,
) -> Xception:
    """Xception as DMTG uses it on Taskonomy. Arguments and errors as for the class `Xception`.

    DMTG's stem of six layers ends with `block4`.

    Examples:
        >>> import torch
        >>> backbone = xception(width=0.125)
        >>> backbone(torch.zeros(1, 3, 48, 64)).shape, backbone.channels
        (torch.Size([1, 64, 3, 4]), 64)
    """
    return Xception(width=width, in_channels=in_channels, norm=norm, normalize=normalize, weights=weights)


class SmallResNet(nn.Module):
    """One convolution, one residual block; `small_resnet()` makes one.

    Args:
        width: Multiplier of the channels, rounded to a multiple of 8, at least 8.
        in_channels: Channels of the images.
        norm: `channels -> Module`: makes the norm after each convolution.
        normalize: Mean and standard deviation of each input channel, kept as first submodule `normalize`.
        weights: File of safetensors to start from; default random.

    Attributes:
        channels: Channels of the features: 64 at width 1.

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
        self.channels = scale_channels(64, width)
        self.normalize = input_normalization(normalize, in_channels)
        self.conv1, self.bn1 = conv(in_channels, self.channels, 3), norm(self.channels)
        self.maxpool = nn.MaxPool2d(3, stride=2)
        self.layer1 = BasicBlock(self.channels, self.channels, norm=norm)
        self.avgpool = nn.AvgPool2d(2)
        load_weights(self, weights)

    def forward(self, images: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch _ _ _"]:
        """Features of a batch of images of at least 5 pixels, about a quarter of them in height and width."""
        x = relu(self.bn1(self.conv1(self.normalize(images))))
        return self.avgpool(self.layer1(self.maxpool(x)))


def small_resnet(
    *,
    width: float = 1.0,
    in_channels: int = 3,
    norm: Norm = nn.BatchNorm2d,
    normalize: Normalization | None = None,
    weights: Weights | None = None,
) -> SmallResNet:
    """The small residual network that DMTG trains on CelebA, at 64 pixels, with `heads.linear(grid=15)`.

    Arguments and errors as for the class `SmallResNet`.

    Examples:
        >>> import torch
        >>> small_resnet()(torch.zeros(1, 3, 64, 64)).shape
        torch.Size([1, 64, 15, 15])
    """
    return SmallResNet(width=width, in_channels=in_channels, norm=norm, normalize=normalize, weights=weights)
