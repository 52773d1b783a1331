"""Writers of small images: MNIST and Fashion-MNIST, CIFAR, STL-10, USPS, SVHN, Omniglot, Visual Decathlon.

Image `i` of a part is `picture(i, ...)` and its class `i` modulo the classes (with `first` for the first class on disk).
"""

import bz2
import json
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path

import numpy as np

from mtl_core.datasets.readers.characters import ALPHABETS
from mtl_core.datasets.readers.cifar import SUPERCLASSES
from mtl_core.datasets.readers.decathlon import DOMAINS
from mtl_core.testing.layouts.truth import save, write

BOTH = {"train": 12, "test": 5}


def picture(index: int, *shape: int) -> np.ndarray:
    """Bytes of image `index`, any shape."""
    return np.random.default_rng([3, index]).integers(0, 256, shape, dtype=np.uint8)


def idx(root: str | PathLike[str], name: str = "MNIST", parts: Mapping[str, int] = BOTH) -> Path:
    """Write MNIST (or `name="FashionMNIST"`), 28×28: `root/NAME/raw`."""
    folder = Path(root) / name / "raw"
    for part, count in parts.items():
        prefix = "train" if part == "train" else "t10k"
        images = np.stack([picture(index, 28, 28) for index in range(count)])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(_idx(images))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(_idx(np.arange(count) % 10))
    return Path(root)


def cifar10(root: str | PathLike[str], parts: Mapping[str, int] = BOTH) -> Path:
    """Write CIFAR-10's binary version; the training images are spread over five files."""
    for part, count in parts.items():
        records = [bytes([index % 10]) + picture(index, 3, 32, 32).tobytes() for index in range(count)]
        if part == "train":
            for number in range(5):
                _bytes(Path(root) / f"cifar-10-batches-bin/data_batch_{number + 1}.bin", records[number::5])
        else:
            _bytes(Path(root) / "cifar-10-batches-bin/test_batch.bin", records)
    return Path(root)


def cifar100(root: str | PathLike[str], parts: Mapping[str, int] | None = None) -> Path:
    """Write CIFAR-100's binary version: image `i` is of class `i` modulo 100, and class `c` of superclass `c` modulo 20."""
    for part, count in (parts or {"train": 200, "test": 100}).items():
        records = [bytes([i % 20, i % 100]) + picture(i, 3, 32, 32).tobytes() for i in range(count)]
        _bytes(Path(root) / f"cifar-100-binary/{part}.bin", records)
    return Path(root)


def cifar100_folders(root: str | PathLike[str]) -> Path:
    """Write CIFAR-100 as folders of images: two of each class to train, one to test."""
    for part, count in (("train", 2), ("test", 1)):
        for name in SUPERCLASSES:
            for number in range(5):
                for index in range(count):
                    pixels = picture(10 * number + index, 32, 32, 3)
                    save(Path(root) / part / name / f"class{number}" / f"{index}.png", pixels)
    return Path(root)


def stl10(root: str | PathLike[str], parts: Mapping[str, int] = BOTH) -> Path:
    """Write STL-10: channels stored column by column, classes from 1."""
    for part, count in parts.items():
        images = [picture(index, 3, 96, 96).transpose(0, 2, 1).tobytes() for index in range(count)]
        _bytes(Path(root) / f"stl10_binary/{part}_X.bin", images)
        _bytes(Path(root) / f"stl10_binary/{part}_y.bin", [bytes([1 + index % 10]) for index in range(count)])
    return Path(root)


def usps(root: str | PathLike[str], parts: Mapping[str, int] = BOTH) -> Path:
    """Write USPS: classes from 1, values in [−1, 1] with six digits."""
    for part, count in parts.items():
        lines = []
        for index in range(count):
            values = picture(index, 256) / 127.5 - 1
            lines.append(f"{1 + index % 10} " + " ".join(f"{k + 1}:{value:.6f}" for k, value in enumerate(values)))
        _bytes(
            Path(root) / {"train": "usps.bz2", "test": "usps.t.bz2"}[part], [bz2.compress("\n".join(lines).encode())]
        )
    return Path(root)


def svhn(root: str | PathLike[str], parts: Mapping[str, int] = BOTH) -> Path:
    """Write SVHN: the digit 0 is class 10."""
    from scipy.io import savemat

    Path(root).mkdir(parents=True, exist_ok=True)
    for part, count in parts.items():
        images = np.stack([picture(index, 32, 32, 3) for index in range(count)], -1)
        labels = np.array([[index % 10 or 10] for index in range(count)], np.uint8)
        savemat(Path(root) / f"{part}_32x32.mat", {"X": images, "y": labels})
    return Path(root)


def four_domains(root: str | PathLike[str]) -> Path:
    """Write CIFAR-10, STL-10, USPS and MNIST into one folder."""
    for writer in (cifar10, stl10, usps, idx):
        writer(root)
    return Path(root)


def omniglot(
    root: str | PathLike[str],
    alphabets: Iterable[str] = ALPHABETS,
    characters: int = 2,
    drawings: int = 20,
    side: int = 105,
) -> Path:
    """Write Omniglot, every second alphabet in the other folder; drawing `d` has `d + 1` black pixels in the first row."""
    for side_of in ("images_background", "images_evaluation"):
        (Path(root) / side_of).mkdir(parents=True, exist_ok=True)
    for number, alphabet in enumerate(alphabets):
        for character in range(characters):
            for drawing in range(drawings):
                paper = np.ones((side, side), bool)
                paper[0, : drawing + 1] = False
                paper[1 + character, :] = False
                place = ("images_background", "images_evaluation")[number % 2]
                name = f"{character + 1:04d}_{drawing + 1:02d}.png"
                save(Path(root) / place / alphabet / f"character{character + 1:02d}" / name, paper)
    return Path(root)


def decathlon(
    root: str | PathLike[str],
    names: Iterable[str] = DOMAINS,
    parts: Mapping[str, int] | None = None,
    *,
    coco: bool = False,
) -> Path:
    """Write Visual Decathlon: folders of classes, or (`coco`) lists whose classes begin at 1,000 with one folder of images.

    Args:
        root: The folder.
        names: Some of the ten sets.
        parts: Images of each part; default 4 to train, 2 to validate.
        coco: Which of the two.
    """
    top = Path(root) / "decathlon-1.0-data"
    for name in names:
        for part, count in (parts or {"train": 4, "val": 2}).items():
            images, notes = [], []
            for index in range(count):
                label = index % 2
                place = f"{name}/{part}/{index:04d}.jpg" if coco else f"{name}/{part}/{label + 1:04d}/{index:04d}.jpg"
                grey = np.full((72, 80 + index, 3), 40 * index + 20, np.uint8)
                save(top / place, grey)
                images.append({"id": 7 * index, "file_name": f"data/decathlon-1.0/{place}"})
                notes.append({"id": index, "image_id": 7 * index, "category_id": 1000 + label})
            if coco:
                table = {"images": images, "annotations": notes, "categories": [{"id": 1000}, {"id": 1001}]}
                write(Path(root) / "annotations" / f"{name}_{part}.json", json.dumps(table))
    return Path(root)


def _idx(values: np.ndarray) -> bytes:
    head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    return head + values.astype(np.uint8).tobytes()


def _bytes(path: Path, pieces: Iterable[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(pieces))
