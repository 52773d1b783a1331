"""Yes-or-no tasks on the scenes of `shapes`, in families: whether one quantity of the image lies above its quantiles.

A quantity of the image (how red it is, how deep, ...) gives a family of tasks, one for each quantile: they ask for one feature,
and those of another family for another. So it is known which tasks belong together.
"""

from functools import lru_cache

import torch
from torch import Tensor

from mtl_core import MultiTaskData
from mtl_core.datasets import arrays
from mtl_core.datasets.shapes import Shapes
from mtl_core.task import attribute

SIZE = (24, 32)
MAPS = ("segmentation", "depth", "normals", "edges")
BOX, ELLIPSOID = 3, 4

QUANTITIES = ("red", "side", "things", "depth", "bright", "floor", "round", "edges")


def families(
    names: tuple[str, ...], quantiles: tuple[float, ...], *, train: int, test: int, seed: int
) -> MultiTaskData:
    """Data with a family of tasks for each quantity, `<quantity><number of the quantile>`.

    Args:
        names: Among `QUANTITIES`.
        quantiles: Of the training part, in (0, 1).
        train: Scenes to train with.
        test: Scenes to test with.
        seed: Decides the scenes.
    """
    parts = {
        part: _scenes(index, count, seed) for index, (part, count) in enumerate([("train", train), ("test", test)])
    }
    limits = {name: torch.quantile(parts["train"][1][name], torch.tensor(quantiles)) for name in names}
    sources = {
        part: arrays(
            images,
            {f"{name}{i}": (known[name] > limit).float() for name in names for i, limit in enumerate(limits[name])},
        )
        for part, (images, known) in parts.items()
    }
    tasks = [attribute(f"{name}{i}") for name in names for i in range(len(quantiles))]
    return MultiTaskData(tasks, sources["train"], test=sources["test"])


@lru_cache(maxsize=4)
def _scenes(part: int, count: int, seed: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Images, and the quantities of each."""
    source = Shapes(MAPS, part, count, SIZE, seed)
    images, maps = source.batch(torch.arange(count))
    kind = maps["segmentation"]
    half = SIZE[1] // 2
    share = {name: (kind == label).float().mean((1, 2)) for name, label in (("box", BOX), ("round", ELLIPSOID))}
    return images, {
        "red": (images[:, 0] - images[:, 2]).mean((1, 2)),
        "side": images[..., :half].mean((1, 2, 3)) - images[..., half:].mean((1, 2, 3)),
        "things": share["box"] + share["round"],
        "depth": maps["depth"].mean((1, 2, 3)),
        "bright": images.mean((1, 2, 3)),
        "floor": (kind == 0).float().mean((1, 2)),
        "round": share["round"] - share["box"],
        "edges": maps["edges"].mean((1, 2, 3)),
    }
