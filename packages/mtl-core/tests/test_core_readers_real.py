"""The readers on real files, where the environment variable `MTL_DATA` names a folder that has them."""

import os
from pathlib import Path

import pytest
import torch

from mtl_core.datasets import readers

ROOT = Path(os.environ.get("MTL_DATA", "MTL_DATA is not set"))


def needs(name: str) -> Path:
    if not (ROOT / name).is_dir():
        pytest.skip(f"no folder {name!r} where the environment variable MTL_DATA points")
    return ROOT


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_original_files_hold_what_they_are_known_to_hold(name: str) -> None:
    """60,000 and 10,000 images 28×28, ink on black, all ten classes; Fashion-MNIST has as many of each."""
    root = needs({"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[name])
    read = getattr(readers, name)
    for part, count in (("train", 60000), ("test", 10000)):
        source = read(root, part)
        images, targets = source.batch(torch.arange(count))
        assert images.shape == (count, 1, 28, 28)
        assert (images.min(), images.max()) == (0, 1)
        assert 0.1 < images.mean() < 0.3
        each = targets[name].bincount(minlength=10)
        assert each.min() > 0.08 * count
        assert name == "mnist" or each.unique().tolist() == [count // 10]


def test_folders_of_jpegs_are_read() -> None:
    """Ten classes sorted by name, 10,000 images to train: a part of CIFAR-10 that was coded anew."""
    needs("cifar10-images")
    source = readers.cifar10(ROOT / "cifar10-images")
    assert len(source) == 10000
    image, targets = source[-1]
    assert image.shape == (3, 32, 32)
    assert int(targets["cifar10"]) == 9
