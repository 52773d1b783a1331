"""A planted truth: edges, which a pixel's neighbours tell, and depth, which needs the whole image.

The same network (four residual blocks at full resolution, each reading twice as far as the one before), the same strength and the
same number of steps for both. The task that needs less should leave less of the last block, and never a later layer.
"""

import warnings
from pathlib import Path

import torch
from rows import Rows, mean_and_deviation
from study import Study
from torch import Tensor, nn
from torch.nn.functional import relu

import lomt
from mtl_core import Run, SharedBackbone, Task, datasets
from mtl_core.backbones.residual import BasicBlock

TASKS = ("edges", "depth")
SIZE = (24, 32)
SEEDS = range(10)
LAMBDA, LR, EPOCHS, BATCH = 0.02, 3e-3, 10, 16


class Residual(nn.Module):
    """A stem and four blocks of 16 channels; dilations 1, 2, 4, 8, so that the last sees the whole image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.block1, self.block2, self.block3, self.block4 = (
            BasicBlock(16, 16, first=d, dilation=d) for d in (1, 2, 4, 8)
        )

    def forward(self, images: Tensor) -> Tensor:
        x = relu(self.norm(self.stem(images)))
        return self.block4(self.block3(self.block2(self.block1(x))))


def build(tasks: dict[str, Task]) -> SharedBackbone:
    return SharedBackbone(Residual(), tasks, lambda c, t: nn.Conv2d(c, t.channels, 1), example=torch.zeros(1, 3, *SIZE))


def train(folder: Path, *, seed: int, epochs: int = EPOCHS, scenes: int = 256) -> dict[str, object]:
    data = datasets.shapes(TASKS, size=SIZE, train=scenes, validation=32, test=0, seed=seed)
    config = lomt.Config(lambda_=LAMBDA, lr=LR, epochs=epochs, batch_size=BATCH)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Task `")  # of gaps before the last layer
        report = lomt.fit_sparse(build, data, config, Run(folder, seed=seed, progress=False)).report
    layers = ["block1", "block2", "block3", "block4"]
    names = [f"{layer}.conv{place}" for layer in layers for place in (1, 2)] + ["output"]
    found: dict[str, object] = {}
    for task in TASKS:
        pattern = report.sparsity[task]["pattern"]
        found[f"last.{task}"] = (pattern["block4.conv1"] + pattern["block4.conv2"]) / 2
        found[f"zeros.{task}"] = report.sparsity[task]["zero weights"]
        found[f"depth.{task}"] = names.index(report.layers[task]) + 1
    return found


def table(rows: Rows) -> str:
    """Share of groups left in the last block, and where the layer is (1 to 8; 9: the output)."""
    pairs = [(float(row["last.edges"]), float(row["last.depth"])) for row in rows]
    layers = [(int(row["depth.edges"]), int(row["depth.depth"])) for row in rows]
    smaller, earlier = sum(a < b for a, b in pairs), sum(a < b for a, b in layers)
    later, count = sum(a > b for a, b in layers), len(rows)
    return "\n".join(
        [
            "| | edges | depth | edges below depth |",
            "|---|---|---|---|",
            f"| channels left in the last block | {mean_and_deviation([a for a, _ in pairs], 2)} "
            f"| {mean_and_deviation([b for _, b in pairs], 2)} | {smaller} of {count} seeds |",
            f"| layer, 1 to 8, 9 the output | {mean_and_deviation([a for a, _ in layers])} "
            f"| {mean_and_deviation([b for _, b in layers])} | earlier in {earlier}, later in {later} of {count} seeds |",
        ]
    )


STUDY = Study(
    key=("seed",),
    trainings=[{"seed": seed} for seed in SEEDS],
    train=train,
    seconds=30,
    tiny={"seed": 0, "epochs": 1, "scenes": 32},
    tables={"planted": table},
)
