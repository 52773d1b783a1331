"""What `Run`'s loop costs: its phase against a loop written by hand that does the same. At most 1.03 is the aim.

ResNet-18, three heads, one thread, the same fused Adam on both sides; 128 px at batch 64, and 64 px at batch 16 beside it.
By hand: index the images, forward, three cross-entropies, their sum, backward, step, zero, and note the losses.

    nox -s bench -- mtl-core
"""

import torch
from pairs import Figures, compare
from torch.nn import functional as F

from mtl_core import MultiTaskData, Run, SharedBackbone, backbones, heads, weighting
from mtl_core.datasets import arrays
from mtl_core.task import classification

NAMES = ("a", "b", "c")


def main() -> None:
    torch.set_num_threads(1)
    figures = Figures(__file__)
    for pixels, batch, repeats in ((64, 16, 30), (128, 64, 7)):
        figures.add(f"`Run`'s loop / a loop by hand, {pixels} px, batch {batch}", measure(pixels, batch, repeats))


def measure(pixels: int, batch_size: int, repeats: int) -> list[float]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2 * batch_size, 3, pixels, pixels, generator=generator)
    labels = {name: torch.randint(0, 10, (len(images),), generator=generator) for name in NAMES}
    data = MultiTaskData([classification(name, 10) for name in NAMES], arrays(images, labels))
    ours, mine = (SharedBackbone(backbones.resnet18(), data.tasks, heads.linear()) for _ in range(2))
    my_optimizer = torch.optim.Adam(mine.parameters(), 1e-3, fused=True)
    noted: list[list[float]] = []

    def by_hand() -> None:
        chosen = torch.randperm(len(images))[:batch_size]
        predictions = mine(images[chosen])
        losses = torch.stack([F.cross_entropy(predictions[name], labels[name][chosen]) for name in NAMES])
        losses.sum().backward()
        my_optimizer.step()
        my_optimizer.zero_grad(set_to_none=True)
        noted.append(losses.tolist())

    optimizer = torch.optim.Adam(ours.parameters(), 1e-3, fused=True)
    with Run(progress=False).phase("bench", model=ours, optimizer=optimizer) as phase:
        batches = phase.batches(data.train, epochs=10**6, batch_size=batch_size)

        def through_run() -> None:
            losses = phase.losses(ours, next(batches))
            phase.step(weighting.equal(losses, phase.labelled), optimizer)

        return compare(through_run, by_hand, repeats)


if __name__ == "__main__":
    main()
