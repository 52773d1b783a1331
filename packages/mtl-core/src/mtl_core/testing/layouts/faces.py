"""Writers of CelebA and CelebAMask-HQ."""

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from mtl_core.datasets.readers.celeba import NINE, PARTS, SIX
from mtl_core.testing.layouts.truth import save, scene, write

ATTRIBUTES = tuple(dict.fromkeys((*NINE, *SIX, *(f"Attribute_{k}" for k in range(40)))))[:40]
"""Forty names, among them the nine and the six that experiments use."""

MASK_SIZE = (8, 8)
"""Height and width of the masks, unless another size is asked for."""


def has(index: int) -> np.ndarray:
    """The 40 attributes of image `index`, 0 or 1."""
    return np.random.default_rng([1, index]).integers(0, 2, 40)


def celeba(
    root: str | PathLike[str], parts: Mapping[str, int] | None = None, *, size: tuple[int, int] = (22, 18)
) -> Path:
    """Write CelebA: image `i`, counted from 0 over all parts, is `scene(i)` with the attributes `has(i)`.

    Args:
        root: The folder.
        parts: Samples of `train`, `val` and `test`; default 3, 2 and 1.
        size: Height and width.
    """
    folder, wanted = Path(root), parts or {"train": 3, "val": 2, "test": 1}
    codes = [code for code, part in enumerate(("train", "val", "test")) for _ in range(wanted.get(part, 0))]
    names = [f"{index + 1:06d}.jpg" for index in range(len(codes))]
    for index, name in enumerate(names):
        save(folder / "img_align_celeba" / name, scene(index, size=size)["image"])
    write(folder / "list_eval_partition.txt", "".join(f"{n} {c}\n" for n, c in zip(names, codes, strict=True)))
    _attributes(folder / "list_attr_celeba.txt", names)
    return folder


def celebamask(
    root: str | PathLike[str],
    places: Sequence[int] = (5, 162771, 182638, 7, 2),
    first: int = 1998,
    *,
    size: tuple[int, int] = MASK_SIZE,
) -> Path:
    """Write CelebAMask-HQ: image `first + i` has the masks `masks(i)` and the attributes `has(i)`.

    Args:
        root: The folder.
        places: Number in CelebA of each image, which decides its part.
        first: Number of the first image: two thousand share a folder of masks.
        size: Height and width of the masks; images are twice as large.
    """
    folder = Path(root)
    numbers = [first + index for index in range(len(places))]
    for index, number in enumerate(numbers):
        save(folder / "CelebA-HQ-img" / f"{number}.jpg", scene(index, size=(2 * size[0], 2 * size[1]))["image"])
        for part, mask in masks(index, size).items():
            path = folder / "CelebAMask-HQ-mask-anno" / str(number // 2000) / f"{number:05d}_{part}.png"
            save(path, np.repeat(mask[..., None] * np.uint8(255), 3, -1))  # three equal channels, as the original has
        three = np.zeros(size, np.int64)
        three[masks(index, size)["skin"]] = 2
        three[masks(index, size)["hair"]] = 1
        save(folder / "CelebA-HQ-segmask" / f"{number:05d}_mask.npy", three)
    _attributes(folder / "CelebAMask-HQ-attribute-anno.txt", [f"{number}.jpg" for number in numbers])
    rows = [f"{n}  {p}  {p + 1:06d}.jpg\n" for n, p in zip(numbers, places, strict=True)]
    write(folder / "CelebA-HQ-to-CelebA-mapping.txt", "idx  orig_idx  orig_file\n" + "".join(rows))
    write(
        folder / "split.json",
        json.dumps({"train": numbers[:2], "val": [f"{n}.jpg" for n in numbers[2:4]], "test": numbers[4:]}),
    )
    return folder


def masks(index: int, size: tuple[int, int] = MASK_SIZE) -> dict[str, np.ndarray]:
    """Masks of the parts of face `index`: they overlap, and every third part is missing."""
    rng = np.random.default_rng([2, index])
    always = ("skin", "hair")
    return {part: rng.random(size) < 0.4 for k, part in enumerate(PARTS) if part in always or (k + index) % 3}


def _attributes(path: Path, names: Sequence[str]) -> None:
    lines = [str(len(names)), " ".join(ATTRIBUTES)]
    for index, name in enumerate(names):
        lines.append(f"{name} " + " ".join(f"{2 * value - 1:2d}" for value in has(index)))
    write(path, "\n".join(lines) + "\n")
