"""Visual Decathlon: ten classification sets, a data set per task, images whose shorter side has 72 pixels.

Classes are folders named by a number, or stand in COCO's form in `annotations/NAME_PART.json`, where the numbers of a set begin
anywhere: the smallest becomes 0. The test part's labels are withheld: report on `val`. The means and deviations of
the sets differ, so that no module of a shared model can normalise them all: here the reader does (`normalize`).
"""

from functools import partial
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from mtl_core.datasets.folders import SUFFIXES
from mtl_core.datasets.readers import decoding
from mtl_core.datasets.readers.decoding import Malformed
from mtl_core.datasets.readers.packed import part_of
from mtl_core.datasets.readers.reader import Files, Layout, Reader, Values
from mtl_core.task import classification
from mtl_core.types import Tensor

LAYOUT = Layout(
    "Visual Decathlon",
    "decathlon-1.0-data/aircraft/train/0001/any-name.jpg\ndecathlon-1.0-data/aircraft/val/...\n"
    "annotations/aircraft_train.json  (instead of folders of classes)",
    "https://www.robots.ox.ac.uk/~vgg/decathlon",
)


class Domain(NamedTuple):
    """One of the ten sets: number of classes, mean and deviation of each channel, and whether its images stay whole.

    Of whole sets the middle 72×72 is taken and nothing is mirrored: a mirrored sign or letter is another one.
    """

    classes: int
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    whole: bool = False


DOMAINS = {
    "imagenet12": Domain(1000, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "aircraft": Domain(100, (0.47983, 0.51074, 0.53438), (0.21070, 0.20509, 0.23730)),
    "cifar100": Domain(100, (0.50706, 0.48667, 0.44078), (0.26745, 0.25647, 0.27608)),
    "daimlerpedcls": Domain(2, (0.48204,) * 3, (0.23613,) * 3),
    "dtd": Domain(47, (0.52696, 0.47025, 0.42397), (0.25227, 0.24092, 0.24995)),
    "gtsrb": Domain(43, (0.33921, 0.31178, 0.32047), (0.27560, 0.26576, 0.27090), whole=True),
    "omniglot": Domain(1623, (0.08100,) * 3, (0.27047,) * 3, whole=True),
    "svhn": Domain(10, (0.43768, 0.44377, 0.47280), (0.19803, 0.20102, 0.19704), whole=True),
    "ucf101": Domain(101, (0.49953, 0.49880, 0.49982), (0.10899, 0.10810, 0.10680)),
    "vgg-flowers": Domain(102, (0.43415, 0.38310, 0.29715), (0.28510, 0.23842, 0.26396)),
}


def decathlon(root: str | PathLike[str], name: str, part: str = "train", *, normalize: bool = True) -> Reader:
    """Read one of the ten sets; the task has its name.

    Args:
        root: The folder above `decathlon-1.0-data`, or that folder itself.
        name: A name of `DOMAINS`.
        part: `train` or `val`.
        normalize: Subtract the set's mean and divide by its deviation; else images are in [0, 1].

    Raises:
        FileNotFoundError: If a folder or every image is missing.
        ValueError: If an argument is not usable, a class is out of range or a list malformed.
    """
    if name not in DOMAINS:
        raise ValueError(f"`name` must be among {', '.join(DOMAINS)}. Got `name = {name!r}`.")
    part_of(part, "train", "val")
    top = Path(root)
    data = top / "decathlon-1.0-data" if (top / "decathlon-1.0-data").is_dir() else top
    LAYOUT.require(data, f"{name}/{part}")
    domain, folder = DOMAINS[name], data / name / part
    places = [place / "annotations" / f"{name}_{part}.json" for place in (data, top)]
    listed = next((path for path in places if path.is_file()), None)
    files, labels = _folders(folder) if listed is None else _coco(listed, data, name, part)
    if not files:
        raise LAYOUT.lacks(data, f"There is no image below {str(folder)!r}.")
    numbers = np.array(labels, np.int64)
    bad = np.flatnonzero(numbers >= domain.classes)
    if len(bad):
        raise ValueError(
            f"Visual Decathlon {name} {part}, sample `{files[bad[0]]}`, task `{name}`: {str(listed or folder)!r} must hold "
            f"{domain.classes} classes. Got class {numbers[bad[0]]}, counted from 0."
        )
    decode = partial(normalized, name=name) if normalize else decoding.image
    values = Values(listed or folder, numbers)
    task = classification(name, domain.classes)
    return Reader(f"Visual Decathlon {name} {part}", files, Files(folder, files, decode), {name: values}, [task])


def normalized(path: Path, name: str) -> Tensor:
    """An image with the set's mean subtracted, divided by its deviation."""
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (DOMAINS[name].mean, DOMAINS[name].deviation))
    return (decoding.image(path) - mean) / deviation


def _folders(folder: Path) -> tuple[list[str], list[int]]:
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    odd = [name for name in classes if not name.isdigit()]
    if odd:
        raise Malformed(folder / odd[0], "must be a folder named by the number of a class.")
    first = min(map(int, classes), default=0)
    files, labels = [], []
    for name in classes:
        for path in sorted((folder / name).iterdir()):
            if path.suffix.lower() in SUFFIXES:
                files.append(f"{name}/{path.name}")
                labels.append(int(name) - first)
    return files, labels


def _coco(path: Path, data: Path, name: str, part: str) -> tuple[list[str], list[int]]:
    """Files below the part's folder and their classes, from COCO's lists of images and annotations."""
    table = decoding.table(path)
    try:
        images = {image["id"]: str(image["file_name"]) for image in table["images"]}
        found = [(images[note["image_id"]], int(note["category_id"])) for note in table["annotations"]]
        first = min(int(category["id"]) for category in table.get("categories") or [{"id": n} for _, n in found])
    except (KeyError, TypeError, ValueError) as error:
        raise Malformed(path, f"must hold images and annotations in COCO's form. It does not: {error!r}") from error
    before = f"{name}/{part}/"
    files = [file.partition(before)[2] or file for file, _ in found]
    low = [n for _, n in found if n < first]
    if low:
        raise Malformed(path, f"must hold classes from {first} on, as its categories say. Got {low[0]}.")
    return files, [n - first for _, n in found]
