"""A planted truth: on scenes of `shapes`, whether the image is rather red, which the mean colour tells, beside its segmentation.

Six states that grow in channels and stride, from a stem that sees single pixels. The easy task should get the shallower graph. A
seed in which a task misses the accuracy of its single-task network by more than 2 points, or in which α or β of a task has not
moved, counts as a failure: an untrained task has depth 1, too.
"""

import warnings
from pathlib import Path
from typing import Any

import torch
from rows import Rows, mean_and_deviation
from study import Study
from topologies import shared_bottom
from torch import nn

import dagmtl
import mtl_core
from dagmtl import CentralNetwork, State
from mtl_core import MultiTaskData, Run, Task, heads
from mtl_core.datasets import arrays
from mtl_core.datasets.shapes import Shapes
from mtl_core.task import attribute, segmentation

EASY, HARD = "red", "things"
METRICS = {EASY: "accuracy", HARD: "pixel_accuracy"}
STATES = [State(8), State(16, 2), State(24, 2), State(32, 4), State(32, 4), State(32, 4)]
SIZE, SEEDS, MISS = (24, 32), range(10), 0.02
WARM, SEARCH, TUNE, LR, UPPER_LR = 4, 10, 10, 3e-3, 0.03


def space(tasks: dict[str, Task], flow: int | None) -> CentralNetwork:
    head = heads.by_kind(dense=lambda c, task: nn.Conv2d(c, task.channels, 1), other=heads.linear())
    return CentralNetwork(dagmtl.stem(3, 8, kernel=1), STATES, flow, tasks, head)


def data(seed: int, scenes: int) -> MultiTaskData:
    """Above the training part's median, or not; and what each pixel shows."""
    parts, median = {}, torch.tensor(0.0)
    for part, (name, count) in enumerate([("train", scenes), ("test", scenes // 2)]):
        images, maps = Shapes(("segmentation",), part, count, SIZE, seed).batch(torch.arange(count))
        red = (images[:, 0] - images[:, 2]).mean((1, 2))
        median = red.median() if part == 0 else median
        parts[name] = arrays(images, {EASY: (red > median).float(), HARD: maps["segmentation"]})
    return MultiTaskData([attribute(EASY), segmentation(HARD, 5)], parts["train"], test=parts["test"])


def train(folder: Path, *, seed: int, epochs: int = 0, scenes: int = 512) -> dict[str, Any]:
    made, run = data(seed, scenes), Run(folder, seed=seed, progress=False)
    warm, search, tune = (epochs, epochs, epochs) if epochs else (WARM, SEARCH, TUNE)
    config = dagmtl.Config(
        flow=3, warmup_epochs=warm, search_epochs=search, epochs=tune, lr=LR, upper_lr=UPPER_LR, batch_size=16
    )
    with warnings.catch_warnings(record=True) as caught:  # of α and β that did not move: counted below
        warnings.simplefilter("always")
        result = dagmtl.fit(space, made, config, run.child("dagmtl"))
    plain = mtl_core.Config(epochs=warm + search + tune, lr=LR)
    single = mtl_core.fit_single_tasks(shared_bottom(space), made, plain, run.child("single")).model
    ours, alone = (mtl_core.evaluate(model, made.test) for model in (result.model, single))
    found: dict[str, Any] = {"moved": not any("did not move" in str(one.message) for one in caught)}
    for task, metric in METRICS.items():
        found |= {f"depth.{task}": result.report.topology[task]["depth"]}
        found |= {f"layers.{task}": len(result.report.paths[task]["layers"])}
        found |= {f"accuracy.{task}": ours[task][metric], f"single.{task}": alone[task][metric]}
    return found


def succeeds(row: dict[str, str]) -> bool:
    """The easy task is shallower, and neither task has paid for it."""
    held = all(float(row[f"accuracy.{t}"]) >= float(row[f"single.{t}"]) - MISS for t in METRICS)
    return held and row["moved"] == "True" and int(row[f"depth.{EASY}"]) < int(row[f"depth.{HARD}"])


def table(rows: Rows) -> str:
    """Depth, layers and accuracy of both tasks, and in how many seeds the truth was found."""
    every = list(rows)
    lines = ["| task | depth | layers | accuracy, % | alone, % |", "|---" * 5 + "|"]
    for task, name in ((EASY, "rather red? (easy)"), (HARD, "segmentation (hard)")):
        cells = [mean_and_deviation([float(row[f"{c}.{task}"]) for row in every]) for c in ("depth", "layers")]
        cells += [
            mean_and_deviation([100 * float(row[f"{c}.{task}"]) for row in every]) for c in ("accuracy", "single")
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    shallower = sum(int(row[f"depth.{EASY}"]) < int(row[f"depth.{HARD}"]) for row in every)
    lines += [
        "",
        f"The easy task has the shallower graph in {shallower} of {len(every)} seeds; in {sum(map(succeeds, every))}",
    ]
    lines[-1] += " of them both tasks are within 2 points of their single-task networks and all of α and β have moved."
    return "\n".join(lines)


STUDY = Study(
    key=("seed",),
    trainings=[{"seed": seed} for seed in SEEDS],
    train=train,
    seconds=90,
    tiny={"seed": 0, "epochs": 1, "scenes": 32},
    tables={"planted": table},
)
