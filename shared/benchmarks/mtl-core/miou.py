"""How long one update of the mean IoU takes: torchmetrics' `MeanIoU` against ours, both sides in one run, one thread.

Both sides get the same predicted labels and targets (torchmetrics takes labels; the step from logits to labels is timed
apart, because both need it), and every repeat measures them one after the other. The result is a ratio; its size depends
on the number of classes and on the size of the batch, because torchmetrics writes a map of each class.

    nox -s bench -- mtl-core
"""

import time
from collections.abc import Callable

import torch
from pairs import Figures
from torchmetrics.classification import MulticlassJaccardIndex
from torchmetrics.segmentation import MeanIoU

from mtl_core.metrics import Segmentation, confusion_matrix

CASES = ((13, (16, 96, 128), 41), (13, (16, 288, 384), 5), (40, (16, 96, 128), 15))
"""Classes, `batch h w`, repeats: a small batch, NYU-v2's image size with 13 classes, and its 40 classes."""


def seconds(function: Callable[[], object], calls: int = 1) -> float:
    """Mean time of `calls` calls, one after the other."""
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls


def compare(figures: Figures, classes: int, shape: tuple[int, int, int], repeats: int) -> None:
    """The ratio of the updates, and the ratio with the step from logits to labels on both sides."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape[0], classes, *shape[1:], generator=generator)
    target = torch.randint(0, classes, shape, generator=generator)
    labels = logits.argmax(dim=1)
    oracle = MeanIoU(classes, input_format="index")

    def theirs() -> None:
        oracle.update(labels, target)

    def ours() -> torch.Tensor:
        return confusion_matrix(labels, target, classes)

    theirs(), ours()  # warm
    updates, wholes = [], []
    for _ in range(repeats):
        slow, fast = seconds(theirs), seconds(ours, calls=5)
        argmax, largest = seconds(lambda: logits.argmax(dim=1)), seconds(lambda: logits.max(dim=1).indices)
        updates.append(slow / fast)
        wholes.append((slow + argmax) / (fast + largest))
    case = f"{classes} classes, {'×'.join(map(str, shape))}"
    figures.add(f"torchmetrics' `MeanIoU` / our update, {case}", updates, "×", 0)
    figures.add(f"the same with the step from logits to labels, {case}", wholes, "×", 1)
    print(f"  |mIoU - Jaccard index| {difference(classes, shape):.1e} at most")


def difference(classes: int, shape: tuple[int, int, int], seeds: int = 3) -> float:
    """Largest difference to torchmetrics' macro Jaccard index, with unlabelled pixels and absent classes."""
    largest = 0.0
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        present = classes - 2 * seed
        target = torch.randint(0, present, shape, generator=generator)
        target[torch.rand(shape, generator=generator) < 0.2] = 255
        logits = torch.randn(shape[0], classes, *shape[1:], generator=generator)
        logits[:, present:] = -100
        metric, oracle = Segmentation(classes), MulticlassJaccardIndex(classes, average="macro", ignore_index=255)
        metric.update(logits, target)
        oracle.update(logits, target)
        largest = max(largest, abs(metric.compute()["mIoU"] - float(oracle.compute())))
    return largest


def main() -> None:
    """Run the comparison for each case."""
    torch.set_num_threads(1)
    figures = Figures(__file__)
    for case in CASES:
        compare(figures, *case)


if __name__ == "__main__":
    main()
