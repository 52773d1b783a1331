"""Partial labels: the gradient of every step is that of a loop written by hand."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

import mtl_core as core
from mtl_core.task import attribute, classification, depth, segmentation

TASKS = [classification("kind", 3), attribute("tall", weight=0.3), depth("far", weight=2.0), segmentation("parts", 4)]


def source(count: int, names: Sequence[str], g: Generator) -> list[tuple[Tensor, dict[str, Tensor]]]:
    """Half of the samples lack half of the tasks; a third of the pixels have no label, and some samples have no pixel."""
    made = []
    for index in range(count):
        shown = torch.rand(1, 4, 4, generator=g) > (1.0 if index % 7 == 3 else 0.33)
        targets = {
            "kind": torch.randint(3, (), generator=g),
            "tall": torch.randint(2, (), generator=g).float(),
            "far": (torch.rand(1, 4, 4, generator=g) + 0.1) * shown,
            "parts": torch.where(shown[0], torch.randint(4, (4, 4), generator=g), 255),
        }
        half = names[: len(names) // 2] if index % 4 == 1 else names[len(names) // 2 :]
        kept = names if index % 2 == 0 else half
        made.append((torch.rand(1, 4, 4, generator=g), {name: targets[name] for name in kept}))
    return made


class Net(nn.Module):
    """A backbone and four heads."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.body = nn.Sequential(nn.Conv2d(1, 5, 3, padding=1), nn.Tanh())
        heads = {
            "kind": nn.Linear(80, 3),
            "tall": nn.Linear(80, 1),
            "far": nn.Conv2d(5, 1, 1),
            "parts": nn.Conv2d(5, 4, 1),
        }
        self.heads = nn.ModuleDict(heads)

    def forward(self, x: Tensor, tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        features = self.body(x)
        flat = {"kind", "tall"}
        return {n: self.heads[n](features.flatten(1) if n in flat else features) for n in tasks or self.heads}


class Noting(torch.optim.SGD):
    """Notes the gradient that it is given."""

    gradient: Tensor

    def step(self, closure: Any = None) -> None:
        parameters = [p for group in self.param_groups for p in group["params"]]
        given = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]
        self.gradient = torch.cat([g.reshape(-1) for g in given])
        super().step(closure)


def by_hand(model: Net, batch: core.Batch) -> Tensor:
    """Per task: a sum and a number over all views, divided last; then the weighted sum's gradient."""
    sums: dict[str, Any] = dict.fromkeys(("kind", "tall", "far", "parts"), 0.0)
    counts = dict.fromkeys(sums, 0)
    for view in batch:
        for x, *targets in zip(view.inputs, *view.targets.values(), strict=True):
            features = model.body(x[None])
            for name, target in zip(view.targets, targets, strict=True):
                out = model.heads[name](features.flatten(1) if name in ("kind", "tall") else features)[0]
                if name == "kind" and target != -1:
                    sums[name] = sums[name] + torch.logsumexp(out, 0) - out[target]
                    counts[name] += 1
                elif name == "tall" and not torch.isnan(target):
                    p = 1 / (1 + torch.exp(-out[0]))
                    sums[name] = sums[name] - (torch.log(p) if target == 1 else torch.log(1 - p))
                    counts[name] += 1
                elif name == "far":
                    for pixel, truth in zip(out.reshape(-1), target.reshape(-1), strict=True):
                        if truth > 0:
                            sums[name] = sums[name] + abs(pixel - truth)
                            counts[name] += 1
                elif name == "parts":
                    for pixel, truth in zip(out.reshape(4, -1).T, target.reshape(-1), strict=True):
                        if truth != 255:
                            sums[name] = sums[name] + torch.logsumexp(pixel, 0) - pixel[truth]
                            counts[name] += 1
    weights = {"kind": 1.0, "tall": 0.3, "far": 2.0, "parts": 1.0}
    loss = sum((weights[n] * sums[n] / counts[n] for n in sums if counts[n]), torch.zeros((), dtype=torch.float64))
    gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, materialize_grads=True)
    return torch.cat([g.reshape(-1) for g in gradients])


@pytest.mark.parametrize(("batch_size", "steps"), [(1, 20), (4, 5)])
def test_the_gradient_of_every_step_is_that_of_a_loop_by_hand(batch_size: int, steps: int) -> None:
    """A whole epoch with two sources, float64, to 1e-12; the step is plain SGD."""
    g = Generator().manual_seed(0)
    sources = [source(20, ["kind", "tall", "far", "parts"], g), source(13, ["far", "tall"], g)]
    part, model = core.MultiTaskData(TASKS, sources), Net()
    run, optimizer, lacking = core.Run(precision="float64", progress=False), Noting(model.parameters(), lr=0.1), 0
    with run.phase("p", model=model, optimizer=optimizer) as phase:
        for batch in phase.batches(part.train, epochs=1, batch_size=batch_size):
            assert len(batch) == 2
            expected = by_hand(model, batch)
            phase.step(core.weighting.equal(phase.losses(model, batch), phase.labelled), optimizer)
            torch.testing.assert_close(optimizer.gradient, expected, rtol=0, atol=1e-12)
            assert expected.abs().max() > 0.01
            lacking += not all(phase.labelled.values())
    assert phase.step_number == steps
    assert lacking > 0 or batch_size > 1  # in some step a task has no label at all
