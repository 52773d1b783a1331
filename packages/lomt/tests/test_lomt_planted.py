"""A planted truth, one seed of `shared/studies/lomt/planted.py` in small: edges need less of a network than depth."""

import warnings

import torch
from torch import nn
from torch.nn.functional import relu

import lomt
from mtl_core import Run, SharedBackbone, datasets
from mtl_core.backbones.residual import BasicBlock

SIZE = (16, 24)


class Residual(nn.Module):
    """Four blocks at full resolution, each reading twice as far as the one before."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)
        self.block1, self.block2, self.block3, self.block4 = (
            BasicBlock(12, 12, first=d, dilation=d) for d in (1, 2, 4, 8)
        )

    def forward(self, x):
        return self.block4(self.block3(self.block2(self.block1(relu(self.norm(self.stem(x)))))))


def build(tasks):
    return SharedBackbone(Residual(), tasks, lambda c, t: nn.Conv2d(c, t.channels, 1), example=torch.zeros(1, 3, *SIZE))


def test_the_task_that_needs_only_its_neighbours_leaves_less_of_the_last_block() -> None:
    """Edges are told by a pixel's neighbours, depth by the whole image; network, λ and steps are the same."""
    data = datasets.shapes(("edges", "depth"), size=SIZE, train=64, validation=0, test=0, seed=0)
    config = lomt.Config(lambda_=0.02, lr=3e-3, epochs=10)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Task `")
        report = lomt.fit_sparse(build, data, config, Run(seed=0, progress=False)).report
    left = {
        task: sum(v for k, v in found["pattern"].items() if "block4" in k) for task, found in report.sparsity.items()
    }
    assert left["edges"] < left["depth"]
    names = [f"block{block}.conv{place}" for block in (1, 2, 3, 4) for place in (1, 2)] + ["output"]
    assert names.index(report.layers["edges"]) <= names.index(report.layers["depth"])
