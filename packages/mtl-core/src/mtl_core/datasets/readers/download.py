"""Downloads, for whoever asks: nothing else in this package reaches for the network.

torchvision fetches and compares checksums; what it stores pickled (CIFAR) is fetched in its binary version instead.
"""

from collections.abc import Callable
from os import PathLike, fspath
from typing import Any

ARCHIVES = {
    "cifar10": ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),
    "cifar100": ("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz", "03b5dce01913d631647c71ecec9e9cb8"),
}
"""Address and MD5 checksum."""


def download(name: str, root: str | PathLike[str]) -> None:
    """Fetch a data set into a folder where its reader finds it.

    Args:
        name: cifar10, cifar100, fashion_mnist, mnist, omniglot, stl10, svhn or usps.
        root: The folder.

    Raises:
        ValueError: If there is none of that name.
    """
    known = _makers()
    if name not in known:
        raise ValueError(f"`name` must be among {', '.join(sorted(known))}. Got `name = {name!r}`.")
    known[name](fspath(root))


def _makers() -> dict[str, Callable[[str], Any]]:
    from torchvision import datasets
    from torchvision.datasets import utils

    def archive(name: str) -> Callable[[str], Any]:
        address, checksum = ARCHIVES[name]
        return lambda root: utils.download_and_extract_archive(address, root, md5=checksum)

    def both(make: Callable[..., Any]) -> Callable[[str], Any]:
        return lambda root: [make(root, flag, download=True) for flag in (True, False)]

    def street_numbers(root: str) -> None:
        for part in ("train", "test"):
            address, file, checksum = datasets.SVHN.split_list[part]
            utils.download_url(address, root, file, checksum)

    return {
        "cifar10": archive("cifar10"),
        "cifar100": archive("cifar100"),
        "fashion_mnist": lambda root: datasets.FashionMNIST(root, download=True),
        "mnist": lambda root: datasets.MNIST(root, download=True),
        "omniglot": both(datasets.Omniglot),
        "stl10": lambda root: datasets.STL10(root, download=True),
        "svhn": street_numbers,
        "usps": both(datasets.USPS),
    }
