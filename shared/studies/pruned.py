"""Trainings that AdapMTL's studies compare: a model pruned by some rule, and the dense one trained for as many steps.

Data are `rooms`; every model's batch norms are estimated anew at the end, and a figure is of the test part.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from rows import Rows, mean_and_deviation
from torch import Tensor, nn

import adapmtl
import mtl_core
from adapmtl.components import prunable
from adapmtl.level import asked_sparsity
from adapmtl.sensitivity import prune_smallest
from mtl_core import MultiTaskData, Run, SharedBackbone, backbones, datasets, heads
from mtl_core.metrics import Delta

THREE = ("segmentation", "depth", "normals")
FIVE = (*THREE, "keypoints", "edges")
BATCH = 16


def build(tasks: dict[str, mtl_core.Task]) -> SharedBackbone:
    """The network on which rules are compared: ResNet-10 of a quarter's width, heads of 64 channels."""
    return SharedBackbone(backbones.resnet10(width=0.25, output_stride=8), tasks, heads.aspp(width=64, rates=(1, 2, 3)))


@dataclass(frozen=True)
class Trained:
    """A model, and what its training has found.

    Args:
        model: The model, pruned or dense.
        found: Columns of its row.
    """

    model: nn.Module
    found: dict[str, Any]


def dense(folder: Path, build: mtl_core.Build, data: MultiTaskData, *, seed: int, epochs: int) -> Trained:
    """Train without pruning."""
    config = mtl_core.Config(epochs=epochs, batch_size=BATCH)
    model = mtl_core.fit(build, data, config, Run(folder, seed=seed, progress=False)).model
    return measured(model, data, seed, {})


def adaptive(
    folder: Path, build: mtl_core.Build, data: MultiTaskData, *, seed: int, epochs: int, sparsity: float, **options: Any
) -> Trained:
    """Train by AdapMTL; `options` are its configuration's."""
    config = adapmtl.Config(sparsity=sparsity, epochs=epochs, batch_size=BATCH, **options)
    result = adapmtl.fit(build, data, config, Run(folder, seed=seed, progress=False))
    learned = {f"u.{name}": values["u"] for name, values in result.report.thresholds.items()}
    curves = result.report.phases["prune"]["curves"]
    zeros = {
        name: [round(v, 4) for v in values[:: max(1, len(values) // 100)]]
        for name, values in curves.items()
        if name.startswith("sparsity.")
    }
    return measured(result.model, data, seed, {**learned, "curves": json.dumps(zeros)})


def magnitude(
    folder: Path, build: mtl_core.Build, data: MultiTaskData, *, seed: int, epochs: int, sparsity: float
) -> Trained:
    """Train with gradual magnitude pruning: one hard threshold for all weights, on AdapMTL's schedule."""
    models: list[nn.Module] = []

    def remembered(tasks: Any) -> nn.Module:
        models.append(build(tasks))
        return models[-1]

    steps = epochs * data.train.steps(BATCH)

    def optimizer(parameters: Any, **options: Any) -> Any:
        return Magnitude(mtl_core.Config().optimizer(parameters, **options), models[-1], sparsity, steps)

    config = mtl_core.Config(epochs=epochs, batch_size=BATCH, optimizer=optimizer)
    model = mtl_core.fit(remembered, data, config, Run(folder, seed=seed, progress=False)).model
    return measured(model, data, seed, {})


class Magnitude:
    """An optimizer that prunes: every ten steps the smallest weights of the whole model become zero, and zeros stay.

    Args:
        optimizer: Makes the steps.
        model: What is pruned.
        asked: Share of zeros at the end.
        steps: Steps of the training.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, model: nn.Module, asked: float, steps: int) -> None:
        self.optimizer, self.model, self.asked, self.steps, self.done = optimizer, model, asked, steps, 0
        self.param_groups = optimizer.param_groups
        self.zero_grad = optimizer.zero_grad

    @torch.no_grad()
    def step(self) -> None:
        """The optimizer's step, zeros put back, and from time to time more of them."""
        names = list(prunable(self.model))
        zeros = [self.model.get_parameter(name) == 0 for name in names]
        self.optimizer.step()
        for name, zero in zip(names, zeros, strict=True):
            self.model.get_parameter(name).masked_fill_(zero, 0.0)
        self.done += 1
        if self.done % 10 == 0 or self.done == self.steps:
            prune_smallest(self.model, names, asked_sparsity(self.asked, self.done / self.steps))

    def settings(self) -> dict[str, Any]:
        """What a stored training is recognised by."""
        return {"asked": self.asked, "steps": self.steps}

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state and the steps done; the zeros are in the model."""
        return {"optimizer": self.optimizer.state_dict(), "done": self.done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a `state_dict`."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.done = int(state["done"])


def measured(model: nn.Module, data: MultiTaskData, seed: int, found: dict[str, Any]) -> Trained:
    mtl_core.estimate_norms(model.train(), data.train, batch_size=BATCH, seed=seed)
    return Trained(model.eval(), {**figures(model.eval(), data), **found})


def figures(model: nn.Module, data: MultiTaskData) -> dict[str, float]:
    """Test metrics as `task.metric`, shares of zeros as `zeros.component`."""
    found = mtl_core.evaluate(model, data.test)
    metrics = {f"{task}.{metric}": value for task, ours in found.items() for metric, value in ours.items()}
    return metrics | {f"zeros.{component}": share for component, share in adapmtl.sparsity(model).items()}


def figures_of(row: dict[str, str], tasks: Iterable[str] = THREE) -> dict[str, dict[str, float]]:
    """The metrics of a row by task, as `mtl_core.evaluate` gave them."""
    return {
        task: {k.partition(".")[2]: float(v) for k, v in row.items() if k.startswith(f"{task}.") and v}
        for task in tasks
    }


def gain(row: dict[str, str], baseline: dict[str, str], tasks: Sequence[str] = THREE, **options: Any) -> Delta:
    """Δ of a row against another, in percent."""
    return mtl_core.delta(figures_of(row, tasks), figures_of(baseline, tasks), tasks_of(tuple(tasks)), **options)


@cache  # a table needs them for every cell, and they come with all of their images
def tasks_of(names: tuple[str, ...]) -> dict[str, mtl_core.Task]:
    return datasets.rooms(names).tasks


Pair = tuple[dict[str, str], dict[str, str]]
"""A row and the dense row of the same seed."""


def pairs(
    rows: Rows, seeds: Iterable[int], ours: Callable[[int], dict[str, Any]], theirs: dict[str, Any]
) -> list[Pair]:
    """The rows of some seeds, each beside the dense one, as far as both are there."""
    found = [(rows.find(**ours(seed), seed=seed), rows.find(**theirs, seed=seed)) for seed in seeds]
    return [(mine, other) for mine, other in found if mine and other]


def gain_cell(found: Sequence[Pair], **options: Any) -> str:
    """Mean and deviation of Δ over seeds, as a cell."""
    return mean_and_deviation([gain(mine, other, **options).overall for mine, other in found]) if found else ""


def zeros_cells(found: Sequence[Pair], components: Sequence[str]) -> list[str]:
    """Share of zeros of each component in percent, and what its threshold has learned where it has one of its own."""
    cells = []
    for component in components:
        share = sum(100 * float(mine[f"zeros.{component}"]) for mine, _ in found) / max(1, len(found))
        learned = [float(mine[f"u.{component}"]) for mine, _ in found if mine.get(f"u.{component}")]
        u = f" ({sum(learned) / len(learned):+.2f})".replace("-", "−") if learned else ""
        cells.append(f"{share:.1f}{u}" if found else "")
    return cells


class Repeated:
    """The digits, with their label given to each of some tasks.

    Args:
        tasks: Names of the tasks.
    """

    def __init__(self, tasks: tuple[str, ...]) -> None:
        self.tasks = tasks
        self._digits = datasets.digits().train.sources[0].data

    def __len__(self) -> int:
        return len(self._digits)

    def batch(self, indices: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Inputs and targets of some samples."""
        inputs, targets = self._digits.batch(indices)
        (label,) = targets.values()
        return inputs, dict.fromkeys(self.tasks, label)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        inputs, targets = self.batch(torch.tensor([index]))
        return inputs[0], {name: target[0] for name, target in targets.items()}


def sample(values: Tensor | Sequence[float], digits: int = 4) -> list[float]:
    """Numbers of a row, rounded."""
    return [round(float(value), digits) for value in values]
