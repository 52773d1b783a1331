"""Cropping, scaling and turning an image together with its targets, such that what they say stays true.

The image is interpolated; a target never is: each of its pixels is one of the pixels that were there, so that no class, depth
or direction appears that nobody measured. What comes in from outside is not labelled. A thing seen twice as large is half as
far away; where the camera is turned, normals turn with it.

Targets are told apart by their names and types: those with fewer than two axes are not maps and stay as they are.
"""

import math
from collections.abc import Collection, Mapping

import torch
from torch.nn import functional

from mtl_core.types import Float, Tensor

Sample = tuple[Tensor, dict[str, Tensor]]


def resized(image: Float[Tensor, "channels h w"], targets: Mapping[str, Tensor], size: tuple[int, int]) -> Sample:
    """The whole sample at another size; depths stay, since the same camera sees the same scene.

    Args:
        image: Interpolated (bilinear, antialiased).
        targets: Maps take the nearest pixel.
        size: New height and width.
    """
    if tuple(image.shape[-2:]) == tuple(size):
        return image, dict(targets)
    small = functional.interpolate(image[None], size, mode="bilinear", antialias=True)[0].clamp(
        image.min(), image.max()
    )
    rows, columns = (_nearest(old, new) for old, new in zip(image.shape[-2:], size, strict=True))
    return small, {n: t[..., rows[:, None], columns] if t.ndim >= 2 else t for n, t in targets.items()}


def cropped(
    image: Float[Tensor, "channels h w"],
    targets: Mapping[str, Tensor],
    corner: tuple[int, int],
    size: tuple[int, int],
    *,
    zero: Collection[str] = ("depth", "normals"),
) -> Sample:
    """A window of the sample; it may reach beyond it: there the image is black and nothing is labelled.

    Args:
        image: The image.
        targets: Its targets.
        corner: Row and column of the window's first pixel; may be negative.
        size: Height and width of the window.
        zero: Names of the float maps that are 0 where not labelled; the others are NaN. Whole numbers are 255.

    Examples:
        >>> image, targets = cropped(torch.ones(1, 2, 2), {"kind": torch.zeros(2, 2).long()}, (0, 1), (1, 2))
        >>> image, targets["kind"]
        (tensor([[[1., 0.]]]), tensor([[  0, 255]]))
    """
    h, w = image.shape[-2:]
    (top, left), (height, width) = corner, size
    padding = [max(0, -left), max(0, left + width - w), max(0, -top), max(0, top + height - h)]

    def cut(values: Tensor, fill: float) -> Tensor:
        inside = values[..., max(0, top) : max(0, top + height), max(0, left) : max(0, left + width)]
        return functional.pad(inside, padding, value=fill) if any(padding) else inside

    return cut(image, 0.0), {n: cut(t, unlabelled(n, t, zero)) if t.ndim >= 2 else t for n, t in targets.items()}


def nearer(
    targets: Mapping[str, Tensor], scale: float, *, depth: Collection[str] = ("depth",), inverse: Collection[str] = ()
) -> dict[str, Tensor]:
    """The targets of a scene that is seen `scale` times as large: depths divided by it, inverse depths multiplied.

    Args:
        targets: The targets.
        scale: Factor of the image's size.
        depth: Names of depths.
        inverse: Names of inverse depths (disparities); what is named here need not be left out of `depth`.
    """
    changed = {n: t * scale if n in inverse else t / scale for n, t in targets.items() if n in (*depth, *inverse)}
    return {**targets, **changed}


def turned(
    image: Float[Tensor, "channels h w"],
    targets: Mapping[str, Tensor],
    degrees: float,
    scale: float = 1.0,
    *,
    normals: Collection[str] = ("normals",),
    zero: Collection[str] = ("depth", "normals"),
    y_up: bool = True,
) -> Sample:
    """The sample turned about its middle, counter-clockwise, and scaled; its size stays. Depths are left to `nearer`.

    Args:
        image: Interpolated (bilinear).
        targets: Maps take the nearest pixel; the x and y of normals are turned.
        degrees: Angle.
        scale: Factor of the size of what is seen.
        normals: Names of normals.
        zero: See `cropped`.
        y_up: Whether the normals' y points up; False: down.
    """
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    h, w = image.shape[-2:]
    # Where the value of an output pixel comes from; the grid's coordinates are in [−1, 1] along both sides, rows downwards.
    matrix = torch.tensor([[cos / scale, -sin / scale * h / w, 0.0], [sin / scale * w / h, cos / scale, 0.0]])
    grid = functional.affine_grid(matrix[None], [1, 1, h, w], align_corners=False)
    new = functional.grid_sample(image[None], grid, mode="bilinear", align_corners=False)[0]
    columns, rows = (((grid[0, ..., k] + 1) * side / 2).floor().long() for k, side in ((0, w), (1, h)))
    outside = (rows < 0) | (rows >= h) | (columns < 0) | (columns >= w)
    rows, columns = rows.clamp(0, h - 1), columns.clamp(0, w - 1)
    found = {}
    for name, target in targets.items():
        if target.ndim < 2:
            found[name] = target
            continue
        values = target[..., rows, columns].masked_fill(outside, unlabelled(name, target, zero))
        if name in normals:
            x, y, z = values
            up = sin if y_up else -sin
            values = torch.stack([cos * x - up * y, up * x + cos * y, z])
        found[name] = values
    return new, found


def unlabelled(name: str, target: Tensor, zero: Collection[str] = ("depth", "normals")) -> float:
    """The value of a map's pixels that are not labelled."""
    if not target.is_floating_point():
        return 255
    return 0.0 if name in zero else math.nan


def _nearest(old: int, new: int) -> Tensor:
    """The old pixel in which the middle of each new pixel lies."""
    return ((torch.arange(new) + 0.5) * (old / new)).floor().long().clamp(max=old - 1)
