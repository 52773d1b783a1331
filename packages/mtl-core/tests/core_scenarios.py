"""Trainings in processes of their own, which tests kill, stop or connect; started once, it forks one for each order.

An order is a line of JSON on standard input; the answer is a line with the exit statuses (negative: killed by a signal) and
the seconds that it took. Forking spares importing torch for every kill. This process itself never goes backward, so that
forks may. What is ordered is a function of this file, or `path/of/a/file.py:function`.
"""

import hashlib
import json
import os
import resource
import runpy
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor, nn

import mtl_core as core
from mtl_core import checkpoint, fingerprint, phase, snapshots
from mtl_core.task import Task, attribute, classification, depth

TASKS = [classification("kind", 3), attribute("tall", weight=0.5), depth("far")]


def samples(count: int, names: Sequence[str], seed: int) -> list[tuple[Tensor, dict[str, Tensor]]]:
    """A source whose labels are missing unevenly, per sample and per pixel."""
    g = Generator().manual_seed(seed)
    made = []
    for index in range(count):
        distance = torch.rand(1, 6, 6, generator=g) * (torch.rand(1, 6, 6, generator=g) < 0.7)
        targets = {"kind": torch.tensor(index % 3), "tall": torch.tensor(float(index % 2)), "far": distance}
        kept = {name: targets[name] for place, name in enumerate(names) if (index + place) % 3 or index == 0}
        made.append((torch.rand(1, 6, 6, generator=g), kept))
    return made


class Source(list[Any]):
    """Samples with the names of their tasks."""

    def __init__(self, made: Sequence[Any], names: Sequence[str]) -> None:
        super().__init__(made)
        self.tasks = tuple(names)


def mirrored(x: Tensor, targets: dict[str, Tensor], generator: Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """Mirror at random, and add noise."""
    if float(torch.rand((), generator=generator)) < 0.5:
        x, targets = x.flip(-1), {n: t.flip(-1) if t.ndim == 3 else t for n, t in targets.items()}
    return x + 0.01 * torch.randn(x.shape, generator=generator), targets


def data(augment: bool = True, seed: int = 0, workers: int = 0) -> core.MultiTaskData:
    """Two sources: common images for two tasks, and images of their own for the third."""
    both, far = Source(samples(14, ["kind", "tall"], seed), ["kind", "tall"]), Source(samples(7, ["far"], 9), ["far"])
    held_out = Source(samples(6, ["kind", "tall", "far"], 5), ["kind", "tall", "far"])
    return core.MultiTaskData(TASKS, [both, far], held_out, augment=mirrored if augment else None, workers=workers)


def build(tasks: dict[str, Task], plain: bool = False, dropout: float = 0.2) -> core.SharedBackbone:
    """BatchNorm and dropout, unless `plain`."""
    extra: list[nn.Module] = [] if plain else [nn.BatchNorm2d(4), nn.Dropout(dropout)]
    backbone = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), *extra, nn.Tanh())

    def head(channels: int, task: Task) -> nn.Module:
        if task.dense:
            return nn.Conv2d(channels, task.channels, 1)
        return nn.Sequential(nn.Flatten(), nn.Linear(channels * 36, task.channels))

    return core.SharedBackbone(backbone, tasks, head, example=torch.zeros(1, 1, 6, 6))


MOMENTUM = partial(torch.optim.SGD, momentum=0.9)


def sha(model: nn.Module) -> str:
    """A hash of every bit of a model's state."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


# What can be ordered ------------------------------------------------------------------------------------------------


def fit(order: dict[str, Any]) -> dict[str, Any]:
    """Core's fit with all that has state: norms, dropout, augmentation, schedule, momentum, learned weights."""
    config = core.Config(epochs=3, batch_size=4, lr=0.05, cosine=True, keep_best=True, optimizer=MOMENTUM)
    part = data(workers=order.get("workers", 0))
    result = core.fit(build, part, config, run(order), weigh=core.weighting.Uncertainty)
    return {"sha": sha(result.model), "history": result.report.phases["train"]["history"]}


def single(order: dict[str, Any]) -> dict[str, Any]:
    """Each task alone."""
    config = core.Config(epochs=2, batch_size=4, lr=0.05, keep_best=True, optimizer=MOMENTUM)
    result = core.fit_single_tasks(build, data(), config, run(order))
    phases = result.report.phases
    return {"sha": sha(result.model), "history": {name: phases[name]["history"] for name in phases}}


def phases(order: dict[str, Any]) -> dict[str, Any]:
    """Two phases, and something done after the step that the checkpoint must hold."""
    active, part = run(order), data()
    with active.seeded("model"):
        model = active.place(build(part.tasks))
    optimizer = torch.optim.Adam(model.parameters())
    drawn, curves = [], {}
    for name in ("first", "second"):
        with active.phase(name, model=model, optimizer=optimizer) as running:
            for batch in running.batches(part.train, epochs=2, batch_size=4):
                running.step(sum(running.losses(model, batch).values(), torch.zeros(())), optimizer)
                with torch.no_grad():
                    model.backbone[0].weight.add_(torch.rand(4, 1, 3, 3, generator=running.generator("g")), alpha=0.01)
                running.record(noise=float(torch.rand(())))
        drawn.append(running.step_number)
        curves[name] = running.curves["noise"]
    return {"sha": sha(model), "history": running.history, "curves": curves, "drawn": drawn}


def ranks(order: dict[str, Any]) -> dict[str, Any]:
    """Plain SGD on a net without norms, and exact metrics: equal however many processes share a batch of 8."""
    active, part = run(order), data(augment=False)
    config = core.Config(epochs=20, batch_size=8 // active.world, lr=0.1, optimizer=torch.optim.SGD)
    made = partial(build, plain=not order.get("norm"), dropout=0.0)
    result = core.fit(made, part, config, active, weigh=core.weighting.Uncertainty)
    weights = [p.detach().double().flatten() for p in result.model.parameters()]
    return {
        "weights": torch.cat(weights).tolist(),
        "history": result.report.phases["train"]["history"],
        "steps": result.report.phases["train"]["steps"],
        "metrics": core.evaluate(result.model, part.validation, batch_size=2),
        "losses": core.mean_losses(result.model, part.validation, batch_size=2),
        "sample": core.sample_losses(result.model, part.validation, TASKS[0]).tolist(),
    }


def own(order: dict[str, Any]) -> dict[str, Any]:
    """Each rank draws a model of its own, and is given rank 0's; `rates` are the learning rates of the ranks."""
    active, part = run(order), data()
    torch.manual_seed(active.rank)
    model = build(part.tasks)
    drawn = sha(model)
    optimizer = torch.optim.Adam(model.parameters(), order.get("rates", [0.01, 0.01])[active.rank])
    with active.phase("train", model=model, optimizer=optimizer) as running:
        return {"drawn": drawn, "sha": sha(running.result(model).model)}


def norms(order: dict[str, Any]) -> dict[str, Any]:
    """Two phases with BatchNorm: every rank must end with equal buffers."""
    return {**phases(order), **fit({**order, "folder": order["folder"] + "/fit"})}


def save(order: dict[str, Any]) -> dict[str, Any]:
    """Save a result, and another in its place when there is no room (or only `room` bytes); what can be loaded then."""
    disk, said = Path(order["disk"]), ""
    results = [
        core.fit(build, data(), core.Config(epochs=1, batch_size=4), core.Run(seed=s, progress=False)) for s in (0, 1)
    ]
    results[0].save(disk / "out")
    files = {f: f.read_bytes() for f in sorted((disk / "out").rglob("*")) if f.is_file()}
    fill(disk)
    os.truncate(disk / "filler", (disk / "filler").stat().st_size - order["room"])
    try:
        results[1].save(disk / "out")
    except core.StorageError as error:
        said = str(error)
    loaded = sha(core.load(disk / "out", build)) == sha(results[0].model)
    same = files == {f: f.read_bytes() for f in sorted((disk / "out").rglob("*")) if f.is_file()}
    (disk / "filler").unlink()
    results[1].save(disk / "out")
    again = sha(core.load(disk / "out", build)) == sha(results[1].model)
    return {"said": said, "loaded": loaded, "same": same, "again": again}


def shell(order: dict[str, Any]) -> dict[str, Any]:
    """What a command says that sees the disks which this process sees."""
    return {"said": subprocess.run(order["command"], check=True, capture_output=True, text=True).stdout}


def run(order: dict[str, Any]) -> core.Run:
    """The run of an order; a checkpoint after every step unless it says otherwise."""
    seconds = order.get("checkpoint_seconds", 0)
    return core.Run(order.get("folder"), progress=False, checkpoint_seconds=seconds, seed=order.get("seed", 0))


# Interrupting, forking ----------------------------------------------------------------------------------------------

PLACES: dict[str, tuple[Any, str]] = {
    "losses": (phase.Phase, "losses"),
    "compare": (fingerprint, "check"),
    "room": (checkpoint.shutil, "disk_usage"),
    "wait": (snapshots.ranks, "wait"),
    "write": (checkpoint, "save_file"),
    "seal": (snapshots, "seal"),
    "rename": (checkpoint.os, "rename"),
    "forget": (snapshots, "forget"),
    "read": (snapshots, "read_part"),
}


def act(what: int | str, order: dict[str, Any]) -> None:
    """Send this process a signal; or let it raise, let its files be short, fill the disk, be late, wait for a refusal."""
    if what == "raise":
        raise ValueError("This rank has had enough.")
    if what == "late":
        time.sleep(1)
    elif what == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    elif what == "fill":
        fill(Path(order["disk"]))
    elif what == "wait":
        end = time.monotonic() + 60
        while not list(Path(order["out"]).parent.glob("out.*.error")) and time.monotonic() < end:
            time.sleep(0.01)
    else:
        os.kill(os.getpid(), int(what))


def fill(disk: Path) -> None:
    """Leave not one byte on a disk."""
    with (disk / "filler").open("ab", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                pass


def interrupt(order: dict[str, Any], place: str, count: int, what: int | str) -> None:
    """Do something when a function has been called for the `count`-th time, before the call or (`room`) after it."""
    owner, name = PLACES[place]
    original, calls = getattr(owner, name), [0]

    def called(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == count and place != "room":
            act(what, order)
        found = original(*args, **kwargs)
        if calls[0] == count and place == "room":
            act(what, order)
        return found

    setattr(owner, name, called)


def obey(order: dict[str, Any], rank: int) -> None:
    """Do what is ordered and write what came out."""
    if "at" in order and rank == order.get("rank", rank):
        interrupt(order, *order["at"])
    steps, original = [0], phase.Phase.losses

    def counted(*args: Any, **kwargs: Any) -> Any:
        steps[0] += 1
        return original(*args, **kwargs)

    phase.Phase.losses = counted  # type: ignore[method-assign]
    what: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
        "fit": fit, "single": single, "phases": phases, "ranks": ranks, "norms": norms, "own": own,
        "save": save, "shell": shell,
    }  # fmt: skip
    path, _, function = order["what"].rpartition(":")
    ordered = runpy.run_path(path)[function] if path else what[function]
    found = {**ordered(order), "computed": steps[0]}
    Path(f"{order['out']}.{rank}").write_text(json.dumps(found))


def forked(order: dict[str, Any], rank: int, world: int, port: int) -> int:
    """Fork a process for an order and give its number."""
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if world > 1:
            place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": rank, "WORLD_SIZE": world}
            os.environ.update({k: str(v) for k, v in {**place, "LOCAL_RANK": rank}.items()})
        obey(order, rank)
        status = 0
    except SystemExit as stop:
        status = int(str(stop.code))
    except KeyboardInterrupt:
        status = 130
    except BaseException as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        Path(f"{order['out']}.{rank}.error").write_text(f"{type(error).__name__}: {error}")
        if not order.get("fails"):
            traceback.print_exc()
    os._exit(status)


def free_port() -> int:
    """A port that nobody uses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def main() -> None:
    """Obey orders until there are no more."""
    torch.set_num_threads(1)
    torch.optim.SGD([torch.zeros(1)], lr=1.0)  # the first optimizer imports half of torch: once here, not in each fork
    for line in sys.stdin:
        order = json.loads(line)
        start, port = time.monotonic(), free_port()
        world, copies = order.get("world", 1), order.get("copies", 1)
        children = [forked(order, place, world, port) for place in range(world * copies)]
        if "after" in order:  # seconds, signal
            time.sleep(order["after"][0])
            for child in children:  # those that have ended are still there until they are waited for
                os.kill(child, order["after"][1])
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps([statuses, time.monotonic() - start]), flush=True)


if __name__ == "__main__":
    main()
