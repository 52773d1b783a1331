"""Eight writing systems, a task and a data set each (rendered fonts with distortion, not handwriting): many tasks of one kind.

ResNet-18 of a quarter's width with group norm, 25 passes, batches of 16: the sets are small.
"""

from pathlib import Path
from typing import Any

from allocations import KEY, Setting, accuracy_picture, group_table, main_table, tau_picture, tau_table, trainings
from study import Study

from mtl_core import SharedBackbone, Task, backbones, datasets, heads
from mtl_core.commands.names import group_norm

TAU_SIMS = (0.45, 0.98)


def build(tasks: dict[str, Task]) -> SharedBackbone:
    return SharedBackbone(backbones.resnet18(width=0.25, in_channels=1, norm=group_norm), tasks, heads.linear())


SETTING = Setting(datasets.scripts, build, epochs=25, batch=16, lr=0.01, tau_sims=TAU_SIMS, taus=(0.25, 0.5))


def train(folder: Path, **key: Any) -> dict[str, Any]:
    return SETTING.row(folder, **key)


STUDY = Study(
    key=KEY,
    trainings=trainings(),
    train=train,
    seconds=350,
    tiny={
        "method": "hard",
        "seed": 0,
        "epochs": 1,
        "batch": 100,
        "tasks": ("greek", "thai"),
    },
    tables={
        "scripts": lambda rows: main_table(rows, TAU_SIMS),
        "scripts-groups": lambda rows: group_table(rows, TAU_SIMS),
        "scripts-tau": lambda rows: tau_table(rows, TAU_SIMS[-1]),
    },
    pictures={
        "scripts_accuracy": lambda rows: accuracy_picture(rows, TAU_SIMS[-1]),
        "scripts_tau": lambda rows: tau_picture(rows, TAU_SIMS[-1]),
    },
)
