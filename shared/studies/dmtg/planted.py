"""A planted truth: nine tasks on scenes of `shapes` in three families, K = 3, and networks too narrow for two families.

A family asks on which side of three quantiles one quantity of the image lies: how red it is, which half is the brighter one,
how much of it things cover. Features of two numbers are room for one family and a part of another. Trained: the families given
and random groups (the control), DMTG, and the annealed assignment beside it.

Agreement is the share of pairs of tasks that a grouping treats as the families do, together or apart; chance is its mean over
1,000 random groupings of the same sizes.
"""

import itertools
import random
from pathlib import Path
from typing import Any

import torch
from groupings import Groups, Setting, grouping_of, written
from rows import Rows, mean_and_deviation
from shape_attributes import SIZE, families
from study import Study
from torch import nn

import dmtg
import mtl_core
from mtl_core import SharedBackbone, Task

FAMILIES = ("red", "side", "things")
QUANTILES = (0.25, 0.5, 0.75)
SEEDS, ANNEALED = range(10), range(5)
EPOCHS = 30
"""960 steps."""


def data(seed: int, scenes: int = 512) -> mtl_core.MultiTaskData:
    return families(FAMILIES, QUANTILES, train=scenes, test=scenes // 2, seed=seed)


def build(tasks: dict[str, Task]) -> SharedBackbone:
    backbone = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d((1, 2)),
        nn.Flatten(),
        nn.Linear(32, 2),
    )
    return SharedBackbone(backbone, tasks, lambda c, t: nn.Linear(c, 1), example=torch.zeros(1, 3, *SIZE))


def family_of(task: str) -> str:
    return task.rstrip("0123456789")


def agreement(groups: Groups) -> float:
    """Share of pairs that are together or apart as the families have them."""
    pairs = list(itertools.combinations([(j, family_of(name)) for j, group in enumerate(groups) for name in group], 2))
    return sum((a[0] == b[0]) == (a[1] == b[1]) for a, b in pairs) / len(pairs)


def by_chance(groups: Groups, draws: int = 1000) -> float:
    """Mean agreement of random groupings of the same sizes."""
    names, rng, whole = [name for group in groups for name in group], random.Random(0), 0.0
    for _ in range(draws):
        rest = iter(rng.sample(names, len(names)))
        whole += agreement([list(itertools.islice(rest, len(group))) for group in groups])
    return whole / draws


def train(folder: Path, *, method: str, seed: int, epochs: int = EPOCHS, scenes: int = 512) -> dict[str, Any]:
    setting = Setting(lambda seed: data(seed, scenes), build, lr=3e-3)
    given = [[f"{family}{i}" for i in range(len(QUANTILES))] for family in FAMILIES]
    model = setting.train(folder, method=method, groups=len(FAMILIES), seed=seed, epochs=epochs, found=given)
    groups = grouping_of(model)
    return {
        "found": written(groups),
        "total_loss": dmtg.total_loss(list(mtl_core.mean_losses(model, setting.data(seed).test).values())),
        "agreement": agreement(groups),
        "chance": by_chance(groups),
    }


def table(rows: Rows) -> str:
    """Total test loss, agreement, how often it is above chance, exact recoveries."""
    lines = ["| K = 3 | total loss ↓ | below random groups | agreement ↑ | by chance | above chance | exact |"]
    lines.append("|---|---|---|---|---|---|---|")
    rival = {row["seed"]: float(row["total_loss"]) for row in rows.where(method="random")}
    words = {"families": "the families, given", "random": "random groups"}
    words |= {"dmtg": "DMTG", "annealed": "annealed assignment"}
    for method, seeds in [
        ("families", SEEDS),
        ("random", SEEDS),
        ("dmtg", SEEDS),
        ("dmtg", ANNEALED),
        ("annealed", ANNEALED),
    ]:
        kept = {str(seed) for seed in seeds}
        mine = [row for row in rows.where(method=method) if row["seed"] in kept]
        if not mine:
            continue
        numbers = {name: [float(row[name]) for row in mine] for name in ("total_loss", "agreement", "chance")}
        pairs = list(zip(numbers["agreement"], numbers["chance"], strict=True))
        better = sum(float(row["total_loss"]) < rival.get(row["seed"], 0.0) for row in mine)
        cells = [
            mean_and_deviation(numbers["total_loss"], 2),
            "" if method == "random" else f"{better} of {len(mine)}",
            mean_and_deviation(numbers["agreement"], 2),
            mean_and_deviation([sum(numbers["chance"]) / len(mine)], 2),
            f"{sum(found > chance for found, chance in pairs)} of {len(mine)}",
            f"{sum(found == 1 for found, _ in pairs)} of {len(mine)}",
        ]
        lines.append(f"| {words[method]}, {len(mine)} seeds | {' | '.join(cells)} |")
    return "\n".join(lines)


STUDY = Study(
    key=("method", "seed"),
    trainings=[
        *({"method": method, "seed": seed} for seed in SEEDS for method in ("families", "random", "dmtg")),
        *({"method": "annealed", "seed": seed} for seed in ANNEALED),
    ],
    train=train,
    seconds=15,
    tiny={"method": "dmtg", "seed": 0, "epochs": 1, "scenes": 32},
    tables={"planted": table},
)
