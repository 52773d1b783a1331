"""CIFAR-10, and CIFAR-100 as one task or as 20 tasks of five classes, from the binary version or from folders of images.

A record of the binary version is the label (CIFAR-100: the superclass, then the class) and 3,072 bytes: the red, green and blue
32×32 pixels. The version for Python is pickled, and pickles can run code: it is not read.
"""

from os import PathLike
from pathlib import Path

import numpy as np

from mtl_core.datasets.arrays import Arrays
from mtl_core.datasets.folders import SUFFIXES
from mtl_core.datasets.readers import decoding
from mtl_core.datasets.readers.decoding import Malformed
from mtl_core.datasets.readers.packed import part_of, raw, source, within
from mtl_core.datasets.readers.reader import Files, Layout, Reader, Values
from mtl_core.task import classification

TEN = Layout(
    "CIFAR-10",
    "cifar-10-batches-bin/data_batch_1.bin ... data_batch_5.bin  test_batch.bin\nor train/CLASS/any-name.png  test/CLASS/...",
    "https://www.cs.toronto.edu/~kriz/cifar.html (binary version), or mtl_core.datasets.readers.download('cifar10', root)",
)
HUNDRED = Layout(
    "CIFAR-100",
    "cifar-100-binary/train.bin  test.bin\nor train/SUPERCLASS/CLASS/any-name.png  test/SUPERCLASS/...",
    "https://www.cs.toronto.edu/~kriz/cifar.html (binary version), or mtl_core.datasets.readers.download('cifar100', root)",
)
COUNTS = {"train": 50000, "test": 10000}
PIXELS = 3 * 32 * 32

SUPERCLASSES = (
    "aquatic_mammals", "fish", "flowers", "food_containers", "fruit_and_vegetables", "household_electrical_devices",
    "household_furniture", "insects", "large_carnivores", "large_man-made_outdoor_things", "large_natural_outdoor_scenes",
    "large_omnivores_and_herbivores", "medium_mammals", "non-insect_invertebrates", "people", "reptiles", "small_mammals",
    "trees", "vehicles_1", "vehicles_2",
)  # fmt: skip
"""The tasks, in the order of their numbers."""


def cifar10(root: str | PathLike[str], part: str = "train", *, task: str = "cifar10") -> Arrays | Reader:
    """Read CIFAR-10: 50,000 images to train, 10,000 to test.

    Args:
        root: The folder above `cifar-10-batches-bin`, that folder itself, or one with a folder of images for each class.
        part: `train` or `test`.
        task: Name of the task (10 classes; folders: as many as there are, sorted by name).

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is malformed, or `part` is not known.
    """
    part_of(part, "train", "test")
    if (Path(root) / part).is_dir():
        return _class_folders(Path(root) / part, task)
    names = tuple(f"data_batch_{k}.bin" for k in range(1, 6)) if part == "train" else ("test_batch.bin",)
    folder = within(TEN, root, ("cifar-10-batches-bin", ""), names)
    records = [_records(folder / name, 1) for name in names]
    labels, images = (np.concatenate([record[k] for record in records]) for k in (0, 1))
    return source(f"CIFAR-10 {part}", task, 10, images, labels[:, 0], folder / names[0])


def cifar100(root: str | PathLike[str], part: str = "train", *, task: str = "cifar100") -> Arrays:
    """Read CIFAR-100 as one task of 100 classes, from the binary version.

    Args:
        root: The folder above `cifar-100-binary`, or that folder itself.
        part: `train` or `test`.
        task: Name of the task.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is malformed, or `part` is not known.
    """
    file, labels, images = _hundred(root, part)
    return source(f"CIFAR-100 {part}", task, 100, images, labels[:, 1], file)


def cifar100_superclasses(root: str | PathLike[str], part: str = "train") -> list[Arrays] | list[Reader]:
    """Read CIFAR-100 as 20 tasks, a source for each superclass; its five classes are numbered in the order of the fine labels.

    Args:
        root: As for `cifar100`, or a folder with `train/SUPERCLASS/CLASS` and `test/SUPERCLASS/CLASS`.
        part: `train` or `test`.

    Returns:
        The sources, in the order of `SUPERCLASSES`.

    Raises:
        FileNotFoundError: If a file or a superclass is missing.
        ValueError: If a file is malformed, or `part` is not known.
    """
    part_of(part, "train", "test")
    if (Path(root) / part).is_dir():
        HUNDRED.require(Path(root), *(f"{part}/{name}" for name in SUPERCLASSES))
        return [_class_folders(Path(root) / part / name, name) for name in SUPERCLASSES]
    file, labels, images = _hundred(root, part)
    coarse, fine = labels[:, 0].astype(np.int64), labels[:, 1].astype(np.int64)
    source(f"CIFAR-100 {part}", "superclass", 20, images, coarse, file)
    sources = []
    for number, name in enumerate(SUPERCLASSES):
        rows = np.flatnonzero(coarse == number)
        classes = np.unique(fine[rows])
        if len(classes) != 5:
            raise Malformed(file, f"must hold five classes of superclass `{name}`. Got {len(classes)}.")
        within_it = np.zeros(len(fine), np.int64)
        within_it[rows] = np.searchsorted(classes, fine[rows])
        sources.append(Arrays(images, {name: within_it}, rows))
    return sources


def _hundred(root: str | PathLike[str], part: str) -> tuple[Path, np.ndarray, np.ndarray]:
    folder = within(HUNDRED, root, ("cifar-100-binary", ""), (f"{part_of(part, 'train', 'test')}.bin",))
    file = folder / f"{part}.bin"
    return file, *_records(file, 2)


def _records(path: Path, labels: int) -> tuple[np.ndarray, np.ndarray]:
    content, width = raw(path), labels + PIXELS
    if len(content) % width:
        raise Malformed(path, f"must hold records of {width} bytes. Got {len(content)} bytes.")
    table = content.reshape(-1, width)
    return table[:, :labels], table[:, labels:].reshape(-1, 3, 32, 32)


def _class_folders(folder: Path, task: str) -> Reader:
    """One folder of images per class, numbered by name."""
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    files = [
        (c, path.name) for c in classes for path in sorted((folder / c).iterdir()) if path.suffix.lower() in SUFFIXES
    ]
    if len(classes) < 2 or not files:
        raise FileNotFoundError(
            f"{str(folder)!r} must hold a folder of images for each of two or more classes. It does not."
        )
    names = [f"{c}/{name}" for c, name in files]
    labels = np.array([classes.index(c) for c, _ in files], np.int64)
    known = classification(task, len(classes))
    return Reader(str(folder), names, Files(folder, names, decoding.image), {task: Values(folder, labels)}, [known])
