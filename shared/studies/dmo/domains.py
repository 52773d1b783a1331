"""Four data sets of different difficulty (digits, clothes, two writing systems of rendered fonts): DMO's first scenario in small.

ResNet-18 of a quarter's width with group norm (running means of batch norm would mix the data sets), 20 passes, batches
of 16: the smallest of the sets has 280 images.
"""

from pathlib import Path
from typing import Any

from allocations import KEY, Setting, accuracy_picture, group_table, main_table, tau_picture, tau_table, trainings
from study import Study

from mtl_core import SharedBackbone, Task, backbones, datasets, heads
from mtl_core.commands.names import group_norm

TAU_SIMS = (0.45, 0.9)
"""The released code's threshold, and one that lies among the similarities found here: see `group_table`."""


def build(tasks: dict[str, Task]) -> SharedBackbone:
    return SharedBackbone(backbones.resnet18(width=0.25, in_channels=1, norm=group_norm), tasks, heads.linear())


SETTING = Setting(datasets.domains, build, epochs=20, batch=16, lr=0.01, tau_sims=TAU_SIMS, taus=(0.25, 0.5))


def train(folder: Path, **key: Any) -> dict[str, Any]:
    return SETTING.row(folder, **key)


STUDY = Study(
    key=KEY,
    trainings=trainings(),
    train=train,
    seconds=350,
    tiny={
        "method": "dmo",
        "seed": 0,
        "epochs": 3,
        "batch": 100,
        "tasks": ("devanagari", "georgian"),
    },
    tables={
        "domains": lambda rows: main_table(rows, TAU_SIMS),
        "domains-groups": lambda rows: group_table(rows, TAU_SIMS),
        "domains-tau": lambda rows: tau_table(rows, TAU_SIMS[-1]),
    },
    pictures={
        "domains_accuracy": lambda rows: accuracy_picture(rows, TAU_SIMS[-1]),
        "domains_tau": lambda rows: tau_picture(rows, TAU_SIMS[-1]),
    },
)
