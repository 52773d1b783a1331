"""A contact sheet: samples in rows, the image and each of its labels in columns, as one picture.

Classes have colours of their own and black where nothing is labelled; depth is brighter the nearer; normals are coded as
`(n + 1) / 2`; other maps are grey, and blue where they are not labelled. Single values are written below the image.
"""

import colorsys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mtl_core.types import Tensor

TILE = 160
"""Width of a column in pixels; a row is as high as its image then is, and a caption."""

CAPTION = 14
GAP = 4
NOTHING = (30, 40, 110)
"""Colour of pixels that are not labelled, in maps without a colour for it."""


def sheet(samples: Sequence[tuple[str, Tensor, Mapping[str, Tensor]]]) -> Any:
    """Draw samples; gives a PIL image.

    Args:
        samples: Name, image in [0, 1] (or of any range, then stretched) and targets of each.

    Raises:
        ValueError: If there is no sample.
    """
    if not samples:
        raise ValueError("`samples` must hold at least one sample. Got none.")
    from PIL import Image, ImageDraw

    rows = [_row(*sample) for sample in samples]
    columns = max(len(tiles) for tiles, _ in rows)
    heights = [max(tile.shape[0] for _, tile in tiles) + CAPTION * (1 + len(words)) + GAP for tiles, words in rows]
    page = Image.new("RGB", (columns * (TILE + GAP) + GAP, sum(heights) + GAP), "white")
    pen, top = ImageDraw.Draw(page), GAP
    for (tiles, words), height in zip(rows, heights, strict=True):
        for column, (title, pixels) in enumerate(tiles):
            left = GAP + column * (TILE + GAP)
            pen.text((left, top), _plain(title)[:27], fill="black")
            page.paste(Image.fromarray(pixels), (left, top + CAPTION))
        under = top + CAPTION + max(tile.shape[0] for _, tile in tiles)
        for line, text in enumerate(words):
            pen.text((GAP, under + line * CAPTION), _plain(text), fill="black")
        top += height
    return page


def colours(target: Tensor, name: str = "") -> np.ndarray:
    """A map as colours, uint8 `[h, w, 3]`.

    Args:
        target: `[h, w]` of whole numbers, `[3, h, w]` or `[1, h, w]` of floats.
        name: Its task; `depth` is drawn brighter the nearer.
    """
    values = target.detach().cpu().numpy()
    if values.dtype.kind in "iu":
        return _palette()[np.minimum(values.reshape(values.shape[-2:]), 255)]
    if len(values) == 3:
        coded = np.round((values + 1) * 127.5).clip(0, 255).astype(np.uint8)
        coded[:, (values == 0).all(0)] = 0
        return np.ascontiguousarray(coded.transpose(1, 2, 0))
    plane = values.reshape(values.shape[-2:])
    known = plane > 0 if name == "depth" else np.isfinite(plane)
    low, high = (float(plane[known].min()), float(plane[known].max())) if known.any() else (0.0, 1.0)
    grey = np.zeros_like(plane)
    grey[known] = (plane[known] - low) / (high - low) if high > low else 0.5
    grey = 255 * (1 - 0.85 * grey) if name == "depth" else 255 * grey
    return np.where(known[..., None], grey[..., None], np.array(NOTHING)).astype(np.uint8)


def _row(name: str, image: Tensor, targets: Mapping[str, Tensor]) -> tuple[list[tuple[str, np.ndarray]], list[str]]:
    """Titles and tiles of a sample, and lines for its single values."""
    low, high = float(image.min()), float(image.max())
    stretched = image if low >= 0 and high <= 1 else (image - low) / max(high - low, 1e-6)
    pixels = (stretched.expand(3, -1, -1) * 255).round().byte().permute(1, 2, 0).numpy()
    maps = {task: target for task, target in targets.items() if target.ndim >= 2}
    tiles = [(name, pixels), *((task, colours(target, task)) for task, target in maps.items())]
    words = [f"{task} {float(target):g}" for task, target in targets.items() if target.ndim < 2]
    width = (1 + len(maps)) * 3  # so many single values fit on a line
    lines = ["   ".join(words[start : start + width]) for start in range(0, len(words), width)]
    return [(title, _tile(values)) for title, values in tiles], lines


def _tile(pixels: np.ndarray) -> np.ndarray:
    """The pixels at the width of a tile, each repeated or left out: nothing is mixed."""
    h, w = pixels.shape[:2]
    rows = np.arange(max(1, round(h * TILE / w))) * w // TILE
    return np.ascontiguousarray(pixels[rows.clip(max=h - 1)][:, np.arange(TILE) * w // TILE])


def _palette() -> np.ndarray:
    """A colour for each class, neighbours far apart; 255 is black."""
    made = [colorsys.hsv_to_rgb((k * 0.618) % 1, 0.45 + 0.5 * (k % 3) / 2, 0.95 - 0.4 * (k % 2)) for k in range(256)]
    table = np.round(np.array(made) * 255).astype(np.uint8)
    table[255] = 0
    return table


def _plain(text: str) -> str:
    """PIL's built-in letters are those of Latin-1."""
    return text.encode("latin-1", "replace").decode("latin-1")
