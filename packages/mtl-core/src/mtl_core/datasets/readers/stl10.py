"""STL-10: 5,000 labelled images to train and 8,000 to test, 96×96, from the binary files.

Each image is three channels, and each channel is stored column by column. Classes are 1 to 10 on disk, 0 to 9 here.
"""

from os import PathLike

import numpy as np

from mtl_core.datasets.arrays import Arrays
from mtl_core.datasets.readers.decoding import Malformed
from mtl_core.datasets.readers.packed import part_of, raw, source, within
from mtl_core.datasets.readers.reader import Layout

LAYOUT = Layout(
    "STL-10",
    "stl10_binary/train_X.bin  train_y.bin  test_X.bin  test_y.bin",
    "https://cs.stanford.edu/~acoates/stl10, or mtl_core.datasets.readers.download('stl10', root)",
)
COUNTS = {"train": 5000, "test": 8000}
SIDE = 96


def stl10(root: str | PathLike[str], part: str = "train", *, task: str = "stl10") -> Arrays:
    """Read STL-10.

    Args:
        root: The folder above `stl10_binary`, or that folder itself.
        part: `train` (the labelled images) or `test`.
        task: Name of the task (10 classes).

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is malformed, or `part` is not known.
    """
    names = tuple(f"{part_of(part, 'train', 'test')}_{kind}.bin" for kind in "Xy")
    folder = within(LAYOUT, root, ("stl10_binary", ""), names)
    pixels, labels = (raw(folder / name) for name in names)
    if len(pixels) % (3 * SIDE * SIDE):
        raise Malformed(folder / names[0], f"must hold images of {3 * SIDE * SIDE} bytes. Got {len(pixels)} bytes.")
    images = pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 1, 3, 2)
    return source(f"STL-10 {part}", task, 10, images, labels.astype(np.int64) - 1, folder / names[1])
