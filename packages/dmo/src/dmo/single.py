r"""Stage 1: a network of its own for each task, all from the same initial weights.

From different ones the weights of two networks would not correlate, whatever their tasks are.

Choi, Jin, Kim, *Task-Aware Dynamic Model Optimization for Multi-Task Learning*, Section III-A.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dmo.backbones import copy_backbone
from dmo.config import Config
from mtl_core import Builder, MultiTaskData, Run, sample_losses, weighting
from mtl_core.data import Split
from mtl_core.phase import Phase


@dataclass(frozen=True)
class Single:
    """A task's own network, and what its training showed.

    Attributes:
        model: The network.
        curve: Mean training loss of each epoch.
        losses: The loss of each labelled training sample in the end: evaluation mode, no augmentation.
    """

    model: nn.Module
    curve: list[float]
    losses: Tensor


def train_singles(builder: Builder, data: MultiTaskData, config: Config, run: Run) -> dict[str, Single]:
    """Train each task alone; several ranks share the tasks out.

    Args:
        builder: The architecture.
        data: Tasks and sources.
        config: How to train.
        run: The method's run.

    Raises:
        ValueError: If `build` gives different backbones.
    """
    names = sorted(data.tasks)
    with run.seeded("start"):
        start = run.place(builder({names[0]: data.tasks[names[0]]}))
    return run.spread(names, lambda name, child: _train(builder, start, name, data, config, child))


def _train(builder: Builder, start: nn.Module, name: str, data: MultiTaskData, config: Config, run: Run) -> Single:
    mine = data.select([name])
    with run.seeded("single", name):
        model = run.place(builder(mine.tasks))
    copy_backbone(start, model)  # whatever `build` draws before the backbone
    measured = _Losses()
    optimizer, rates = sgd(model, config)
    with run.phase("single", model=model, optimizer=optimizer, state=[rates, measured]) as phase:
        train(phase, model, mine.train, config, optimizer, rates)
        if not phase.finished:
            # Kept with the weights: measured anew after a stop they could differ in a bit, and with it the difficulty.
            measured.values = sample_losses(model, mine.train, mine.tasks[name])
    return Single(model, phase.history[name], measured.values)


def sgd(model: nn.Module, config: Config) -> tuple[torch.optim.Optimizer, Any]:
    """SGD with momentum whose learning rate falls along half a cosine, epoch by epoch."""
    # Not fused: torch's fused kernel fails where a parameter gets its first gradient after the others.
    optimizer = torch.optim.SGD(model.parameters(), config.lr, config.momentum, weight_decay=config.weight_decay)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.epochs)


def train(
    phase: Phase, model: nn.Module, split: Split, config: Config, optimizer: torch.optim.Optimizer, rates: Any
) -> None:
    """The steps of a phase: the sum of the tasks' losses, one batch of each source."""
    for batch in phase.batches(split, epochs=config.epochs, batch_size=config.batch_size):
        losses = phase.losses(model, batch)
        phase.step(weighting.equal(losses, phase.labelled), optimizer)  # Eq. (5)
        if phase.ends_epoch:
            rates.step()


class _Losses:
    """The losses of the samples, as a state of the phase."""

    def __init__(self) -> None:
        self.values = torch.zeros(0)

    def state_dict(self) -> dict[str, Tensor]:
        return {"losses": self.values}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        if not isinstance(state["losses"], Tensor) or state["losses"].ndim != 1:
            raise ValueError("`losses` must be a row of numbers")
        self.values = state["losses"]
