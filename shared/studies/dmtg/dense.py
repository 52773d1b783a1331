"""The five dense tasks of `rooms`, the poster's Taskonomy list: segmentation, depth, normals, edges, keypoints; K = 3, 4, 5.

ResNet-10 of a quarter's width at output stride 8, DeepLab v3's heads of 32 channels, 608 steps of 16, one seed.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from groupings import Setting, gain_bars, task_table, total_table
from study import Study

from mtl_core import SharedBackbone, Task, backbones, datasets, heads

TASKS = ("depth", "normals", "segmentation", "keypoints", "edges")
EPOCHS = 38


def build(tasks: dict[str, Task]) -> SharedBackbone:
    return SharedBackbone(backbones.resnet10(width=0.25, output_stride=8), tasks, heads.aspp(width=32, rates=(2, 4, 6)))


SETTING = Setting(lambda seed: datasets.rooms(TASKS), build, lr=2e-3)


def train(
    folder: Path, *, method: str, groups: int, seed: int, epochs: int = EPOCHS, tasks: int = len(TASKS)
) -> dict[str, Any]:
    setting = replace(SETTING, data=lambda seed: datasets.rooms(TASKS[:tasks]))
    model = setting.train(folder, method=method, groups=groups, seed=seed, epochs=epochs)
    return setting.figures(model, seed)


ORDER = [("naive", 0), *((method, K) for K in (3, 4, 5) for method in ("random", "dmtg"))]

STUDY = Study(
    key=("method", "groups", "seed"),
    trainings=[{"method": method, "groups": K, "seed": 0} for method, K in ORDER],
    train=train,
    seconds=330,
    tiny={"method": "dmtg", "groups": 2, "seed": 0, "epochs": 1, "tasks": 2},
    tables={
        "dense": lambda rows: total_table(rows, ["loss"], ORDER),
        "dense-tasks": lambda rows: task_table(rows, "loss", [("naive", 0), ("random", 3), ("dmtg", 3)]),
    },
    pictures={"norm_gain_dense": lambda rows: gain_bars(rows, "loss", ORDER)},
)
