"""Eight writing systems, a task and a data set each (rendered fonts with distortion): the same trainings as for `attributes`.

Core's tiny network with group norm, since running means of batch norm would mix the data sets; 576 steps of 8 · 16 drawings.
"""

from pathlib import Path
from typing import Any

from groupings import Setting, task_table, total_table
from rows import Rows
from study import Study

from mtl_core import SharedBackbone, Task, backbones, datasets, heads
from mtl_core.commands.names import group_norm

EPOCHS = 32
KEY = ("method", "groups", "seed")


def build(tasks: dict[str, Task]) -> SharedBackbone:
    return SharedBackbone(backbones.tiny(in_channels=1, norm=group_norm), tasks, heads.linear())


SETTING = Setting(lambda seed: datasets.scripts(), build, lr=3e-3)


def train(folder: Path, *, method: str, groups: int, seed: int, epochs: int = EPOCHS) -> dict[str, Any]:
    rows = Rows("dmtg", "scripts", KEY)
    return SETTING.row(rows, folder, method=method, groups=groups, seed=seed, epochs=epochs)


MAIN = [("naive", 0), ("single", 0), ("random", 3), ("dmtg", 3), ("scratch", 3), ("from naive", 3)]
SWEEP = [("naive", 0), *((method, K) for K in (2, 3) for method in ("random", "dmtg"))]

STUDY = Study(
    key=KEY,
    trainings=[
        *({"method": method, "groups": K, "seed": seed} for seed in (0, 1, 2) for method, K in MAIN),
        *({"method": method, "groups": 2, "seed": 0} for method in ("random", "dmtg")),
    ],
    train=train,
    seconds=110,
    tiny={"method": "from naive", "groups": 2, "seed": 99, "epochs": 1},
    tables={
        "scripts": lambda rows: total_table(rows, ["error"], MAIN),
        "scripts-groups": lambda rows: total_table(rows, ["error"], SWEEP, seeds=(0,)),
        "scripts-tasks": lambda rows: task_table(rows, "error", MAIN[:4]),
    },
)
