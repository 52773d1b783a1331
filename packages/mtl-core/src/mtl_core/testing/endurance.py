"""Checks of what happens around a training: seeds, stops, folders, files, global state, several processes."""

import itertools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import torch

from mtl_core.checkpoint import StorageError
from mtl_core.phase import Phase
from mtl_core.result import Report, load
from mtl_core.run import Run
from mtl_core.testing import samples
from mtl_core.testing.interruption import Stopped, stopped_at, watched
from mtl_core.testing.method import Method, findings_of, global_state, predictions_of, weights_of
from mtl_core.testing.models import EXAMPLE_SHAPE


def is_a_function_of_its_seed(method: Method, folder: Path) -> None:
    """Equal seeds give equal bits whatever was drawn before; another seed gives another model."""
    data = samples.common()
    first, again, other = method(data, seed=3), method(data, seed=3), method(data, seed=4)
    same = weights_of(first) == weights_of(again) and findings_of(first) == findings_of(again)
    assert same, "a second training with the same seed must give the same bits: something is drawn without a seed"
    assert weights_of(first) != weights_of(other), "another seed must give another model"


def continues_where_it_was_stopped(method: Method, folder: Path) -> None:
    """Stopped at the beginning, in the middle of an epoch and at the end of each phase, it ends with equal bits."""
    data = samples.mixed()
    places: dict[Phase, list[int]] = {}
    counter = itertools.count(1)
    with watched(lambda phase: places.setdefault(phase, []).append(next(counter))):
        whole = method(data, folder / "whole")
    for stop in sorted({place for steps in places.values() for place in (steps[len(steps) // 2], steps[-1])}):
        where = folder / f"stopped-{stop}"
        try:
            with stopped_at(stop):
                method(data, where)
        except Stopped:
            pass
        else:
            raise AssertionError(
                f"the training must be at step {stop} again; it ended before: steps depend on the folder"
            )
        again = method(data, where)
        assert weights_of(again) == weights_of(whole), (
            f"stopped at step {stop} and continued, weights must be those of the training that was not stopped: "
            "is everything that changes in `state`, and every random number from `phase.generator`?"
        )
        assert findings_of(again) == findings_of(whole), (
            f"stopped at step {stop} and continued, the report must be the same"
        )


def loads_what_is_finished(method: Method, folder: Path) -> None:
    """The same call again trains nothing and gives the same bits; another seed in the same folder is refused."""
    data, steps = samples.common(), [0]
    first = method(data, folder)

    def count(phase: Phase) -> None:
        steps[0] += 1

    with watched(count):
        again = method(data, folder)
    assert steps[0] == 0, f"a finished run must be loaded, not trained again. Got {steps[0]} steps"
    assert weights_of(first) == weights_of(again), "a finished run must give the same bits again"
    assert findings_of(first) == findings_of(again), "a finished run must give the same report again"
    try:
        method(data, folder, seed=7)
    except StorageError:
        pass
    else:
        raise AssertionError("a folder that holds another training must be refused: begin with `mtl_core.begin`")


def saves_and_loads(method: Method, folder: Path) -> None:
    """What `Result.save` wrote, `load` makes again, with equal predictions; saved again it has equal bytes."""
    data = samples.common()
    result = method(data)
    result.save(folder / "a")
    again = load(folder / "a", method.loads or method.build)
    inputs = torch.rand(3, *EXAMPLE_SHAPE[1:])
    assert predictions_of(again, inputs) == predictions_of(result.model, inputs), "a loaded model must predict the same"
    method(data).save(folder / "b")
    one, other = ((folder / name / "model.safetensors").read_bytes() for name in "ab")
    assert one == other, "equal weights must give equal bytes"
    stored = Report.from_json((folder / "a" / "report.json").read_text(encoding="utf-8"))
    assert json.loads(stored.to_json()) == json.loads(result.report.to_json()), (
        "the report must be read as it was written"
    )


def leaves_no_global_state_behind(method: Method, folder: Path) -> None:
    """Random numbers, threads, types, gradients, warnings, signals, environment, folder: as before."""
    data = samples.common()
    # At the first optimizer of a process torch loads its compiler, which adds a warning filter and a variable.
    torch.optim.Adam([torch.zeros(1)])
    # Inside `__call__` the generators are disturbed on purpose, so this calls `fit` itself.
    run = Run(folder, progress=False)
    before = global_state()
    method.fit(method.build, data, method.config, run)
    changed = [name for name, value in global_state().items() if value != before[name]]
    assert not changed, f"a fit must leave global state as it was. Changed: {changed}"


def agrees_on_two_ranks(method: Method, folder: Path) -> None:
    """Two processes end with equal weights and findings, stopped and continued or not."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    processes = []
    for rank in range(2):
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2}
        environment = {**os.environ, **{name: str(value) for name, value in place.items()}, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "mtl_core.testing.worker", method.file, str(folder)]
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True))
    try:
        spoken = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, said) in zip(processes, spoken, strict=True):
        assert process.returncode == 0, f"a fit on two ranks must end well. Got: {said[-3000:]}"
    (one, one_again), (other, other_again) = (json.loads(out.splitlines()[-1]) for out, _ in spoken)
    assert one["weights"] == other["weights"], "both ranks must end with equal weights: draw from `phase.generator`"
    assert one["report"] == other["report"], "both ranks must find the same"
    for whole, again in ((one, one_again), (other, other_again)):
        assert again["weights"] == whole["weights"], "stopped and continued on two ranks, weights must be the same"
        assert again["report"] == whole["report"], "stopped and continued on two ranks, the report must be the same"
