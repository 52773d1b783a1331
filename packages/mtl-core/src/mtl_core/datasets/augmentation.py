"""Augmentation of one sample that keeps geometry true; every random number comes from the generator given.

A mirrored room is a room: the image and all maps are turned around, and normals, which are vectors, change the sign of
their x component (without it a wall on the left would look to the left). Colours may vary, since no target depends on them.
"""

from collections.abc import Collection

import torch
from torch import Generator

from mtl_core.types import Float, Tensor


def augment(
    image: Float[Tensor, "channels h w"],
    targets: dict[str, Tensor],
    generator: Generator,
    *,
    normals: Collection[str] = ("normals",),
    strength: float = 0.1,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Mirror every second sample, and vary the colours of all a little.

    Args:
        image: Values in [0, 1].
        targets: The sample's targets; those with two or more axes are maps, `[..., h, w]`.
        generator: The only source of randomness.
        normals: Names of the targets that are surface normals in the camera frame.
        strength: See `jitter`.
    """
    if torch.rand((), generator=generator) < 0.5:
        image, targets = mirror(image, targets, normals=normals)
    return jitter(image, generator, strength=strength), targets


def mirror(
    image: Float[Tensor, "channels h w"], targets: dict[str, Tensor], *, normals: Collection[str] = ("normals",)
) -> tuple[Tensor, dict[str, Tensor]]:
    """Exchange left and right.

    Args:
        image: The image.
        targets: Its targets; those with two or more axes are maps, `[..., h, w]`, the others stay as they are.
        normals: Names of the targets whose first channel is a component along x: it changes its sign.

    Examples:
        >>> normal = torch.tensor([0.6, 0.0, 0.8]).view(3, 1, 1).expand(3, 1, 2)
        >>> image, targets = mirror(torch.tensor([[[0.0, 1.0]]]), {"normals": normal, "class": torch.tensor(3)})
        >>> image, targets["normals"][:, 0, 0], targets["class"]
        (tensor([[[1., 0.]]]), tensor([-0.6000,  0.0000,  0.8000]), tensor(3))
    """
    turned = {task: target.flip(-1) if target.ndim >= 2 else target for task, target in targets.items()}
    for task in normals:
        if task in turned:
            turned[task][0].neg_()  # `flip` has made a copy
    return image.flip(-1), turned


def jitter(image: Float[Tensor, "channels h w"], generator: Generator, *, strength: float = 0.1) -> Tensor:
    """Change each channel's gain, and the image's contrast and brightness, by at most `strength`.

    Args:
        image: Values in [0, 1]; so is the result.
        generator: The only source of randomness.
        strength: At least 0, at most 1; 0 changes nothing.

    Raises:
        ValueError: If `strength` is outside [0, 1].
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"`strength` must lie in [0, 1]. Got `strength = {strength}`.")
    draw = (2 * torch.rand(len(image) + 2, generator=generator) - 1) * strength
    contrast, brightness, gain = 1 + draw[0], draw[1] / 2, (1 + draw[2:]).view(-1, 1, 1)
    # ((image - mean) * contrast + mean + brightness) * gain, with the images' size passed over as seldom as possible
    offset = (image.mean() * (1 - contrast) + brightness) * gain
    return torch.addcmul(offset, image, contrast * gain).clamp_(0, 1)
