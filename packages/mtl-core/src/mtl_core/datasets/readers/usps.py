"""USPS: 7,291 digits from envelopes to train and 2,007 to test, 16×16, as LIBSVM has them.

A line is the class, 1 to 10 on disk and 0 to 9 here, and `pixel:value` with values in [−1, 1]; ink is 1 here, the rest 0.
"""

import bz2
from os import PathLike
from pathlib import Path

import numpy as np

from mtl_core.datasets.arrays import Arrays
from mtl_core.datasets.readers.decoding import Malformed
from mtl_core.datasets.readers.packed import part_of, source, within
from mtl_core.datasets.readers.reader import Layout

LAYOUT = Layout(
    "USPS",
    "usps.bz2  usps.t.bz2",
    "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets, or mtl_core.datasets.readers.download('usps', root)",
)
COUNTS = {"train": 7291, "test": 2007}
PIXELS = 16 * 16


def usps(root: str | PathLike[str], part: str = "train", *, task: str = "usps") -> Arrays:
    """Read USPS.

    Args:
        root: The folder that holds the files.
        part: `train` or `test`.
        task: Name of the task (10 classes).

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is malformed, or `part` is not known.
    """
    name = {"train": "usps.bz2", "test": "usps.t.bz2"}[part_of(part, "train", "test")]
    path = within(LAYOUT, root, ("",), (name,)) / name
    try:
        rows = bz2.decompress(path.read_bytes()).decode("ascii").splitlines()
    except (OSError, EOFError, ValueError) as error:
        raise Malformed(path, f"cannot be unpacked: {error}") from error
    images, labels = np.empty((len(rows), PIXELS), np.float32), np.empty(len(rows), np.int64)
    for row, line in enumerate(rows):
        labels[row], images[row] = _numbers(path, row, line)
    return source(f"USPS {part}", task, 10, images.reshape(-1, 1, 16, 16), labels - 1, path)


def _numbers(path: Path, row: int, line: str) -> tuple[int, np.ndarray]:
    pixels = np.full(PIXELS, -1, np.float32)  # a value that is left out is 0 in LIBSVM's format, but none is
    try:
        label, *pairs = line.split()
        places, values = zip(*(pair.split(":") for pair in pairs), strict=True)
        pixels[np.array(places, np.int64) - 1] = np.array(values, np.float32)
        if len(pairs) != PIXELS or not (np.abs(pixels) <= 1).all():
            raise ValueError(f"{len(pairs)} pixels, values up to {np.abs(pixels).max():g}")
        return int(float(label)), (pixels + 1) / 2
    except (ValueError, IndexError) as error:
        raise Malformed(
            path, f"must hold a class and {PIXELS} values in [-1, 1] in each line. Sample `{row}`: {error}."
        ) from error
