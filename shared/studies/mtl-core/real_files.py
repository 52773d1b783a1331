"""MNIST and Fashion-MNIST from their original files, through the readers: three epochs of a small network, test accuracy.

The files are looked for where the environment variable `MTL_DATA` points (`MNIST/raw`, `FashionMNIST/raw`).
"""

import os
import tempfile
from pathlib import Path

from rows import Rows
from study import Study

from mtl_core import Config, MultiTaskData, Run, SharedBackbone, Task, backbones, evaluate, fit, heads
from mtl_core.datasets import readers
from mtl_core.task import classification
from mtl_core.testing import layouts

READERS = {"mnist": readers.mnist, "fashion_mnist": readers.fashion_mnist}


def build(tasks: dict[str, Task]) -> SharedBackbone:
    return SharedBackbone(backbones.tiny(in_channels=1), tasks, heads.linear())


def train(folder: Path, *, data: str, epochs: int = 3, made: bool = False) -> dict[str, object]:
    """Train on the real files or, for the tests, on a few that are made."""
    with tempfile.TemporaryDirectory() as scratch:
        name = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[data]
        root = layouts.idx(scratch, name) if made else Path(os.environ.get("MTL_DATA", "MTL_DATA is not set"))
        parts = [READERS[data](root, part) for part in ("train", "test")]
        sources = MultiTaskData([classification(data, 10)], parts[0], test=parts[1])
        config = Config(epochs=epochs, batch_size=64 if not made else 4, lr=2e-3, cosine=True)
        result = fit(build, sources, config, Run(folder, progress=False))
        accuracy = evaluate(result.model, sources.test)[data]["accuracy"]
    print(f"{data}: {len(parts[0])} images to train, {epochs} epochs, test accuracy {accuracy:.4f}", flush=True)
    return {"train": len(parts[0]), "test": len(parts[1]), "accuracy": accuracy}


def table(rows: Rows) -> str:
    """Accuracies."""
    lines = ["| Data | images to train, to test | test accuracy after three epochs |", "|---|---|---|"]
    lines += [f"| {r['data']} | {int(r['train']):,}, {int(r['test']):,} | {float(r['accuracy']):.3f} |" for r in rows]
    return "\n".join(lines)


STUDY = Study(
    key=("data",),
    trainings=[{"data": name} for name in READERS],
    train=train,
    seconds=150,
    tiny={"data": "mnist", "epochs": 1, "made": True},
    tables={"real_files": table},
)
