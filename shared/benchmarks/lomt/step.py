"""What a training step with the proximal step costs against the plain step of the same optimizer.

ResNet-18, three heads, one thread; 128 px at batch 64 (at most 1.05 with SGD and 1.15 with AdamW and its metric are the aims),
and 64 px at batch 16 beside it, where weights count more. In the same run the proximal step as it is written down plainly:
layer after layer, groups gathered into rows, Newton on the norm equation itself from its lower bound, until steps are below 1e-7
or a hundred are made, as the released code has it.

    nox -s bench -- lomt
"""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from pairs import Figures, compare, work
from torch import nn

from lomt import GroupLasso
from mtl_core import MultiTaskData, Run, SharedBackbone, backbones, heads, weighting
from mtl_core.data import Split
from mtl_core.datasets import arrays
from mtl_core.task import classification

NAMES = ("a", "b", "c")
LAMBDA = 1e-3
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=1e-4, fused=True),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=1e-4, fused=True),
}


def main() -> None:
    torch.set_num_threads(1)
    figures = Figures(__file__)
    for pixels, batch, repeats in ((64, 16, 30), (128, 64, 7)):
        for name, make in OPTIMIZERS.items():
            ratios, loops = measure(make, pixels, batch, repeats, loops=3 if name == "AdamW" else 0)
            figures.add(f"{name}: training step / plain step, {pixels} px, batch {batch}", ratios)
            if loops:
                figures.add(f"{name}: the same with a plain loop over layers, {pixels} px, batch {batch}", loops)


def measure(
    make: Callable[..., torch.optim.Optimizer], pixels: int, batch_size: int, repeats: int, loops: int
) -> tuple[list[float], list[float]]:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2 * batch_size, 3, pixels, pixels, generator=generator)
    labels = {name: torch.randint(0, 10, (len(images),), generator=generator) for name in NAMES}
    data = MultiTaskData([classification(name, 10) for name in NAMES], arrays(images, labels))
    with ExitStack() as stack:
        plain = start(stack, "plain", data.train, batch_size, make)
        ours = start(stack, "ours", data.train, batch_size, make, LAMBDA)
        ratios = compare(ours, plain, repeats)
        model = SharedBackbone(backbones.resnet18(), data.tasks, heads.linear())
        adam = OPTIMIZERS["AdamW"](model.parameters())
        for parameter in model.parameters():
            parameter.grad = 1e-3 * torch.randn_like(parameter)
        adam.step()
        return ratios, [1 + work(lambda: looped(model, adam)) / work(plain) for _ in range(loops)]


def start(
    stack: ExitStack, name: str, split: Split, batch_size: int, make: Callable[..., Any], lambda_: float | None = None
) -> Callable[[], None]:
    """A phase, and the function that makes one step of it."""
    model = SharedBackbone(backbones.resnet18(), split.tasks, heads.linear())
    optimizer = make(model.parameters())
    if lambda_ is not None:
        convolutions = [module for module in model.backbone.modules() if isinstance(module, nn.Conv2d)]
        optimizer = GroupLasso(optimizer, convolutions, lambda_)
    phase = stack.enter_context(Run(progress=False).phase(name, model=model, optimizer=optimizer))
    batches = phase.batches(split, epochs=10**6, batch_size=batch_size)

    def step() -> None:
        losses = phase.losses(model, next(batches))
        phase.step(weighting.equal(losses, phase.labelled), optimizer)

    return step


@torch.no_grad()
def looped(model: SharedBackbone, adam: torch.optim.Optimizer) -> None:
    """The weighted proximal step as one writes it down first."""
    for layer in model.backbone.modules():
        if isinstance(layer, nn.Conv2d):
            theta = layer.weight.transpose(0, 1).flatten(1).contiguous()
            state = adam.state[layer.weight]
            v = state["exp_avg_sq"].transpose(0, 1).flatten(1) / (1 - 0.999 ** float(state["step"]))
            D = v.sqrt() + 1e-8
            tau = 1e-3 * LAMBDA * theta.shape[1] ** 0.5
            pull = (D * theta).norm(dim=1, keepdim=True)
            alive = pull > tau
            r = torch.where(alive, (pull - tau) / D.amax(1, keepdim=True), 1.0)
            for _ in range(100):
                share = theta**2 / (r + tau / D) ** 2
                change = 0.5 * (share.sum(1, keepdim=True) - 1) / (share / (r + tau / D)).sum(1, keepdim=True)
                r = torch.where(alive, r + change, 1.0)
                if bool((change.abs() <= 1e-7 * r)[alive].all()):
                    break
            u = torch.where(alive, theta * D * r / (D * r + tau), 0.0)
            layer.weight.copy_(u.view(layer.weight.shape[1], layer.weight.shape[0], *layer.kernel_size).transpose(0, 1))


if __name__ == "__main__":
    main()
