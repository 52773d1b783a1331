"""Writers of Taskonomy and PASCAL-Context."""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from mtl_core.testing.layouts.truth import SIZE, colours_of, save, scene, write

UNITS = 512
"""Taskonomy's depths in a metre."""


def taskonomy(
    root: str | PathLike[str],
    buildings: Mapping[str, int] | None = None,
    *,
    spelling: str = "segment_semantic",
    size: tuple[int, int] = SIZE,
) -> Path:
    """Write Taskonomy.

    Args:
        root: The folder.
        buildings: Views of each building; default one building of each part of the tiny split. Scene `100 * b + i` is view
            `i` of building `b`; where its depth is not labelled, 65,535 is written.
        spelling: How files of the segmentation are called.
        size: Height and width.
    """
    folder = Path(root)
    for number, (building, count) in enumerate((buildings or {"hanson": 3, "corozal": 2, "ihlen": 1}).items()):
        for index in range(count):
            truth = scene(100 * number + index, classes=17, size=size)
            depth = np.where(truth["depth"] == 0, 65535, np.round(truth["depth"] * UNITS))
            labels = np.where(truth["segmentation"] == 255, 0, truth["segmentation"] + 1)
            files = {
                "rgb": truth["image"],
                "depth_zbuffer": depth.astype(np.uint16),
                "normal": grey_where_unknown(truth["normals"]),
                "segment_semantic": labels.astype(np.uint8),
                "keypoints2d": np.round(truth["strength"] * 0.005 * 65535).astype(np.uint16),
                "edge_texture": np.round(truth["strength"] * 0.08 * 65535).astype(np.uint16),
            }
            for domain, pixels in files.items():
                said = spelling if domain == "segment_semantic" else domain
                save(folder / domain / building / f"point_{index}_view_0_domain_{said}.png", pixels)
    return folder


def grey_where_unknown(normals: np.ndarray) -> np.ndarray:
    """Normals as colours; middle grey, which is no direction, where not labelled."""
    coded = colours_of(normals)
    coded[(normals == 0).all(-1)] = 128
    return coded


def pascal_context(root: str | PathLike[str], parts: Mapping[str, int] | None = None) -> Path:
    """Write PASCAL-Context as PASCAL_MT; `scene(..., classes=21)` is what it holds, image `i` of part `p` is `100 * p + i`.

    Every third image has no person, every third no annotated object at all; the label map of an image is 1 to 4, a quarter each.

    Args:
        root: The folder.
        parts: Samples of each part; default 3 to train, 2 to validate.
    """
    folder = Path(root)
    for number, (part, count) in enumerate((parts or {"train": 3, "val": 2}).items()):
        names = [f"2008_{100 * number + index:06d}" for index in range(count)]
        write(folder / "ImageSets/Context" / f"{part}.txt", "".join(f"{name}\n" for name in names))
        for index, name in enumerate(names):
            truth = scene(100 * number + index, classes=21)
            save(folder / "JPEGImages" / f"{name}.jpg", truth["image"])
            place = "VOC12" if index % 2 == 0 else "pascal-context"
            save(folder / "semseg" / place / f"{name}.png", truth["segmentation"].astype(np.uint8))
            save(folder / "normals_distill" / f"{name}.png", colours_of(truth["normals"]))
            save(folder / "sal_distill" / f"{name}.png", np.round(truth["strength"] * 255).astype(np.uint8))
            matlab(folder / "human_parts" / f"{name}.mat", "anno", annotations(index % 3))
            matlab(folder / "pascal-context/trainval" / f"{name}.mat", "LabelMap", quarters())
    return folder


def quarters() -> np.ndarray:
    """A label map of four quarters, 1 to 4."""
    rows, columns = (np.arange(side) >= side // 2 for side in SIZE)
    return (1 + rows[:, None] + 2 * columns[None]).astype(np.uint16)


def body() -> np.ndarray:
    """The map of human parts of an image with a person: a head, a torso, an arm and a foot, in that order."""
    found = np.zeros(SIZE, np.int64)
    for number, rows in PIECES.values():
        found[rows, 4:8] = number
    return found


PIECES = {"lebrow": (1, slice(0, 2)), "torso": (2, slice(2, 6)), "llarm": (4, slice(6, 8)), "rfoot": (6, slice(8, 10))}
"""Part, its class and its rows; rows 10 and 11 of the person have no part."""


def annotations(kind: int) -> dict[str, Any]:
    """What a file of PASCAL-Part holds: a person with parts and a dog (0), the dog alone (1), nothing (2)."""
    mask = np.zeros(SIZE, np.uint8)
    mask[:, 4:8] = 1
    pieces = []
    for name, (_, rows) in PIECES.items():
        piece = np.zeros(SIZE, np.uint8)
        piece[rows, 4:8] = 1
        pieces.append((name, piece))
    dog = ("dog", 12, mask[:, ::-1], _structs(("part_name", "mask"), [("head", mask[:, ::-1])]))
    person = ("person", 15, mask, _structs(("part_name", "mask"), pieces))
    objects = {0: [dog, person], 1: [dog], 2: []}[kind]
    return {"imname": "any", "objects": _structs(("class", "class_ind", "mask", "parts"), objects)}


def matlab(path: Path, key: str, value: Any) -> None:
    """Write one variable of a MATLAB file."""
    from scipy.io import savemat

    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, {key: value})


def _structs(fields: Sequence[str], rows: Sequence[Sequence[Any]]) -> np.ndarray:
    """A MATLAB array of structures, `[1, n]`."""
    made = np.empty((1, len(rows)), dtype=[(field, object) for field in fields])
    for place, row in enumerate(rows):
        made[0, place] = tuple(row)
    return made
