"""Augmentation of one sample that keeps geometry true; every random number comes from the generator given.

A mirrored room is a room: the image and all maps are turned around, and normals, which are vectors, change the sign of
their x component (without it a wall on the left would look to the left). Colours may vary, since no target depends on them.

`augment`, `zoom`, `turn`, `shift` and `by_task` are what `MultiTaskData(augment=...)` takes; give them other settings by
`functools.partial`. What they are made of is in `mtl_core.datasets.geometry`.
"""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Generator

from mtl_core.datasets.geometry import cropped, nearer, resized, turned
from mtl_core.types import Augment, Float, Tensor


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


def zoom(
    image: Float[Tensor, "channels h w"],
    targets: dict[str, Tensor],
    generator: Generator,
    *,
    scales: tuple[float, float] = (0.5, 1.5),
    choices: Sequence[float] = (),
    size: tuple[int, int] | None = None,
    mirrored: bool = True,
    normals: Collection[str] = ("normals",),
    depth: Collection[str] = ("depth",),
    inverse: Collection[str] = (),
    zero: Collection[str] = ("depth", "normals"),
) -> tuple[Tensor, dict[str, Tensor]]:
    """Scale by a random factor, cut a window out at a random place, mirror every second sample.

    Where the scaled sample is smaller than the window it is placed in it at random; around it nothing is labelled.

    Args:
        image: The image.
        targets: Its targets.
        generator: The only source of randomness.
        scales: The smallest and the largest factor.
        choices: Draw the factor among these instead.
        size: Height and width of the window; default the image's.
        mirrored: Whether to mirror.
        normals: Names of the normals, whose x changes its sign with a mirror.
        depth: Names of the depths, which are divided by the factor.
        inverse: Names of the inverse depths (disparities), which are multiplied by it.
        zero: Names of other float maps that are 0 where not labelled.
    """
    if choices:
        scale = choices[int(torch.randint(len(choices), (), generator=generator))]
    else:
        scale = scales[0] + (scales[1] - scales[0]) * float(torch.rand((), generator=generator))
    h, w = image.shape[-2:]
    window = size or (h, w)
    image, targets = resized(image, targets, (max(1, round(h * scale)), max(1, round(w * scale))))
    targets = nearer(targets, scale, depth=depth, inverse=inverse)
    image, targets = _window(image, targets, window, 0, generator, (*depth, *inverse, *normals, *zero))
    return _mirrored(image, targets, generator, normals) if mirrored else (image, targets)


def turn(
    image: Float[Tensor, "channels h w"],
    targets: dict[str, Tensor],
    generator: Generator,
    *,
    degrees: float = 20.0,
    scales: tuple[float, float] = (0.75, 1.25),
    normals: Collection[str] = ("normals",),
    depth: Collection[str] = ("depth",),
    y_up: bool = True,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Turn by a random angle, scale by a random factor, mirror every second sample; the size stays.

    Args:
        image: The image.
        targets: Its targets.
        generator: The only source of randomness.
        degrees: The largest angle, to both sides.
        scales: The smallest and the largest factor.
        normals: Names of the normals, which are turned and mirrored.
        depth: Names of the depths, which are divided by the factor.
        y_up: Whether the normals' y points up.
    """
    draw = torch.rand(2, generator=generator).tolist()
    scale = scales[0] + (scales[1] - scales[0]) * draw[0]
    zero = (*depth, *normals)
    image, targets = turned(image, targets, degrees * (2 * draw[1] - 1), scale, normals=normals, zero=zero, y_up=y_up)
    return _mirrored(image, nearer(targets, scale, depth=depth), generator, normals)


def shift(
    image: Float[Tensor, "channels h w"],
    targets: dict[str, Tensor],
    generator: Generator,
    *,
    size: tuple[int, int] | None = None,
    padding: int = 0,
    mirrored: bool = True,
    normals: Collection[str] = ("normals",),
    zero: Collection[str] = ("depth", "normals"),
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cut a window out at a random place, and mirror every second sample.

    Args:
        image: The image.
        targets: Its targets.
        generator: The only source of randomness.
        size: Height and width of the window; default the image's.
        padding: So many black pixels are put around the image first.
        mirrored: Whether to mirror.
        normals: Names of the normals.
        zero: Names of the float maps that are 0 where not labelled.
    """
    h, w = image.shape[-2:]
    image, targets = _window(image, targets, size or (h, w), padding, generator, zero)
    return _mirrored(image, targets, generator, normals) if mirrored else (image, targets)


def by_task(
    image: Tensor, targets: dict[str, Tensor], generator: Generator, *, table: Mapping[str, Augment]
) -> tuple[Tensor, dict[str, Tensor]]:
    """What the table has for the first of the sample's tasks that is in it, for data with a data set per task.

    Args:
        image: The image.
        targets: Its targets.
        generator: The only source of randomness.
        table: Augmentations by task.
    """
    found = next((table[task] for task in targets if task in table), None)
    return (image, targets) if found is None else found(image, targets, generator)


def _mirrored(
    image: Tensor, targets: dict[str, Tensor], generator: Generator, normals: Collection[str]
) -> tuple[Tensor, dict[str, Tensor]]:
    if torch.rand((), generator=generator) < 0.5:
        return mirror(image, targets, normals=normals)
    return image, targets


def _window(
    image: Tensor,
    targets: dict[str, Tensor],
    size: tuple[int, int],
    padding: int,
    generator: Generator,
    zero: Collection[str],
) -> tuple[Tensor, dict[str, Tensor]]:
    """A window at a place where it covers the sample, or lies within it, as well as it can."""
    corner = []
    for side, wanted in zip(image.shape[-2:], size, strict=True):
        room = side + 2 * padding - wanted
        place = int(torch.randint(abs(room) + 1, (), generator=generator))
        corner.append((place if room >= 0 else -place) - padding)
    return cropped(image, targets, (corner[0], corner[1]), size, zero=zero)
