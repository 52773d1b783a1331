"""Runs within runs: what a method's own children know, and what its report says of them."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from mtl_core import MultiTaskData, Result, Run, SharedBackbone, StorageError, begin, weighting
from mtl_core.task import attribute


@dataclass(frozen=True)
class Config:
    """A method's configuration, of which no optimizer and no weight shows anything."""

    epochs: int = 1


def data() -> MultiTaskData:
    """Eight images of one task."""
    return MultiTaskData([attribute("tall")], [(torch.ones(1, 2, 2) * i, {"tall": float(i % 2)}) for i in range(8)])


def method(config: Config, run: Run, seed: int | None = None) -> Result:
    """A training in a child of a method's run."""
    run = begin(run, "method", config, data())
    child = run.child("inner", seed=seed)
    with child.seeded("model"):
        model = SharedBackbone(nn.Flatten(), data().tasks, lambda c, t: nn.Linear(c, 1), example=torch.ones(1, 1, 2, 2))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with child.phase("train", model=model, optimizer=optimizer) as phase:
        for batch in phase.batches(data().train, epochs=config.epochs, batch_size=4):
            phase.step(weighting.equal(phase.losses(model, batch), phase.labelled), optimizer)
    with run.phase("after", model=model, optimizer=optimizer) as phase:
        pass
    return phase.result(model)


def test_a_methods_child_refuses_another_configuration(tmp_path: Path) -> None:
    """A child that a method trains in is under the method's configuration, though nothing else tells it."""
    method(Config(epochs=1), Run(tmp_path, progress=False))
    with pytest.raises(StorageError, match=r"config\.epochs: 1 there, 2 now"):
        method(Config(epochs=2), Run(tmp_path, progress=False))


def test_the_report_holds_the_childrens_phases() -> None:
    """What a child's phase found is in the method's report, before what came later."""
    phases = method(Config(epochs=3), Run(progress=False)).report.phases
    assert list(phases) == ["inner/train", "after"]
    assert len(phases["inner/train"]["history"]["tall"]) == 3


def test_a_child_has_a_seed_of_its_own_if_asked() -> None:
    """A child's own seed changes its weights; the parent's seed gives the same ones again."""
    first, again, other = (
        method(Config(), Run(seed=1, progress=False), seed).model.state_dict() for seed in (None, 1, 2)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_every_rank_notes_phases_in_one_order() -> None:
    """A phase that is noted twice, as a spread training is, stands where it was noted last."""
    run = Run(progress=False)
    for name in ("b", "a", "b"):
        run.child(name).note("train", {})
    assert list(run.phases) == ["a/train", "b/train"]
