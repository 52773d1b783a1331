"""Make `fashion`: 3,000 images of Fashion-MNIST, as many of each class in every part.

python shared/datasets/make_fashion.py FOLDER      FOLDER holds Fashion-MNIST's four idx files
"""

import argparse
from pathlib import Path

import numpy as np
from embedded_file import write

CLASSES = 10
TRAIN, VALIDATION, TEST = 170, 30, 100  # images of each class

TEXT = """
fashion: 3,000 images of clothes, 28 x 28 pixels, 10 classes

Source:  Fashion-MNIST, Zalando SE, https://github.com/zalandoresearch/fashion-mnist; H. Xiao, K. Rasul and R. Vollgraf,
         "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms", arXiv:1708.07747 (2017).
Licence: MIT (below)
Changes: a part of it. 170 images of each class to train and 30 to validate, from the original's training part;
         100 of each class to test, from its test part.
Made by: shared/datasets/make_fashion.py

images  uint8 [3000, 28, 28]: 1,700 to train, 300 to validate, 1,000 to test
labels  uint8 [3000]: 0 T-shirt, 1 trouser, 2 pullover, 3 dress, 4 coat, 5 sandal, 6 shirt, 7 sneaker, 8 bag,
        9 ankle boot

The MIT License (MIT)

Copyright (c) 2017 Zalando SE, https://tech.zalando.com

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to
permit persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS
OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def read(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Read the images and labels of one part: idx files have a head of 16 and of 8 bytes."""
    images = np.frombuffer((folder / f"{part}-images-idx3-ubyte").read_bytes(), np.uint8, offset=16).reshape(-1, 28, 28)
    labels = np.frombuffer((folder / f"{part}-labels-idx1-ubyte").read_bytes(), np.uint8, offset=8)
    return images, labels


def choose(labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Choose `count` rows of each class, the classes side by side: `[count, CLASSES]`."""
    return np.stack([rng.permutation(np.flatnonzero(labels == label))[:count] for label in range(CLASSES)], axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    rng = np.random.default_rng(0)
    images, labels = read(folder, "train")
    rows = choose(labels, TRAIN + VALIDATION, rng)
    parts = [(images[part.ravel()], labels[part.ravel()]) for part in (rows[:TRAIN], rows[TRAIN:])]
    images, labels = read(folder, "t10k")
    rows = choose(labels, TEST, rng)
    parts.append((images[rows.ravel()], labels[rows.ravel()]))
    arrays = {
        "images": np.concatenate([part[0] for part in parts]),
        "labels": np.concatenate([part[1] for part in parts]),
    }
    write("fashion", arrays, TEXT)


if __name__ == "__main__":
    main()
