"""MNIST and Fashion-MNIST: 60,000 images to train and 10,000 to test, 28×28, in the original files.

An idx file begins with two zeros, the type of its numbers (8: bytes), the number of axes and the size of each (four bytes, the
highest first); then come the numbers.
"""

import gzip
import zlib
from os import PathLike
from pathlib import Path

import numpy as np

from mtl_core.datasets.arrays import Arrays
from mtl_core.datasets.readers.decoding import Malformed
from mtl_core.datasets.readers.packed import part_of, raw, source, within
from mtl_core.datasets.readers.reader import Layout

MNIST = Layout(
    "MNIST",
    "MNIST/raw/train-images-idx3-ubyte  train-labels-idx1-ubyte\nMNIST/raw/t10k-images-idx3-ubyte  t10k-labels-idx1-ubyte",
    "mtl_core.datasets.readers.download('mnist', root)",
)
FASHION = Layout(
    "Fashion-MNIST",
    "FashionMNIST/raw/train-images-idx3-ubyte  train-labels-idx1-ubyte\n"
    "FashionMNIST/raw/t10k-images-idx3-ubyte  t10k-labels-idx1-ubyte",
    "https://github.com/zalandoresearch/fashion-mnist, or mtl_core.datasets.readers.download('fashion_mnist', root)",
)
COUNTS = {"train": 60000, "test": 10000}


def mnist(root: str | PathLike[str], part: str = "train", *, task: str = "mnist") -> Arrays:
    """Read MNIST: handwritten digits, ink 1 on 0.

    Args:
        root: The folder above `MNIST/raw`, or the one that holds the files; they may be packed (`.gz`).
        part: `train` or `test`.
        task: Name of the task (10 classes).

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is malformed, or `part` is not known.
    """
    return _read(MNIST, "MNIST", root, part, task)


def fashion_mnist(root: str | PathLike[str], part: str = "train", *, task: str = "fashion_mnist") -> Arrays:
    """Read Fashion-MNIST: clothes.

    Args:
        root: The folder above `FashionMNIST/raw`, or the one that holds the files; they may be packed (`.gz`).
        part: `train` or `test`.
        task: Name of the task (10 classes).

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is malformed, or `part` is not known.
    """
    return _read(FASHION, "FashionMNIST", root, part, task)


def read_idx(path: Path, axes: int) -> np.ndarray:
    """The bytes of an idx file in their shape, mapped into memory unless it is packed.

    Args:
        path: The file.
        axes: How many axes it must have.

    Raises:
        Malformed: If it is no such file, or its size is not what its head says.
    """
    if path.suffix == ".gz":
        try:
            content = np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8)
        except (OSError, EOFError, zlib.error) as error:
            raise Malformed(path, f"cannot be unpacked: {error}") from error
    else:
        content = raw(path)
    head = content[: 4 + 4 * axes].tobytes()
    if len(head) < 4 + 4 * axes or head[:4] != bytes([0, 0, 8, axes]):
        raise Malformed(path, f"must be an idx file of bytes with {axes} axes. It begins with {head[:4].hex()}.")
    shape = tuple(int(size) for size in np.frombuffer(head[4:], ">u4"))
    size = int(np.prod([1, *shape], dtype=object))
    if len(content) != len(head) + size:
        raise Malformed(path, f"must hold {size} bytes after its head, as that says. Got {len(content) - len(head)}.")
    return content[len(head) :].reshape(shape)


def _read(layout: Layout, name: str, root: str | PathLike[str], part: str, task: str) -> Arrays:
    prefix = {"train": "train", "test": "t10k"}[part_of(part, "train", "test")]
    names = f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"
    places = (f"{name}/raw", "raw", "")
    zipped = any((Path(root) / place / f"{names[0]}.gz").is_file() for place in places)
    plain = any((Path(root) / place / names[0]).is_file() for place in places)
    suffix = ".gz" if zipped and not plain else ""
    folder = within(layout, root, places, tuple(f"{file}{suffix}" for file in names))
    images, labels = (folder / f"{file}{suffix}" for file in names)
    pixels = read_idx(images, 3)
    if 0 in pixels.shape[1:]:
        raise Malformed(images, f"must hold images of at least one pixel. Got {list(pixels.shape)}.")
    return source(f"{layout.name} {part}", task, 10, pixels[:, None], read_idx(labels, 1), labels)
