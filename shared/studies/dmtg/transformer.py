"""The twelve attributes of `rooms` on a small vision transformer (patches of 8, 64 channels, 4 blocks), K = 3, one seed."""

from pathlib import Path
from typing import Any

from groupings import Setting, total_table
from study import Study

from mtl_core import SharedBackbone, Task, backbones, datasets, heads
from mtl_core.datasets.rooms import ATTRIBUTES

EPOCHS = 38


def build(tasks: dict[str, Task]) -> SharedBackbone:
    return SharedBackbone(backbones.vit(image_size=64, patch=8), tasks, heads.linear())


SETTING = Setting(lambda seed: datasets.rooms(ATTRIBUTES, augment=True), build)


def train(folder: Path, *, method: str, groups: int, seed: int, epochs: int = EPOCHS) -> dict[str, Any]:
    model = SETTING.train(folder, method=method, groups=groups, seed=seed, epochs=epochs)
    return SETTING.figures(model, seed)


ORDER = [("naive", 0), ("single", 0), ("random", 3), ("dmtg", 3)]

STUDY = Study(
    key=("method", "groups", "seed"),
    trainings=[{"method": method, "groups": K, "seed": 0} for method, K in ORDER],
    train=train,
    seconds=150,
    tiny={"method": "dmtg", "groups": 2, "seed": 0, "epochs": 1},
    tables={"transformer": lambda rows: total_table(rows, ["error"], ORDER)},
)
