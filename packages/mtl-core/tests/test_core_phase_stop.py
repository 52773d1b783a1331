"""Phases that end before their last epoch."""

from pathlib import Path

import torch
from torch import nn

from mtl_core import MultiTaskData, Run, SharedBackbone, weighting
from mtl_core.phase import Phase
from mtl_core.task import attribute

DATA = MultiTaskData([attribute("tall")], [(torch.ones(1, 2, 2) * i, {"tall": float(i % 2)}) for i in range(12)])


class Epochs:
    """How many epochs have ended: what decides here."""

    def __init__(self) -> None:
        self.ended = 0

    def state_dict(self) -> dict[str, int]:
        """What comes back after a stop."""
        return {"ended": self.ended}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Take it."""
        self.ended = state["ended"]


def train(run: Run, interrupt: int | None = None) -> tuple[Phase, dict[str, torch.Tensor], list[int]]:
    """Train for ten epochs of three steps, and stop after the second."""
    with run.seeded("model"):
        model = SharedBackbone(nn.Flatten(), DATA.tasks, lambda c, t: nn.Linear(c, 1), example=torch.ones(1, 1, 2, 2))
    optimizer, epochs, made = torch.optim.SGD(model.parameters(), 0.1), Epochs(), []
    with run.phase("train", model=model, optimizer=optimizer, state=[epochs]) as phase:
        for batch in phase.batches(DATA.train, epochs=10, batch_size=4):
            if phase.step_number == interrupt:
                raise KeyboardInterrupt
            phase.step(weighting.equal(phase.losses(model, batch), phase.labelled), optimizer)
            made.append(phase.step_number)
            epochs.ended += phase.ends_epoch
            if epochs.ended == 2:
                phase.stop()
    return phase, model.state_dict(), made


def test_a_phase_ends_with_the_step_that_stops_it() -> None:
    """The steps and epochs that were made are counted, and no others."""
    run = Run(progress=False)
    phase, _, made = train(run)
    assert made == [0, 1, 2, 3, 4, 5]
    assert (phase.step_number, phase.progress, len(phase.history["tall"])) == (6, 1.0, 2)
    assert run.phases["train"]["steps"] == 6


def test_a_stopped_phase_is_finished(tmp_path: Path) -> None:
    """The same command again makes no step and gives the same weights and history."""
    phase, weights, _ = train(Run(tmp_path, progress=False))
    again, same, made = train(Run(tmp_path, progress=False))
    assert made == []
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    assert again.history == phase.history


def test_an_interrupted_phase_stops_at_the_same_step(tmp_path: Path) -> None:
    """Whatever came between, the phase ends where it would have ended, with equal weights."""
    _, weights, _ = train(Run(progress=False))
    for interrupt in (2, 5):
        try:
            train(Run(tmp_path, progress=False, checkpoint_seconds=0), interrupt)
        except KeyboardInterrupt:
            continue
    phase, same, made = train(Run(tmp_path, progress=False))
    assert phase.step_number == 6
    assert made == [5]
    assert all(torch.equal(weights[name], same[name]) for name in weights)
