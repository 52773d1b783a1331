"""How fast data come: images per second of each reader with 0 and 2 workers, and the share of a step spent waiting for them.

Small folders are written in the true layouts, their maps at the true sizes (noise, where the true ones are smooth: a PNG of them
is larger). Batches of up to 32 are asked for one after the other; the first do not count. The step is ResNet-18's with one
head on images of 128 px in JPEG files, augmented; waiting is the time between the end of a step and the next batch in hand.
Less than 5 % is the aim, with 2 workers.

    nox -s bench -- mtl-core readers
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from pairs import Figures

from mtl_core import MultiTaskData, SharedBackbone, backbones, heads
from mtl_core.datasets import augmentation, readers
from mtl_core.task import classification
from mtl_core.testing import layouts
from mtl_core.testing.layouts.truth import save, scene

WORKERS = (0, 2)
BATCH = 32

SETS: dict[str, tuple[Callable[[Path, float], Any], Callable[[Path], Any]]] = {
    "nyuv2 adashare": (lambda r, s: layouts.nyuv2(r, "adashare", {"train": 8}, size=at(480, 640, s)), readers.nyuv2),
    "nyuv2 npy": (lambda r, s: layouts.nyuv2(r, "npy", {"train": 8}, size=at(288, 384, s)), readers.nyuv2),
    "nyud_mt": (lambda r, s: layouts.nyuv2(r, "nyud_mt", {"train": 8}, size=at(480, 640, s)), readers.nyuv2),
    "cityscapes npy": (
        lambda r, s: layouts.cityscapes(r, "npy", {"train": 8}, size=at(128, 256, s)),
        readers.cityscapes,
    ),
    "cityscapes adashare": (
        lambda r, s: layouts.cityscapes(r, "adashare", {"train": 8}, size=at(256, 512, s)),
        readers.cityscapes,
    ),
    "taskonomy": (lambda r, s: layouts.taskonomy(r, {"hanson": 8}, size=at(512, 512, s)), readers.taskonomy),
    "pascal (12×16: only the files)": (lambda r, s: layouts.pascal_context(r, {"train": 8}), readers.pascal_context),
    "celeba": (lambda r, s: layouts.celeba(r, {"train": 64}, size=at(218, 178, s)), readers.celeba),
    "celebamask": (lambda r, s: layouts.celebamask(r, (0,) * 8, size=at(512, 512, s)), readers.celebamask),
    "omniglot, one alphabet": (
        lambda r, s: layouts.omniglot(r, ["Korean"], characters=8),
        lambda r: readers.omniglot(r, alphabets=["Korean"])[0],
    ),
    "decathlon, one set": (
        lambda r, s: layouts.decathlon(r, ["dtd"], {"train": 1}),
        lambda r: readers.decathlon(r, "dtd"),
    ),
    "mnist": (lambda r, s: layouts.idx(r, parts={"train": 512}), readers.mnist),
    "cifar10": (lambda r, s: layouts.cifar10(r, {"train": 512, "test": 1}), readers.cifar10),
    "cifar100": (lambda r, s: layouts.cifar100(r, {"train": 500}), readers.cifar100),
    "stl10": (lambda r, s: layouts.stl10(r, {"train": 64}), readers.stl10),
    "usps": (lambda r, s: layouts.usps(r, {"train": 64}), readers.usps),
    "svhn": (lambda r, s: layouts.svhn(r, {"train": 64}), readers.svhn),
}


def at(height: int, width: int, scale: float) -> tuple[int, int]:
    """A true size, or a part of it."""
    return 2 * round(height * scale / 2), 2 * round(width * scale / 2)


def batches(source: Any, workers: int, batch_size: int, augment: Any = None) -> Iterator[Any]:
    tasks = source.tasks.values() if isinstance(source.tasks, dict) else [classification(source.tasks[0], 100)]
    split = MultiTaskData(tasks, source, augment=augment, workers=workers).train
    return split.batches(0, range(10**6), min(batch_size, len(source)))


def per_second(source: Any, workers: int, count: int, repeats: int = 5) -> list[float]:
    """Images per second over `count` batches in a row, one value a repeat; what is made ahead at first does not count."""
    values, found = batches(source, workers, BATCH), []
    for _ in range(2 + 2 * workers):
        next(values)
    for _ in range(repeats):
        start = time.perf_counter()
        images = sum(len(next(values)[0].inputs) for _ in range(count))
        found.append(images / (time.perf_counter() - start))
    values.close()  # type: ignore[attr-defined]
    return found


def jpegs(folder: Path, count: int, pixels: int = 128) -> Any:
    """Images in two classes, as JPEG files."""
    for index in range(count):
        name = ("a", "b")[index % 2]
        save(folder / "train" / name / f"{index}.jpg", scene(index, size=(pixels, pixels))["image"])
    return readers.cifar10(folder, task="kind")


def waiting(source: Any, workers: int, steps: int, batch_size: int) -> list[float]:
    """Share of each step's time that passes until its batch is there, %."""
    model = SharedBackbone(backbones.resnet18(), source.tasks, heads.linear())
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    values, found = batches(source, workers, batch_size, augmentation.augment), []
    for _ in range(steps + 2):
        start = time.perf_counter()
        (view,) = next(values)
        there = time.perf_counter()
        loss = torch.nn.functional.cross_entropy(model(view.inputs)["kind"], view.targets["kind"])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        found.append(100 * (there - start) / (time.perf_counter() - start))
    values.close()  # type: ignore[attr-defined]
    return found[2:]


def main(count: int = 6, steps: int = 8, batch_size: int = BATCH, scale: float = 1.0) -> None:
    torch.set_num_threads(1)
    figures = Figures(__file__)
    with tempfile.TemporaryDirectory() as scratch:
        for name, (write, read) in SETS.items():
            source = read(write(Path(scratch) / name.replace(" ", "_"), scale))
            for workers in WORKERS:
                figures.add(f"{name}, {workers} workers", per_second(source, workers, count), "images/s", 0)
        source = jpegs(Path(scratch) / "jpeg", 4 * batch_size)
        for workers in WORKERS:
            shares = waiting(source, workers, steps, batch_size)
            figures.add(f"Waiting for data, ResNet-18, 128 px JPEG, {workers} workers", shares, "%", 1)


if __name__ == "__main__":
    main()
