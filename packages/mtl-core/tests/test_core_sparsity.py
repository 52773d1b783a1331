"""Exact zeros are counted, and stay zero while the rest trains on."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import mtl_core as core
from mtl_core.sparsity import count_zeros, keep_zeros, prunable_weights

OPTIMIZERS = [
    partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1),
    partial(torch.optim.Adam, lr=0.1, weight_decay=0.1),
    partial(torch.optim.AdamW, lr=0.1, weight_decay=0.1, fused=True),
]


def pruned() -> nn.Sequential:
    """Half of the weights of a convolution and a linear layer are zero; a norm's weight is, too."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    with torch.no_grad():
        for layer in (model[0], model[3]):
            layer.weight.masked_fill_(torch.rand_like(layer.weight) < 0.5, 0.0)
        model[1].weight.zero_()
        model[3].bias.zero_()
    return model


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 5) -> None:
    for step in range(steps):
        x = torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        (model(x) - 3).square().sum().backward()
        optimizer.step()


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_zeros_stay_while_the_rest_trains(make: Callable[..., torch.optim.Optimizer]) -> None:
    """Also where momentum from before the pruning, or decay, would move them; norms and biases are free."""
    model = pruned()
    optimizer = make(model.parameters())
    train(model, optimizer)
    with torch.no_grad():
        model[0].weight[:2] = 0.0
    before = {name: (w == 0, w.detach().clone()) for name, w in prunable_weights(model).items()}
    keep_zeros(model, optimizer)
    train(model, optimizer)
    for name, weight in prunable_weights(model).items():
        zero, old = before[name]
        assert torch.equal(weight == 0, zero)
        assert bool((weight != old)[~zero].all())
    assert bool((model[1].weight != 0).all())
    assert bool((model[3].bias != 0).all())


def test_without_it_the_zeros_come_back_to_life() -> None:
    """The test above would fail; and so it is again once the zeros are let free."""
    model = pruned()
    optimizer = OPTIMIZERS[0](model.parameters())
    zeros = sum(zero for zero, _ in count_zeros(model).values())
    with keep_zeros(model, optimizer):
        train(model, optimizer)
        assert sum(zero for zero, _ in count_zeros(model).values()) == zeros
    train(model, optimizer)
    assert sum(zero for zero, _ in count_zeros(model).values()) < zeros / 2


def test_an_infinite_weight_does_not_spoil_a_zero() -> None:
    """A zero that momentum has made infinite is zero again, not NaN."""
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0, 1.0]]))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    keep_zeros(model, optimizer)
    model.weight.grad = torch.tensor([[torch.inf, 0.0]])
    optimizer.step()
    assert model.weight.tolist() == [[0.0, 1.0]]


def test_zeros_stay_through_phases_and_a_resumed_run(tmp_path: Path) -> None:
    """Within `Run`, and after the phase is loaded again."""
    task = core.Task("a", 1, lambda p, t: ((p[:, 0] - t) ** 2, ~t.isnan()))
    pairs = [(torch.rand(1, 4, 4), {"a": float(index)}) for index in range(8)]
    part = core.MultiTaskData([task], pairs)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = pruned()

        def forward(self, x: torch.Tensor, tasks: Any = None) -> dict[str, torch.Tensor]:
            return {"a": self.body(x)}

    weights = []
    for _ in range(2):
        model, run = Model(), core.Run(tmp_path, progress=False)
        expected = count_zeros(model)
        optimizer = OPTIMIZERS[1](model.parameters())
        with (
            keep_zeros(model, optimizer),
            run.phase("more", model=model, optimizer=optimizer) as phase,
        ):
            for batch in phase.batches(part.train, epochs=2, batch_size=4):
                phase.step(phase.losses(model, batch)["a"], optimizer)
        assert count_zeros(model) == expected
        weights.append(model.body[0].weight.detach().clone())
    assert torch.equal(*weights)


def test_a_shared_weight_is_counted_once() -> None:
    """Tied layers have one weight."""
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    assert count_zeros(model) == {"0.weight": (0, 4)}


def test_other_optimizers_are_refused() -> None:
    """They could not say when a step is done."""
    with pytest.raises(TypeError, match=r"`optimizer` must be a torch optimizer. Got `int`"):
        keep_zeros(nn.Linear(1, 1), 3)  # type: ignore[arg-type]


def test_zeros_can_be_named_and_others_are_left_free() -> None:
    """A weight that only happens to be zero moves; what is not zero yet becomes it with the first step."""
    layer = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0, 0.0, 1.0]]))
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    with keep_zeros(layer, optimizer, {"weight": torch.tensor([[True, False, False]])}):
        layer(torch.ones(1, 3)).sum().backward()
        optimizer.step()
    assert layer.weight.tolist() == [[0.0, -0.5, 0.5]]


@pytest.mark.parametrize("zeros", [{"bias": torch.ones(1)}, {"weight": torch.ones(2, 2)}])
def test_zeros_of_no_prunable_weight_are_refused(zeros: dict[str, torch.Tensor]) -> None:
    """Another name or shape."""
    layer = nn.Linear(3, 1)
    with pytest.raises(ValueError, match="`zeros` must have the names and shapes of prunable weights"):
        keep_zeros(layer, torch.optim.SGD(layer.parameters(), lr=0.1), zeros)
