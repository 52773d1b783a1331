"""Parameter sparsity over training with 1/8, 1/4, 1/2 and all of the training images (Figure 4); the task is edges.

With the same number of passes, as in the paper, a smaller set also means fewer steps, and it is steps that shrink weights. So
each share is trained a second time, for as many steps as all images give.
"""

import warnings
from pathlib import Path

import torch
from rows import Rows
from study import Study
from torch.utils.data import Subset

import lomt
import mtl_core
from lomt.plots import sparsity_by_size
from mtl_core import MultiTaskData, Run, SharedBackbone, backbones, datasets, heads

SHARES = {"1/8": 8, "1/4": 4, "1/2": 2, "all": 1}
LENGTHS = ("passes", "steps")
LAMBDA, LR, EPOCHS, BATCH = 0.001, 1e-3, 38, 16


def build(tasks: dict[str, mtl_core.Task]) -> SharedBackbone:
    head = heads.aspp(width=64, rates=(1, 2, 3))
    return SharedBackbone(
        backbones.resnet10(width=0.25, output_stride=8), tasks, head, example=torch.zeros(1, 3, 48, 64)
    )


def train(folder: Path, *, share: str, equal: str, epochs: int = EPOCHS) -> dict[str, object]:
    whole = datasets.rooms(("edges",))
    images, parts = len(whole.train.sources[0]), SHARES[share]
    few = Subset(whole.train.sources[0].data, range(0, images - images % parts, parts))
    data = MultiTaskData(whole.tasks, few)
    if equal == "steps":
        epochs = epochs * whole.train.steps(BATCH) // data.train.steps(BATCH)
    config = lomt.Config(lambda_=LAMBDA, lr=LR, epochs=epochs, batch_size=BATCH)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Task `")  # of gaps before the last layer, which do not matter here
        result = lomt.fit_sparse(build, data, config, Run(folder, seed=0, progress=False))
    (phase,) = result.report.phases.values()
    curve = [f"{value:.4f}" for value in phase["curves"]["zero weights"]]
    (model,) = result.model.groups.values()
    error = mtl_core.evaluate(model, whole.test)["edges"]
    return {"images": len(few), "steps": phase["steps"], "zeros": curve[-1], "curve": " ".join(curve), **error}


def table(rows: Rows) -> str:
    """Share of zero weights at the end."""
    lines = ["| training images | " + " | ".join(f"zero weights, equal {e}" for e in LENGTHS) + " |", "|---|---|---|"]
    for share in SHARES:
        found = [rows.find(share=share, equal=equal) for equal in LENGTHS]
        shown = [f"{100 * float(row['zeros']):.1f} % ({row['steps']} steps)" if row else "" for row in found]
        images = next((row["images"] for row in found if row), "")
        lines.append(f"| {images} ({share}) | {' | '.join(shown)} |")
    return "\n".join(lines)


def picture(equal: str, across: str):
    def make(rows: Rows):
        found = {share: rows.find(share=share, equal=equal) for share in SHARES}
        curves = {f"{share} of the images": [float(v) for v in r["curve"].split()] for share, r in found.items() if r}
        return sparsity_by_size(curves or {"": [0.0]}, across)

    return make


STUDY = Study(
    key=("share", "equal"),
    trainings=[{"share": share, "equal": equal} for share in SHARES for equal in LENGTHS],
    train=train,
    seconds=60,
    tiny={"share": "1/8", "equal": "passes", "epochs": 1},
    tables={"size": table},
    pictures={"size_passes": picture("passes", "pass"), "size_steps": picture("steps", "pass of all images")},
)
