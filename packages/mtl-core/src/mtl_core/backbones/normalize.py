r"""Input normalisation as part of a model, so that an exported file takes images in [0, 1].

$$x \mapsto (x - \mu_c) / \sigma_c \quad \text{for each channel } c$$
"""

import math
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from mtl_core.types import Float

Normalization: TypeAlias = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation of each input channel, for images in [0, 1]."""

IMAGENET: Normalization = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of ImageNet's red, green and blue."""


class Normalize(nn.Module):
    """Subtract the mean of each channel and divide by its standard deviation.

    Args:
        mean: One number per channel, for images in [0, 1].
        std: One positive number per channel.

    Raises:
        ValueError: If the two differ in length, or a number is not usable.

    Examples:
        >>> Normalize(mean=[0.5], std=[0.25])(torch.tensor([[[[0.0, 0.5, 1.0]]]]))
        tensor([[[[-2.,  0.,  2.]]]])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not len(mean):
            raise ValueError(
                f"`mean` and `std` must have one number per channel. "
                f"Got `len(mean) = {len(mean)}`, `len(std) = {len(std)}`."
            )
        if not all(math.isfinite(value) for value in mean):
            raise ValueError(f"`mean` must be finite. Got `mean = {mean}`.")
        if not all(value > 0 and math.isfinite(value) for value in std):
            raise ValueError(f"`std` must be positive and finite. Got `std = {std}`.")
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1))

    def forward(self, images: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch channels h w"]:
        """Normalise a batch of images."""
        return (images - self.mean) / self.std


def input_normalization(normalize: Normalization | None, in_channels: int) -> nn.Module:
    """The first submodule of a backbone: a `Normalize`, or nothing.

    Args:
        normalize: Mean and standard deviation of each channel, or None.
        in_channels: Channels of the input images.

    Raises:
        ValueError: If `in_channels` is not positive, or `normalize` has another number of channels.

    Examples:
        >>> input_normalization(None, in_channels=3)
        Identity()
    """
    if in_channels < 1:
        raise ValueError(f"`in_channels` must be at least 1. Got `in_channels = {in_channels}`.")
    if normalize is None:
        return nn.Identity()
    mean, std = normalize
    if len(mean) != in_channels:
        raise ValueError(
            f"`normalize` must have `in_channels = {in_channels}` numbers in mean and std. "
            f"Got `normalize = {normalize}`."
        )
    return Normalize(mean, std)
