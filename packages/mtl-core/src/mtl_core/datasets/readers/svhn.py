"""SVHN: 73,257 house numbers' digits to train and 26,032 to test, 32×32, from the MATLAB files.

Images are `[32, 32, 3, samples]` on disk; the digit 0 is class 10 there and 0 here. Needs scipy.
"""

from os import PathLike

import numpy as np

from mtl_core.datasets.arrays import Arrays
from mtl_core.datasets.readers import decoding
from mtl_core.datasets.readers.packed import part_of, source, within
from mtl_core.datasets.readers.reader import Layout

LAYOUT = Layout(
    "SVHN",
    "train_32x32.mat  test_32x32.mat",
    "http://ufldl.stanford.edu/housenumbers, or mtl_core.datasets.readers.download('svhn', root)",
)
COUNTS = {"train": 73257, "test": 26032}


def svhn(root: str | PathLike[str], part: str = "train", *, task: str = "svhn") -> Arrays:
    """Read SVHN's cropped digits.

    Args:
        root: The folder that holds the files.
        part: `train` or `test`.
        task: Name of the task (10 classes).

    Raises:
        ImportError: If scipy is missing.
        FileNotFoundError: If a file is missing.
        ValueError: If a file is malformed, or `part` is not known.
    """
    name = f"{part_of(part, 'train', 'test')}_32x32.mat"
    path = within(LAYOUT, root, ("",), (name,)) / name
    pixels = decoding.checked(path, np.asarray(decoding.mat(path, "X")), "u", "[h, w, 3, samples]")
    labels = decoding.checked(path, np.asarray(decoding.mat(path, "y")), "iuf", "[samples, 1]", "[1, samples]").ravel()
    digits = np.where(labels == 10, 0, labels).astype(np.int64)
    return source(f"SVHN {part}", task, 10, np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)), digits, path)
