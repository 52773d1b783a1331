"""A planted truth: the same ten-class task three times, with heads of width 512, 128 and 32, held at 85 % zeros overall.

The wide head has most to spare, so the wider a head, the sparser it should end.
"""

from pathlib import Path

import torch
from pruned import Repeated
from rows import Rows, mean_and_deviation
from study import Study
from torch import nn

import adapmtl
from mtl_core import MultiTaskData, Run, SharedBackbone, Task
from mtl_core.task import classification

WIDTHS = {"wide": 512, "middle": 128, "narrow": 32}
SEEDS = range(10)


def build(tasks: dict[str, Task]) -> SharedBackbone:
    backbone = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.ReLU(), nn.Flatten())

    def head(channels: int, task: Task) -> nn.Module:
        width = WIDTHS[task.name]
        return nn.Sequential(nn.Linear(channels, width), nn.ReLU(), nn.Linear(width, task.channels))

    return SharedBackbone(backbone, tasks, head, example=torch.zeros(1, 1, 8, 8))


def train(folder: Path, *, seed: int, epochs: int = 12) -> dict[str, float]:
    data = MultiTaskData([classification(name, 10) for name in WIDTHS], Repeated(tuple(WIDTHS)))
    config = adapmtl.Config(sparsity=0.85, epochs=epochs)
    found = adapmtl.fit(build, data, config, Run(folder, seed=seed, progress=False)).report.sparsity
    return {**{name: found[f"head.{name}"] for name in WIDTHS}, "overall": found["overall"]}


def table(rows: Rows) -> str:
    """The share of zeros in each head, and in how many seeds the order was found."""
    found = sum(float(row["wide"]) > float(row["middle"]) > float(row["narrow"]) for row in rows)
    cells = [mean_and_deviation([float(row[name]) for row in rows], 3) for name in WIDTHS]
    return "\n".join(
        [
            f"| zeros, head of width {' | of width '.join(map(str, WIDTHS.values()))} | the wider, the sparser |",
            "|---|---|---|---|",
            f"| {' | '.join(cells)} | {found} of {len(rows)} seeds |",
        ]
    )


STUDY = Study(
    key=("seed",),
    trainings=[{"seed": seed} for seed in SEEDS],
    train=train,
    seconds=30,
    tiny={"seed": 0, "epochs": 1},
    tables={"planted": table},
)
