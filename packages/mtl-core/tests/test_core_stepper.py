"""A step that cannot be made leaves everything as it was: in memory, on disk, and for the same command later."""

import copy
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mtl_core as core
from mtl_core.phase import Phase
from mtl_core.snapshots import Snapshots
from mtl_core.task import Task, attribute


def elements(kind: str) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """A squared error; where a target is above 5, NaN, or 0 with a gradient that is NaN."""

    def loss(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        values, bad = (prediction[:, 0] - target).square(), target > 5
        values[bad] = prediction[bad, 0] * math.nan if kind == "loss" else (prediction[bad, 0] * 0).sqrt()
        return values, ~target.isnan()

    return loss


def data(kind: str, bad: bool) -> core.MultiTaskData:
    """One target among 24 is bad: number 5, which no fingerprint looks at."""
    g = torch.Generator().manual_seed(0)
    made = [(torch.rand(1, 4, 4, generator=g), {"well": float(i % 2), "sick": float(i % 3)}) for i in range(24)]
    made[5][1]["sick"] = 9.0 if bad else 2.0
    return core.MultiTaskData([attribute("well"), Task("sick", 1, elements(kind))], made)


def build(tasks: dict[str, Task]) -> core.SharedBackbone:
    backbone = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.1), nn.Flatten())
    return core.SharedBackbone(backbone, tasks, lambda c, t: nn.Linear(c, 1), example=torch.zeros(1, 1, 4, 4))


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return torch.equal(a, b) if isinstance(a, Tensor) else bool(a == b)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[list[Any]]:
    """The phase's model, optimizer and other state, and a copy of what they held when the last step began."""
    found: list[list[Any]] = []
    original = Phase.losses

    def losses(self: Phase, *args: Any) -> dict[str, Tensor]:
        holders = [self._model, self._optimizer, *self._state]
        found[:] = [holders, [copy.deepcopy(holder.state_dict()) for holder in holders], [self.step_number]]
        return original(self, *args)

    monkeypatch.setattr(Phase, "losses", losses)
    return found


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("loss", r"The loss of task `sick` must be finite. Got nan at step 11 of phase `train`; no step was made"),
        ("gradient", r"The gradient of step 11 must be finite. Got NaN or Inf; .*head is among `heads.sick.bias`"),
    ],
)
def test_after_nan_everything_is_as_the_step_before_has_left_it(
    tmp_path: Path, seen: Sequence[Any], kind: str, message: str
) -> None:
    """Buffers, optimizer, learned weights, the checkpoint; with the target mended the same command goes on from there."""
    config = core.Config(epochs=3, batch_size=2, optimizer=torch.optim.Adam, cosine=True)
    rest = {"weigh": core.weighting.Uncertainty}

    def run(folder: str) -> core.Run:
        return core.Run(tmp_path / folder, progress=False, checkpoint_seconds=0)

    with pytest.raises(FloatingPointError, match=message):
        core.fit(build, data(kind, bad=True), config, run("a"), **rest)
    holders, before, (step,) = seen
    assert step == 11
    assert all(equal(holder.state_dict(), then) for holder, then in zip(holders, before, strict=True))
    stored = Snapshots(tmp_path / "a" / "train", 0, 1).last()
    assert stored is not None
    assert stored[0].name == "checkpoint-11"
    assert equal([stored[1]["model"], stored[1]["optimizer"], *stored[1]["state"]], before)
    mended = core.fit(build, data(kind, bad=False), config, run("a"), **rest)
    whole = core.fit(build, data(kind, bad=False), config, run("b"), **rest)
    assert equal(mended.model.state_dict(), whole.model.state_dict())
