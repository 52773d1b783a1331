"""Forty tasks on scenes of `shapes`: five quantiles of each of eight quantities of an image; K = 5, one seed, to the end."""

from pathlib import Path
from typing import Any

from groupings import Setting, total_table
from shape_attributes import QUANTITIES, families
from study import Study

from mtl_core import MultiTaskData, SharedBackbone, Task, backbones, heads

QUANTILES = tuple(i / 6 for i in range(1, 6))
EPOCHS = 20


def build(tasks: dict[str, Task]) -> SharedBackbone:
    return SharedBackbone(backbones.tiny(width=0.5), tasks, heads.linear())


def data(seed: int, scenes: int) -> MultiTaskData:
    return families(QUANTITIES, QUANTILES, train=scenes, test=scenes // 2, seed=seed)


def train(
    folder: Path, *, method: str, groups: int, seed: int, epochs: int = EPOCHS, scenes: int = 512
) -> dict[str, Any]:
    setting = Setting(lambda seed: data(seed, scenes), build, lr=2e-3)
    model = setting.train(folder, method=method, groups=groups, seed=seed, epochs=epochs)
    return setting.figures(model, seed)


ORDER = [("naive", 0), ("random", 5), ("dmtg", 5)]

STUDY = Study(
    key=("method", "groups", "seed"),
    trainings=[{"method": method, "groups": K, "seed": 0} for method, K in ORDER],
    train=train,
    seconds=100,
    tiny={"method": "dmtg", "groups": 5, "seed": 0, "epochs": 1, "scenes": 24},
    tables={"forty": lambda rows: total_table(rows, ["error", "loss"], ORDER)},
)
