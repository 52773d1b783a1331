"""What the writers write: small scenes in the project's conventions, a function of a seed and a number."""

from pathlib import Path
from typing import Any

import numpy as np

SIZE = (12, 16)
"""Height and width of the scenes in pixels."""


def scene(index: int, *, classes: int = 13, size: tuple[int, int] = SIZE, seed: int = 0) -> dict[str, np.ndarray]:
    """Image and maps of a scene, some pixels of each map not labelled.

    Args:
        index: Its number.
        classes: Classes of the segmentation.
        size: Height and width.
        seed: Another seed gives other scenes.

    Returns:
        `image` uint8 `[h, w, 3]`; `segmentation` int64 `[h, w]` (255 not labelled); `depth` float32 `[h, w]` metres (0);
        `normals` float32 `[h, w, 3]` (the zero vector); `edges` float32 `[h, w]`, 0 or 1; `strength` float32 `[h, w]`.
    """
    rng = np.random.default_rng([seed, index])
    colours = rng.integers(0, 256, (3, 3))
    rows, columns = np.mgrid[: size[0], : size[1]]
    # Smooth, so that a JPEG of it is nearly the same; brighter to the right, so that it is no mirror image of itself.
    image = np.stack([colours[c, 0] * rows / size[0] / 2 + 127 * columns / size[1] for c in range(3)], -1)
    unlabelled = rng.random((3, *size)) < 0.15
    unlabelled[:, 0, 0], unlabelled[:, 0, 1] = True, False
    directions = rng.normal((0, 0, 2), 1, (*size, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    return {
        "image": image.astype(np.uint8),
        "segmentation": np.where(unlabelled[0], 255, rng.integers(0, classes, size)),
        "depth": np.where(unlabelled[1], 0, rng.uniform(0.5, 9.5, size)).astype(np.float32),
        "normals": np.where(unlabelled[2][..., None], 0, directions).astype(np.float32),
        "edges": (rng.random(size) < 0.3).astype(np.float32),
        "strength": rng.random(size).astype(np.float32),
    }


def colours_of(normals: np.ndarray) -> np.ndarray:
    """Normals as colours, `127.5 (n + 1)` rounded; white where not labelled."""
    coded = np.round((normals + 1) * 127.5).astype(np.uint8)
    coded[(normals == 0).all(-1)] = 255
    return coded


def save(path: Path, values: Any) -> None:
    """Write an array or an image; its suffix says how, and its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, values)
        return
    from PIL import Image

    quality: dict[str, Any] = {"quality": 100, "subsampling": 0} if path.suffix == ".jpg" else {}
    Image.fromarray(np.ascontiguousarray(values)).save(path, **quality)


def write(path: Path, text: str) -> None:
    """Write a text file and make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
