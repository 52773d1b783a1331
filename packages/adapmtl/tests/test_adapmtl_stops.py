"""AdapMTL killed, on several processes, and with losses that are not finite."""

import copy
import json
import math
import os
import random
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import adapmtl
from mtl_core import MultiTaskData, Run, Task
from mtl_core.phase import Phase
from mtl_core.snapshots import Snapshots
from mtl_core.task import attribute

SCENARIOS = Path(__file__).with_name("adapmtl_scenarios.py")
HERE = runpy.run_path(str(SCENARIOS))


@pytest.fixture(scope="module")
def server():
    environment, pipe = {**os.environ, "OMP_NUM_THREADS": "1"}, subprocess.PIPE
    command = [sys.executable, str(SCENARIOS)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def obey(server, tmp_path):
    """Order a training: statuses of its processes, what those found that ended well, and the seconds that it took."""

    def order(what, folder, world=1, after=None):
        out = tmp_path / f"out-{folder}"
        given = {"what": what, "out": str(out), "folder": str(tmp_path / folder), "world": world, "after": after}
        server.stdin.write(json.dumps(given) + "\n")
        server.stdin.flush()
        statuses, seconds = json.loads(server.stdout.readline())
        return statuses, [json.loads(Path(f"{out}.{r}").read_text()) for r, s in enumerate(statuses) if s == 0], seconds

    return order


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return torch.equal(a.nan_to_num(), b.nan_to_num()) if isinstance(a, torch.Tensor) else a == b


def test_killed_at_a_random_moment_it_ends_with_the_weights_of_the_uninterrupted_run(obey):
    """SIGKILL, one draw, uniform over the time of the whole run; checkpoint after every step."""
    _, (whole,), seconds = obey("fit", "whole")
    (status,), _, _ = obey("fit", "a", after=random.Random(5).random() * seconds)
    assert status in (-signal.SIGKILL, 0)  # 0: it came too late
    assert obey("fit", "a")[1] == [whole]


def test_two_processes_are_one_with_the_doubled_batch(obey):
    """Float64, no norm, no dropout, labels missing unevenly: thresholds and masks are equal, weights to 1e-9."""
    (one,), (first, second) = obey("ranks", "one")[1], obey("ranks", "two", world=2)[1]
    assert first == second
    assert one["steps"] == first["steps"] == 20
    assert one["zeros"] == first["zeros"]
    assert 0 < sum(one["zeros"]) < len(one["zeros"])
    for name in ("weights", "thresholds", "beta"):
        assert one[name] == pytest.approx(first[name], rel=0, abs=1e-9)


def broken(kind):
    """A squared error; where a target is above 5, NaN, or 0 with a gradient that is NaN."""

    def elements(prediction, target):
        values, bad = (prediction[:, 0] - target).square(), target > 5
        values[bad] = prediction[bad, 0] * math.nan if kind == "loss" else (prediction[bad, 0] * 0).sqrt()
        return values, ~target.isnan()

    return elements


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("loss", "The loss of task `sick` must be finite. Got nan at step 11"),
        ("gradient", "step 11 .*heads.sick.bias`"),
    ],
)
def test_after_nan_thresholds_and_weights_are_those_of_the_step_before(tmp_path, monkeypatch, kind, message):
    """In memory model and optimizer, on disk the weights of the tasks, too; with the target mended it goes on from there."""

    def data(bad):
        g = torch.Generator().manual_seed(0)
        made = [(torch.rand(1, 6, 6, generator=g), {"well": float(i % 2), "sick": float(i % 3)}) for i in range(24)]
        made[5][1]["sick"] = 9.0 if bad else 2.0  # no fingerprint looks at this sample
        return MultiTaskData([attribute("well"), Task("sick", 1, broken(kind))], made)

    seen, original = [], Phase.losses

    def losses(self, *arguments):
        holders = [self._model, self._optimizer, *self._state]
        seen[:] = [holders, [copy.deepcopy(holder.state_dict()) for holder in holders]]
        return original(self, *arguments)

    def fit(folder, bad):
        run = Run(tmp_path / folder, progress=False, checkpoint_seconds=0)
        return adapmtl.fit(HERE["build"], data(bad), adapmtl.Config(epochs=3, batch_size=2, window=5), run).model

    monkeypatch.setattr(Phase, "losses", losses)
    with pytest.raises(FloatingPointError, match=message):
        fit("a", bad=True)
    holders, before = seen
    assert all(same(holder.state_dict(), then) for holder, then in zip(holders[:2], before[:2], strict=True))
    folder, stored, _ = Snapshots(tmp_path / "a" / "prune", 0, 1).last()
    assert folder.name == "checkpoint-11"
    assert same([stored["model"], stored["optimizer"], *stored["state"]], before)
    assert HERE["sha"](fit("a", bad=False)) == HERE["sha"](fit("b", bad=False))
