"""Sparsity and metric of single-task networks against ten values of λ (Figure 5), on `rooms`.

The paper's grid goes from 1e-4 to 1e-3; what λ does hangs on the loss, the optimizer and the number of steps, so ours is where
something happens here: equally far apart on a logarithmic scale, too.
"""

import json
from pathlib import Path

import torch
from rows import Rows
from study import Study

import lomt
import mtl_core
from lomt.plots import lambda_figure
from mtl_core import Run, SharedBackbone, backbones, datasets, heads
from mtl_core.plots import canvas

TASKS = ("segmentation", "depth", "edges")
LAMBDAS = tuple(float(f"{10 ** (-4 + 2.5 * place / 9):.2g}") for place in range(10))
LR, EPOCHS, BATCH = 1e-3, 19, 16


def build(tasks: dict[str, mtl_core.Task]) -> SharedBackbone:
    head = heads.aspp(width=64, rates=(1, 2, 3))
    return SharedBackbone(
        backbones.resnet10(width=0.25, output_stride=8), tasks, head, example=torch.zeros(1, 3, 48, 64)
    )


def train(folder: Path, *, task: str, lambda_: float, epochs: int = EPOCHS) -> dict[str, object]:
    config = lomt.Config(lr=LR, epochs=epochs, batch_size=BATCH)
    run = Run(folder, seed=0, progress=False)
    (row,) = lomt.lambda_grid(build, datasets.rooms((task,)), config, run, [lambda_]).grid
    layer = "none" if row["empty"] else row["layer"] or "output"
    found = {
        "zero groups": row["zero groups"],
        "zero weights": row["zero weights"],
        "loss": row["loss"],
        "layer": layer,
    }
    return {**found, "metrics": json.dumps(row["metrics"])}


def picture(rows: Rows):
    grid = [
        {
            "lambda": float(row["lambda_"]),
            "task": row["task"],
            "zero weights": float(row["zero weights"]),
            "loss": float(row["loss"]),
            "metrics": json.loads(row["metrics"]),
        }
        for row in rows
    ]
    return lambda_figure(grid) if grid else canvas()[0]


def table(rows: Rows) -> str:
    """Zero weights, layer and loss on the validation part for each value."""
    lines = ["| λ | " + " | ".join(f"{task}: zero weights, layer, loss" for task in TASKS) + " |", "|---" * 4 + "|"]
    for value in LAMBDAS:
        found = [rows.find(task=task, lambda_=value) for task in TASKS]
        cells = [
            f"{100 * float(r['zero weights']):.0f} %, {r['layer']}, {float(r['loss']):.3f}" if r else "" for r in found
        ]
        lines.append(f"| {value:g} | {' | '.join(cells)} |")
    return "\n".join(lines)


STUDY = Study(
    key=("task", "lambda_"),
    trainings=[{"task": task, "lambda_": value} for task in TASKS for value in LAMBDAS],
    train=train,
    seconds=35,
    tiny={"task": "depth", "lambda_": 0.001, "epochs": 1},
    tables={"grid": table},
    pictures={"against_lambda": picture},
)
