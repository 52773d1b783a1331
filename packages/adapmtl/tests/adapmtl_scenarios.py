"""AdapMTL's trainings in processes of their own, which tests and studies kill or connect.

An order is a line of JSON on standard input; what came out is written to the order's `out`, with the rank as suffix, and
answered is a line with the exit statuses and the seconds that it took. Each order is a fork: torch is imported once.
"""

import hashlib
import json
import os
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from torch import nn

import adapmtl
from mtl_core import MultiTaskData, Run, SharedBackbone, Task
from mtl_core.datasets import arrays
from mtl_core.task import attribute, classification


def data() -> MultiTaskData:
    """Common images with two labels that are missing unevenly, and images of its own for one of them."""
    g = torch.Generator().manual_seed(0)
    x = torch.rand(48, 1, 6, 6, generator=g)
    top = (x[:, 0, :3].mean((1, 2)) > x[:, 0, 3:].mean((1, 2))).long()
    bright = (x.mean((1, 2, 3)) > 0.5).float()
    top[::5], bright[1::3] = -1, torch.nan
    sources = [arrays(x[:32], {"top": top[:32], "bright": bright[:32]}), arrays(x[32:], {"bright": bright[32:]})]
    return MultiTaskData([classification("top", 2), attribute("bright")], sources)


def build(tasks: dict[str, Task]) -> SharedBackbone:
    """With a norm and dropout."""
    backbone = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1), nn.Flatten())
    return SharedBackbone(backbone, tasks, lambda c, t: nn.Linear(c, t.channels), example=torch.zeros(1, 1, 6, 6))


def plain(tasks: dict[str, Task]) -> SharedBackbone:
    """Without: several processes are then one with a larger batch."""
    backbone = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten())
    return SharedBackbone(backbone, tasks, lambda c, t: nn.Linear(c, t.channels), example=torch.zeros(1, 1, 6, 6))


def sha(model: nn.Module) -> str:
    """A hash of every bit of a model's state."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def fit(order: dict[str, Any]) -> dict[str, Any]:
    """A training with all that has state, checkpoint after every step."""
    run = Run(order["folder"], progress=False, checkpoint_seconds=0)
    result = adapmtl.fit(build, data(), adapmtl.Config(sparsity=0.8, epochs=3, batch_size=4, window=5), run)
    return {"sha": sha(result.model)}


def ranks(order: dict[str, Any]) -> dict[str, Any]:
    """Twenty steps in float64 with a batch of 8, however many processes share it."""
    run = Run(order["folder"], progress=False, precision="float64", checkpoint_seconds=0)
    config = adapmtl.Config(sparsity=0.6, epochs=5, batch_size=8 // run.world, window=5)
    result = adapmtl.fit(plain, data(), config, run)
    weights = torch.cat([p.detach().reshape(-1) for p in result.model.parameters()])
    facts = result.report.phases["prune"]
    return {
        "sha": sha(result.model),
        "weights": weights.tolist(),
        "zeros": (weights == 0).tolist(),
        "thresholds": [value for found in result.report.thresholds.values() for value in found.values()],
        "beta": [values[-1] for name, values in facts["curves"].items() if name.startswith("beta")],
        "steps": facts["steps"],
    }


def forked(order: dict[str, Any], rank: int, world: int, port: int) -> int:
    """Fork a process for an order and give its number."""
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        if world > 1:
            place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": rank, "WORLD_SIZE": world}
            os.environ.update({k: str(v) for k, v in {**place, "LOCAL_RANK": rank}.items()})
        found = {"fit": fit, "ranks": ranks}[order["what"]](order)
        Path(f"{order['out']}.{rank}").write_text(json.dumps(found))
        status = 0
    except BaseException:
        traceback.print_exc()
    os._exit(status)


def main() -> None:
    """Obey orders until there are no more."""
    torch.set_num_threads(1)
    torch.optim.SGD([torch.zeros(1)], lr=1.0)  # the first optimizer imports half of torch
    for line in sys.stdin:
        order, begun = json.loads(line), time.monotonic()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        children = [forked(order, rank, order["world"], port) for rank in range(order["world"])]
        if order["after"] is not None:
            time.sleep(order["after"])
            for child in children:  # one that has ended is still there until it is waited for
                os.kill(child, signal.SIGKILL)
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps([statuses, time.monotonic() - begun]), flush=True)


if __name__ == "__main__":
    main()
