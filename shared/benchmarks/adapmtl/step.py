"""What a training step of AdapMTL costs against the plain step, with the sparsity of each component recorded at every step.

ResNet-18, three heads, one thread, the same fused Adam and the same loop on both sides; 128 px at batch 64 (at most 1.05 is
the aim), and 64 px at batch 16 beside it, where it is more. A tenth of one solution of the common level is added to each
AdapMTL step, as `fit` solves it every ten steps.

    nox -s bench -- adapmtl
"""

from collections.abc import Callable
from contextlib import ExitStack

import torch
from pairs import Figures, work
from torch import nn

import adapmtl
from adapmtl.weighting import factor
from mtl_core import MultiTaskData, Run, SharedBackbone, backbones, heads, weighting
from mtl_core.data import Split
from mtl_core.datasets import arrays
from mtl_core.phase import Phase
from mtl_core.task import classification

NAMES = ("a", "b", "c")


def main() -> None:
    torch.set_num_threads(1)
    figures = Figures(__file__)
    for pixels, batch, repeats in ((64, 16, 31), (128, 64, 31)):
        ratios, solutions = measure(pixels, batch, repeats)
        figures.add(f"training step / plain step, {pixels} px, batch {batch}", ratios)
    figures.add("the common level solved, every ten steps (counted above)", [1e3 * s for s in solutions], "ms", 0)


def measure(pixels: int, batch_size: int, repeats: int, warm: int = 2) -> tuple[list[float], list[float]]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2 * batch_size, 3, pixels, pixels, generator=generator)
    labels = {name: torch.randint(0, 10, (len(images),), generator=generator) for name in NAMES}
    data = MultiTaskData([classification(name, 10) for name in NAMES], arrays(images, labels))
    plain, wrapped = (SharedBackbone(backbones.resnet18(), data.tasks, heads.linear()) for _ in range(2))
    model = adapmtl.Thresholded(wrapped)
    model.level(0.8)
    weights = adapmtl.AdaptiveWeights(factor(wrapped))
    with ExitStack() as stack:
        dense = start(stack, "dense", plain, data.train, batch_size, weighting.equal, lambda phase: None)

        def record(phase: Phase) -> None:
            model.center()
            phase.record(**model.sparsity(), **weights.beta)

        pruned = start(stack, "pruned", model, data.train, batch_size, weights, record)
        ratios, solutions = [], []
        for repeat in range(warm + repeats):
            before, ours = (work(dense), work(pruned)) if repeat % 2 else (work(pruned), work(dense))[::-1]
            solutions.append(work(lambda: model.level(0.8)))
            if repeat >= warm:
                ratios.append((ours + solutions[-1] / 10) / before)
    return ratios, solutions


def start(
    stack: ExitStack,
    name: str,
    model: nn.Module,
    split: Split,
    batch_size: int,
    weigh: Callable[..., torch.Tensor],
    after: Callable[[Phase], None],
) -> Callable[[], None]:
    """A phase, and the function that makes one step of it."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, weight_decay=1e-4, fused=True)
    phase = stack.enter_context(Run(progress=False).phase(name, model=model, optimizer=optimizer))
    batches = phase.batches(split, epochs=10**6, batch_size=batch_size)

    def step() -> None:
        losses = phase.losses(model, next(batches))
        phase.step(weigh(losses, phase.labelled), optimizer)
        after(phase)

    return step


if __name__ == "__main__":
    main()
