"""What a step costs against networks written by hand: the search against K branches with K·N heads, the final one against groups.

ResNet-18, three tasks, K = 3 and one task a group at the end, one thread, the same fused Adam on both sides; 128 px at batch 64
(at most 1.05 for the search and 1.02 for the final network are the aims), and 64 px at batch 16 beside it.

    nox -s bench -- dmtg
"""

from collections.abc import Callable
from contextlib import ExitStack

import torch
from pairs import Figures, compare
from torch import Tensor, nn

import dmtg
from dmtg.fit import loss_table
from mtl_core import MultiTaskData, Run, SharedBackbone, Task, TaskGroups, backbones, heads, weighting
from mtl_core.datasets import arrays
from mtl_core.task import classification

NAMES, K, CLASSES = ("a", "b", "c"), 3, 10


def main() -> None:
    torch.set_num_threads(1)
    figures = Figures(__file__)
    for pixels, batch, repeats in ((64, 16, 15), (128, 64, 5)):
        for what, ratios in measure(pixels, batch, repeats).items():
            figures.add(f"{what}, {pixels} px, batch {batch}", ratios)


def build(tasks: dict[str, Task]) -> SharedBackbone:
    return SharedBackbone(backbones.resnet18(), tasks, heads.linear())


class ByHand(nn.Module):
    """Branches and heads in lists; `groups` says which heads a branch has."""

    def __init__(self, groups: list[list[int]]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(backbones.resnet18() for _ in groups)
        self.heads = nn.ModuleList(nn.ModuleList(nn.Linear(512, CLASSES) for _ in group) for group in groups)

    def forward(self, x: Tensor) -> list[list[Tensor]]:
        features = [branch(x).mean((2, 3)) for branch in self.branches]
        return [[head(f) for head in heads] for f, heads in zip(features, self.heads, strict=True)]


def measure(pixels: int, batch_size: int, repeats: int) -> dict[str, list[float]]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2 * batch_size, 3, pixels, pixels, generator=generator)
    labels = {name: torch.randint(0, CLASSES, (len(images),), generator=generator) for name in NAMES}
    data = MultiTaskData([classification(name, CLASSES) for name in NAMES], arrays(images, labels))
    x, y = images[:batch_size], [labels[name][:batch_size] for name in NAMES]
    final = TaskGroups({name: build({name: task}) for name, task in data.tasks.items()})
    grouped = ByHand([[0], [1], [2]])
    with ExitStack() as stack:
        ratios = {
            "search step / K branches with K·N heads": compare(
                search(stack, data, batch_size), searched_by_hand(x, y), repeats
            ),
            "final training step / groups by hand": compare(
                trained(stack, final, data, batch_size), trained_by_hand(grouped, x, y), repeats
            ),
        }
    final.eval(), grouped.eval()
    with torch.no_grad():
        ratios["final inference / groups by hand"] = compare(lambda: final(x), lambda: grouped(x), 3 * repeats)
    return ratios


def search(stack: ExitStack, data: MultiTaskData, batch_size: int) -> Callable[[], None]:
    model, distribution = dmtg.BranchedModel(build, data.tasks, K), dmtg.GroupDistribution(len(NAMES), K)
    optimizer = torch.optim.Adam([*model.parameters(), *distribution.parameters()], 1e-3, fused=True)
    run = Run(progress=False)
    phase = stack.enter_context(run.phase("search", model=model, optimizer=optimizer, state=[distribution]))
    batches = phase.batches(data.train, epochs=10**6, batch_size=batch_size)

    def step() -> None:
        losses, labelled = loss_table(phase.losses(model, next(batches)), phase.labelled, distribution.alive)
        G = distribution.mix(losses.detach(), labelled, phase.generator("gumbel"), phase.progress)
        phase.step(dmtg.grouped_loss(losses[labelled], G[labelled]), optimizer)

    return step


def searched_by_hand(x: Tensor, y: list[Tensor]) -> Callable[[], None]:
    model = ByHand([[0, 1, 2]] * K)
    logits = nn.Parameter(torch.ones(len(NAMES), K))
    optimizer = torch.optim.Adam([*model.parameters(), logits], 1e-3, fused=True)

    def step() -> None:
        G = nn.functional.gumbel_softmax(logits, tau=2.5)
        predictions = model(x)
        losses = [
            G[i, j] * nn.functional.cross_entropy(predictions[j][i], y[i]) for i in range(len(NAMES)) for j in range(K)
        ]
        torch.stack(losses).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def trained(stack: ExitStack, model: TaskGroups, data: MultiTaskData, batch_size: int) -> Callable[[], None]:
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    phase = stack.enter_context(Run(progress=False).phase("train", model=model, optimizer=optimizer))
    batches = phase.batches(data.train, epochs=10**6, batch_size=batch_size)

    def step() -> None:
        phase.step(weighting.equal(phase.losses(model, next(batches)), phase.labelled), optimizer)

    return step


def trained_by_hand(model: ByHand, x: Tensor, y: list[Tensor]) -> Callable[[], None]:
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)

    def step() -> None:
        losses = [nn.functional.cross_entropy(group[0], target) for group, target in zip(model(x), y, strict=True)]
        torch.stack(losses).sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


if __name__ == "__main__":
    main()
