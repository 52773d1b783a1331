"""Every backbone with every head: trained two steps in both regimes of data, compacted and exported, or refused by name.

    python shared/product.py               the full product, some minutes
    python shared/product.py tiny aspp     one backbone, one head

Narrow networks and small images; a line for each pair. It ends with 1 if a pair fails with anything but a message that names what
to do.
"""

import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

import mtl_core
from mtl_core import MultiTaskData, Run, SharedBackbone, Task, backbones, compact, export, heads
from mtl_core.datasets import arrays
from mtl_core.task import classification, depth

BACKBONES: dict[str, Callable[..., Any]] = {
    **{
        name: partial(getattr(backbones, name), width=0.125, small_images=True)
        for name in ("resnet10", "resnet14", "resnet18", "resnet34", "resnet50", "resnet50_d", "mobilenet_v2")
    },
    "tiny": lambda: backbones.tiny(width=0.5),
    "vgg16": lambda: backbones.vgg16(width=0.125, pools=3),
    "xception": lambda: backbones.xception(width=0.05),
    "small_resnet": lambda: backbones.small_resnet(width=0.125),
    "vit": lambda: backbones.vit(dim=16, depth=2, heads=2),
    "vit_b16": lambda: backbones.vit_b16(image_size=32, dim=16, depth=2, heads=2),
}
DENSE = {
    "aspp": heads.aspp(width=8, rates=(1, 2)),
    "deeplab_v2": heads.deeplab_v2(width=8, rates=(1, 2)),
    "transposed": heads.transposed((8, 8)),
}
IMAGE = {"linear": heads.linear(), "linear over a grid": heads.linear(grid=2), "two_layer": heads.two_layer(8, width=8)}


def regimes() -> list[MultiTaskData]:
    """Eight images with a class and a map each, with all labels in one source, and with a source for each task."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(8, 3, 32, 32, generator=generator)
    labels = {"colour": images.mean((2, 3)).argmax(1), "depth": 1 + images.mean(1, keepdim=True)}
    tasks = [classification("colour", classes=3), depth("depth")]
    separate = [arrays(images, {name: label}) for name, label in labels.items()]
    return [MultiTaskData(tasks, arrays(images, labels)), MultiTaskData(tasks, separate)]


def tried(backbone: str, head: str) -> str:
    """What becomes of a pair: an empty text, or the message with which compacting or exporting refuses it.

    Args:
        backbone: A key of `BACKBONES`.
        head: A key of `DENSE` or of `IMAGE`; tasks of the other kind have a head beside it.
    """
    head_of = heads.by_kind(dense=DENSE.get(head, DENSE["aspp"]), other=IMAGE.get(head, IMAGE["linear"]))

    def build(tasks: dict[str, Task]) -> SharedBackbone:
        return SharedBackbone(BACKBONES[backbone](), tasks, head_of)

    for data in regimes():
        model = mtl_core.fit(build, data, mtl_core.Config(epochs=1, batch_size=4), Run(progress=False)).model
    example = next(data.train.views(2)).inputs
    try:
        small = compact(model, example)
        with tempfile.TemporaryDirectory() as folder:
            export(small, example, Path(folder) / "model.pt2")
    except ValueError as error:
        return str(error)
    return ""


def main() -> None:
    """Try the pairs that the command line names, or all."""
    chosen = sys.argv[1:]
    failed = False
    for backbone in BACKBONES:
        for head in (*DENSE, *IMAGE):
            if chosen and [backbone, head] != chosen:
                continue
            try:
                refused = tried(backbone, head)
            except Exception as error:
                refused, failed = f"FAILED with {type(error).__name__}: {error}", True
            print(f"{backbone}, {head}: {refused or 'trained in both regimes, compacted, exported'}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
