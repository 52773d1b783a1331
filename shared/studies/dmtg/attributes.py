"""Twelve attributes of `rooms`: DMTG beside single tasks, one network and random groups; its groups trained again; annealing.

The tiny network of core (45 k parameters), 608 steps of 16 mirrored and jittered images. The test part has 100 images, so an
error of a single task is a multiple of 1 %.
"""

from pathlib import Path
from typing import Any

from groupings import Setting, gain_bars, task_table, total_table
from rows import Rows
from study import Study

from mtl_core import SharedBackbone, Task, backbones, datasets, heads
from mtl_core.datasets.rooms import ATTRIBUTES

EPOCHS = 38
KEY = ("method", "groups", "seed")
FIVE = (0, 1, 2, 3, 4)


def build(tasks: dict[str, Task]) -> SharedBackbone:
    return SharedBackbone(backbones.tiny(), tasks, heads.linear())


SETTING = Setting(lambda seed: datasets.rooms(ATTRIBUTES, augment=True), build, lr=2e-3)


def train(folder: Path, *, method: str, groups: int, seed: int, epochs: int = EPOCHS) -> dict[str, Any]:
    rows = Rows("dmtg", "attributes", KEY)
    return SETTING.row(rows, folder, method=method, groups=groups, seed=seed, epochs=epochs)


MAIN = [("naive", 0), ("single", 0), ("random", 3), ("dmtg", 3), ("scratch", 3), ("from naive", 3)]
SWEEP = [("naive", 0), *((method, K) for K in (2, 3, 4) for method in ("random", "dmtg"))]
PAIR = [("naive", 0), ("dmtg", 3), ("annealed", 3)]

STUDY = Study(
    key=KEY,
    trainings=[
        *({"method": method, "groups": K, "seed": seed} for seed in (0, 1, 2) for method, K in MAIN),
        *({"method": method, "groups": K, "seed": 0} for K in (2, 4) for method in ("random", "dmtg")),
        *({"method": method, "groups": K, "seed": seed} for seed in (3, 4) for method, K in PAIR[:2]),
        *({"method": "annealed", "groups": 3, "seed": seed} for seed in FIVE),
    ],
    train=train,
    seconds=125,
    tiny={"method": "annealed", "groups": 2, "seed": 0, "epochs": 1},
    tables={
        "attributes": lambda rows: total_table(rows, ["error"], MAIN),
        "attributes-groups": lambda rows: total_table(rows, ["error"], SWEEP, seeds=(0,)),
        "attributes-tasks": lambda rows: task_table(rows, "error", MAIN[:4]),
        "attributes-annealed": lambda rows: total_table(rows, ["error", "loss"], PAIR, seeds=FIVE),
    },
    pictures={"norm_gain_attributes": lambda rows: gain_bars(rows, "error", MAIN)},
)
