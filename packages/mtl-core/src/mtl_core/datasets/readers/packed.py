"""Small images that lie together in one file: checked once when they are opened, then a source of arrays.

The labels of a whole set are a few kilobytes: they are checked when the set is opened, so that a class out of range is found
then, with its sample.
"""

from os import PathLike
from pathlib import Path

import numpy as np

from mtl_core.datasets.arrays import Arrays
from mtl_core.datasets.readers.decoding import Malformed
from mtl_core.datasets.readers.reader import Layout


def part_of(part: str, *known: str) -> str:
    """The part asked for.

    Raises:
        ValueError: If there is none of that name.
    """
    if part not in known:
        raise ValueError(f"`part` must be among {', '.join(known)}. Got `part = {part!r}`.")
    return part


def within(layout: Layout, root: str | PathLike[str], folders: tuple[str, ...], needed: tuple[str, ...]) -> Path:
    """The first of some folders below the root that holds all files needed.

    Args:
        layout: For the message.
        root: The root.
        folders: Below it, in the order in which they are tried.
        needed: Names of files.

    Raises:
        FileNotFoundError: If no folder does.
    """
    places = [Path(root) / folder for folder in folders]
    for place in places:
        if all((place / name).is_file() for name in needed):
            return place
    best = max(places, key=lambda place: sum((place / name).is_file() for name in needed))
    best = best if best.is_dir() else places[0]
    layout.require(Path(root))
    raise layout.lacks(
        Path(root), f"There is no {', no '.join(repr(str(best / n)) for n in needed if not (best / n).is_file())}."
    )


def raw(path: Path) -> np.ndarray:
    """The bytes of a file, mapped into memory.

    Raises:
        Malformed: If it is empty.
    """
    if path.stat().st_size == 0:
        raise Malformed(path, "must hold images. It is empty.")
    return np.memmap(path, np.uint8, "r")


def source(name: str, task: str, classes: int, images: np.ndarray, labels: np.ndarray, file: Path) -> Arrays:
    """A source of images and their classes.

    Args:
        name: Of the set and its part, for messages.
        task: Name of the task.
        classes: Number of classes.
        images: uint8 or floats, `[samples, channels, h, w]`.
        labels: Whole numbers, `[samples]`.
        file: Where the labels stand.

    Raises:
        ValueError: If a label is out of range, or there are not as many labels as images.
    """
    labels = np.asarray(labels, dtype=np.int64)
    if len(images) != len(labels) or not len(labels):
        raise ValueError(
            f"{name}, task `{task}`: {str(file)!r} must hold a label for each image. Got {len(labels)} for {len(images)} images."
        )
    bad = np.flatnonzero((labels < 0) | (labels >= classes))
    if len(bad):
        raise ValueError(
            f"{name}, sample `{bad[0]}`, task `{task}`: {str(file)!r} must hold classes from 0 to {classes - 1}. "
            f"Got {labels[bad[0]]}."
        )
    return Arrays(images, {task: labels})
