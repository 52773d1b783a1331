"""Small data with what real data have: labels missing by sample and by pixel, and a task that few samples label.

Three tasks: `kind` (three classes), `tall` (yes or no, weight .5) and `far` (a value for each pixel). A target of `far` has two
channels, the value and whether it is labelled, so that anything may stand where nothing is labelled.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from mtl_core.data import MultiTaskData
from mtl_core.task import Task, attribute, classification

SIDE = 8
"""Height and width of the images, in pixels; they have one channel."""


def masked(name: str) -> Task:
    """A dense task: squared error where the target's second channel is 1."""
    return Task(name, 1, _squared_where_labelled, dense=True, missing=0, kind="squares")


def tasks() -> list[Task]:
    """The three tasks."""
    return [classification("kind", 3), attribute("tall", weight=0.5), masked("far")]


class Samples(list[Any]):
    """A source: samples, and the names of the tasks that they label.

    Args:
        made: `(input, targets)` pairs.
        names: Tasks that the source labels.
    """

    def __init__(self, made: Sequence[Any], names: Sequence[str]) -> None:
        super().__init__(made)
        self.tasks = tuple(names)


def images(
    count: int,
    names: Sequence[str] = ("kind", "tall", "far"),
    *,
    seed: int = 0,
    shares: tuple[float, float] = (0.1, 0.9),
    beneath: float = 0.0,
) -> Samples:
    """Images whose labels can be told from them, a third of them missing.

    Args:
        count: How many.
        names: Tasks that are labelled at all; the first sample has a label of each.
        seed: Seeds images and gaps.
        shares: Share of pixels that `far` labels, in every other sample.
        beneath: What stands in targets of `far` where nothing is labelled; it must not matter.
    """
    g = Generator().manual_seed(seed)
    made = []
    for index in range(count):
        image = torch.rand(1, SIDE, SIDE, generator=g)
        kind = index % 3
        image[0, :, kind] += 1
        labelled = (torch.rand(1, SIDE, SIDE, generator=g) < shares[index % 2]).float()
        far = torch.cat([torch.where(labelled > 0, 2 * image, torch.tensor(beneath)), labelled])
        targets = {"kind": torch.tensor(kind), "tall": (image.mean() > 0.62).float(), "far": far}
        kept = {n: targets[n] for place, n in enumerate(names) if n in targets and ((index + place) % 3 or index == 0)}
        made.append((image, kept))
    return Samples(made, names)


def common(*, count: int = 14, beneath: float = 0.0) -> MultiTaskData:
    """Common images with many labels: one view a batch."""
    held_out = images(8, seed=5)
    return MultiTaskData(tasks(), images(count, beneath=beneath), validation=held_out, test=held_out)


def separate() -> MultiTaskData:
    """A data set for each task, of different lengths: a view for each."""
    sources = [images(n, [name], seed=n) for n, name in ((13, "kind"), (6, "tall"), (9, "far"))]
    return MultiTaskData(tasks(), sources, validation=images(8, seed=5))


def mixed() -> MultiTaskData:
    """Common images for two tasks, one of which has images of its own, too; and images of the third."""
    sources = [images(12, ["kind", "tall"]), images(7, ["tall"], seed=3), images(5, ["far"], seed=4)]
    return MultiTaskData(tasks(), sources, validation=images(8, seed=5))


def rare() -> MultiTaskData:
    """Common images of which only two label `tall`: most batches have no label of it."""
    made = images(14)
    gaps = [(x, {n: t for n, t in labels.items() if n != "tall" or i in (0, 9)}) for i, (x, labels) in enumerate(made)]
    return MultiTaskData(tasks(), Samples(gaps, made.tasks), validation=images(8, seed=5))


def many(count: int = 10) -> MultiTaskData:
    """Common images with many yes-or-no tasks: whether a pixel is bright."""
    g = Generator().manual_seed(1)
    names = [f"pixel{index}" for index in range(count)]
    made = []
    for _ in range(12):
        image = torch.rand(1, SIDE, SIDE, generator=g)
        bright = (image.flatten()[:count] > 0.5).float()
        made.append((image, dict(zip(names, bright, strict=True))))
    return MultiTaskData([attribute(name) for name in names], Samples(made, names), validation=Samples(made[:4], names))


def _squared_where_labelled(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return (prediction - target[:, :1]) ** 2, target[:, 1:] > 0
