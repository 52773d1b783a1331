"""A planted truth: on images of `shapes`, a task that a pixel alone decides beside one that lies four columns away.

Easy: is this pixel brighter than the image's median? Hard: is the pixel four columns to its left? A stem of 3×3 sees one column
away, and so does each layer: the hard task needs three layers one after the other, the easy one none, and should get the
shallower graph. A seed in which a task misses the accuracy of its single-task network by more than 2 points, or in which α or β
of a task has not moved, counts as a failure: an untrained task has depth 1, too.
"""

import warnings
from pathlib import Path
from typing import Any

import torch
from rows import Rows, mean_and_deviation
from study import Study
from topologies import baseline
from torch import nn

import dagmtl
import mtl_core
from dagmtl import CentralNetwork, State
from mtl_core import MultiTaskData, Run, Task
from mtl_core.datasets import arrays
from mtl_core.datasets.shapes import Shapes
from mtl_core.task import segmentation

EASY, HARD, AWAY = "here", "there", 4
NAMES = {EASY: "this pixel (easy)", HARD: "four columns away (hard)"}
CHANNELS, STATES = 16, 6
SIZE, SEEDS, MISS = (24, 32), range(10), 0.02
WARM, SEARCH, TUNE, LR, UPPER_LR = 4, 10, 40, 3e-3, 0.02


def space(tasks: dict[str, Task], flow: int | None) -> CentralNetwork:
    states = [State(CHANNELS)] * STATES
    return CentralNetwork(dagmtl.stem(3, CHANNELS), states, flow, tasks, lambda c, task: nn.Conv2d(c, task.channels, 1))


def data(seed: int, scenes: int) -> MultiTaskData:
    """Brighter than the image's median, or not: here, and four columns to the left, where there is such a pixel."""
    parts = {}
    for part, (name, count) in enumerate([("train", scenes), ("test", scenes // 2)]):
        images, _ = Shapes(("segmentation",), part, count, SIZE, seed).batch(torch.arange(count))
        grey = images.mean(1)
        here = (grey > grey.flatten(1).median(1).values[:, None, None]).long()
        there = torch.full_like(here, 255)  # not labelled
        there[:, :, AWAY:] = here[:, :, :-AWAY]
        parts[name] = arrays(images, {EASY: here, HARD: there})
    return MultiTaskData([segmentation(EASY, 2), segmentation(HARD, 2)], parts["train"], test=parts["test"])


def train(folder: Path, *, seed: int, epochs: int = 0, scenes: int = 256) -> dict[str, Any]:
    made, run = data(seed, scenes), Run(folder, seed=seed, progress=False)
    warm, search, tune = (epochs, epochs, epochs) if epochs else (WARM, SEARCH, TUNE)
    config = dagmtl.Config(
        flow=2, warmup_epochs=warm, search_epochs=search, epochs=tune, lr=LR, upper_lr=UPPER_LR, batch_size=16
    )
    with warnings.catch_warnings(record=True) as caught:  # of α and β that did not move: counted below
        warnings.simplefilter("always")
        result = dagmtl.fit(space, made, config, run.child("dagmtl"))
    single, _ = baseline(space, made, config, run.child("single"), single=True)
    ours, alone = (mtl_core.evaluate(model, made.test) for model in (result.model, single))
    found: dict[str, Any] = {"moved": not any("did not move" in str(one.message) for one in caught)}
    for task in NAMES:
        found |= {f"depth.{task}": result.report.topology[task]["depth"]}
        found |= {f"layers.{task}": len(result.report.paths[task]["layers"])}
        found |= {
            f"{name}.{task}": figures[task]["pixel_accuracy"]
            for name, figures in (("accuracy", ours), ("single", alone))
        }
    return found


def succeeds(row: dict[str, str]) -> bool:
    """The easy task is shallower, and neither task has paid for it."""
    held = all(float(row[f"accuracy.{t}"]) >= float(row[f"single.{t}"]) - MISS for t in NAMES)
    return held and row["moved"] == "True" and int(row[f"depth.{EASY}"]) < int(row[f"depth.{HARD}"])


def table(rows: Rows) -> str:
    """Depth, layers and accuracy of both tasks, and in how many seeds the truth was found."""
    every = list(rows)
    lines = ["| task | depth | layers | accuracy, % | alone, % |", "|---" * 5 + "|"]
    for task, name in NAMES.items():
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
