"""Real images: clothes (Fashion-MNIST), handwritten digits (MNIST, and the small set of core), and a subset of CIFAR-10.

As in DMO's first scenario in small: 32×32, three channels (grey ones tripled), at most 3,000 training images each, ResNet-18 of a
quarter's width with group norm, 12 passes, batches of 32. The files lie where the environment variable `MTL_DATA` points; the
CIFAR-10 subset there is re-encoded as JPEG, so that its figures are not those of CIFAR-10.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from allocations import KEY, Setting, accuracy_picture, group_table, main_table, trainings
from study import Study
from torch import Tensor
from torch.nn.functional import interpolate

from mtl_core import MultiTaskData, SharedBackbone, Task, backbones, datasets, heads
from mtl_core.commands.names import group_norm
from mtl_core.datasets import Arrays, arrays, readers
from mtl_core.task import classification

TRAIN, TEST = 3000, 2000
TAU_SIMS = (0.45, 0.9)
FOLDERS = ("FashionMNIST/raw", "MNIST/raw", "cifar10-images")


def lacking() -> str:
    """What is not there."""
    root = os.environ.get("MTL_DATA")
    if not root:
        return "MTL_DATA must point to a folder with FashionMNIST, MNIST and cifar10-images"
    missing = [name for name in FOLDERS if not (Path(root) / name).is_dir()]
    return f"`{root}` (MTL_DATA) must hold {', '.join(missing)}" if missing else ""


def scaled(images: Tensor) -> Tensor:
    """32×32, three channels, in [0, 1]."""
    larger = interpolate(images, (32, 32), mode="bilinear", antialias=True)
    return larger.expand(-1, 3, -1, -1).clamp(0, 1)


def first(read: Callable[..., Arrays], part: str, count: int) -> tuple[Tensor, Tensor]:
    """The first images of a set in MNIST's format: its order is random."""
    images, targets = read(os.environ["MTL_DATA"], part).batch(torch.arange(count))
    (labels,) = targets.values()
    return scaled(images), labels


def cifar(part: str, count: int) -> tuple[Tensor, Tensor]:
    """Equally many images of each class."""
    (folder,) = datasets.folders({"cifar": Path(os.environ["MTL_DATA"]) / "cifar10-images" / part}, size=(32, 32))
    order = torch.randperm(len(folder), generator=torch.Generator().manual_seed(0))[:count].tolist()
    pairs = [folder[i] for i in order]
    return torch.stack([x for x, _ in pairs]).float(), torch.tensor([int(t["cifar"]) for _, t in pairs])


def embedded(make: Callable[[], MultiTaskData], part: str, count: int) -> tuple[Tensor, Tensor]:
    """A set that core carries."""
    data = make()
    split = {"train": data.train, "test": data.test}[part]
    assert split is not None
    (view,) = [next(split.views(count))]
    (labels,) = view.targets.values()
    return scaled(view.inputs), labels


def four(train: int, test: int, stand_in: bool) -> MultiTaskData:
    """The four tasks."""

    def part(name: str, count: int) -> list[Arrays]:
        found = {"digits": embedded(datasets.digits, name, count)}
        if stand_in:
            found |= dict.fromkeys(("fashion", "mnist", "cifar"), embedded(datasets.fashion, name, count))
        else:
            found |= {"fashion": first(readers.fashion_mnist, name, count), "mnist": first(readers.mnist, name, count)}
            found["cifar"] = cifar(name, count)
        return [arrays(images, {task: labels}) for task, (images, labels) in found.items()]

    tasks = [classification(name, 10) for name in ("digits", "fashion", "mnist", "cifar")]
    return MultiTaskData(tasks, part("train", train), test=part("test", test))


def build(tasks: dict[str, Task]) -> SharedBackbone:
    return SharedBackbone(backbones.resnet18(width=0.25, norm=group_norm), tasks, heads.linear())


def train(folder: Path, *, images: int = TRAIN, stand_in: bool = False, **key: Any) -> dict[str, Any]:
    setting = Setting(lambda: four(images, min(TEST, images), stand_in), build, 12, 32, 0.02, TAU_SIMS)
    return setting.row(folder, **key)


STUDY = Study(
    key=KEY,
    trainings=trainings(),
    train=train,
    seconds=300,
    # Tests have no such folder: sets that core carries stand in.
    tiny={"method": "hard", "seed": 0, "epochs": 1, "images": 128, "stand_in": True},
    tables={
        "images": lambda rows: main_table(rows, TAU_SIMS),
        "images-groups": lambda rows: group_table(rows, TAU_SIMS),
    },
    pictures={"images_accuracy": lambda rows: accuracy_picture(rows, TAU_SIMS[-1])},
    lacking=lacking,
)
