"""What a larger β does to the pruning of its head, under three optimizers of the weights.

Three heads on the digits, the ten-class task of the study `planted` with heads of equal width. All thresholds start at the level
of 30 % zeros and follow the loss; nothing is held. The first head's loss weighs 0.2, 1 or 5, the others' 1.
"""

from pathlib import Path

import torch
from pruned import Repeated
from rows import Rows, mean_and_deviation
from study import Study
from torch import nn

from adapmtl import Thresholded
from mtl_core import MultiTaskData, Run, SharedBackbone, Task, weighting
from mtl_core.task import classification

OPTIMIZERS = {
    "Adam, L2 decay 1e-3": lambda p, **o: torch.optim.Adam(p, lr=1e-3, weight_decay=1e-3, **o),
    "Adam, L2 decay 1e-4": lambda p, **o: torch.optim.Adam(p, lr=1e-3, weight_decay=1e-4, **o),
    "AdamW, decay 0.1": lambda p, **o: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.1, **o),
    "SGD, L2 decay 1e-4": lambda p, **o: torch.optim.SGD(p, lr=0.02, momentum=0.9, weight_decay=1e-4, **o),
}
BETAS = (0.2, 1.0, 5.0)
SEEDS = (0, 1, 2)
HEADS = ("first", "second", "third")
WIDTH, START = 128, 0.3


def build(tasks: dict[str, Task]) -> SharedBackbone:
    backbone = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.ReLU(), nn.Flatten())

    def head(channels: int, task: Task) -> nn.Module:
        return nn.Sequential(nn.Linear(channels, WIDTH), nn.ReLU(), nn.Linear(WIDTH, task.channels))

    return SharedBackbone(backbone, tasks, head, example=torch.zeros(1, 1, 8, 8))


def train(folder: Path, *, optimizer: str, beta: float, seed: int, epochs: int = 12) -> dict[str, float]:
    data, run = (
        MultiTaskData([classification(name, 10) for name in HEADS], Repeated(HEADS)),
        Run(folder, seed=seed, progress=False),
    )
    with run.seeded("model"):
        model = Thresholded(build(data.tasks))
    model.level(START)
    groups = [{"params": list(model.model.parameters())}, {"params": [model.u], "lr": 0.004, "weight_decay": 0.0}]
    made = OPTIMIZERS[optimizer](groups)
    weigh = weighting.Fixed({name: beta if name == HEADS[0] else 1.0 for name in HEADS})
    with run.phase("prune", model=model, optimizer=made) as phase:
        for batch in phase.batches(data.train, epochs=epochs, batch_size=16):
            losses = phase.losses(model, batch)
            phase.step(weigh(losses, phase.labelled), made)
    return model.sparsity()


def table(rows: Rows) -> str:
    """The share of zeros in the first head at each weight of its loss."""
    lines = [f"| | {' | '.join(f'β = {beta:g}' for beta in BETAS)} |", "|---" * (len(BETAS) + 1) + "|"]
    for optimizer in OPTIMIZERS:
        found = [rows.where(optimizer=optimizer, beta=beta) for beta in BETAS]
        cells = [
            mean_and_deviation([float(row[f"head.{HEADS[0]}"]) for row in several], 3) if several else ""
            for several in found
        ]
        lines.append(f"| {optimizer} | {' | '.join(cells)} |")
    return "\n".join(lines)


STUDY = Study(
    key=("optimizer", "beta", "seed"),
    trainings=[
        {"optimizer": optimizer, "beta": beta, "seed": seed}
        for optimizer in OPTIMIZERS
        for beta in BETAS
        for seed in SEEDS
    ],
    train=train,
    seconds=10,
    tiny={"optimizer": "AdamW, decay 0.1", "beta": 5.0, "seed": 0, "epochs": 1},
    tables={"beta": table},
)
