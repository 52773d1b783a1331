"""A pass that is watched: operations as worked by hand and as torch counts them, what takes part, what lives at once."""

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_core import backbones
from mtl_core.trace import Trace, trace


def watched(model: nn.Module, *inputs: Tensor) -> Trace:
    return trace(model.eval(), lambda: model(*inputs), inputs)


@pytest.mark.parametrize(
    ("layer", "x", "multiply_adds"),
    [
        (nn.Linear(3, 4), torch.zeros(2, 3), 2 * 3 * 4),
        (nn.Linear(3, 4, bias=False), torch.zeros(2, 5, 3), 2 * 5 * 3 * 4),
        (nn.Conv2d(3, 8, 3, stride=2, padding=1), torch.zeros(2, 3, 8, 6), 2 * 8 * 3 * 9 * 4 * 3),
        (nn.Conv2d(4, 8, 3, groups=4), torch.zeros(1, 4, 5, 5), 8 * 9 * 9),
        (nn.ConvTranspose2d(4, 2, 2, stride=2), torch.zeros(1, 4, 3, 3), 4 * 2 * 4 * 9),
        (nn.Conv1d(2, 3, 3), torch.zeros(1, 2, 9), 2 * 3 * 3 * 7),
    ],
)
@pytest.mark.parametrize("zeros", [0.0, 0.25, 1.0])
def test_operations_are_those_worked_by_hand(layer: nn.Module, x: Tensor, multiply_adds: int, zeros: float) -> None:
    """Two for each multiply-add; of a layer of which a quarter is zero, three quarters are left."""
    weight: Any = layer.weight
    with torch.no_grad():
        weight.fill_(1.0)
        weight.view(-1)[: round(zeros * weight.numel())] = 0.0
        if layer.bias is not None:
            layer.bias.zero_()  # type: ignore[operator]  # no factor, and so without effect
    found = watched(layer, x)
    assert found.flops == 2 * multiply_adds
    kept = 1 - round(zeros * weight.numel()) / weight.numel()
    assert found.nonzero_flops == pytest.approx(2 * multiply_adds * kept)


@pytest.mark.parametrize(("name", "attention"), [("vit", 4 * 2 * 64**2 * 64 * 4), ("resnet10", 0), ("mobilenet_v2", 0)])
def test_operations_are_those_that_the_layers_add_up_to(name: str, attention: int) -> None:
    """Two for each weight and position of an output; the attention's products, two per block, by hand."""
    model = getattr(backbones, name)().eval()
    x, total = torch.rand(2, 3, 32, 32), attention

    def add(layer: Any, _: Any, out: Tensor) -> None:
        nonlocal total
        channel = -1 if isinstance(layer, nn.Linear) else 1
        total += 2 * layer.weight.numel() * out.numel() // out.shape[channel]

    for layer in model.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            layer.register_forward_hook(add)
    assert watched(model, x).flops == total


def test_fused_attention_hides_nothing() -> None:
    """torch's own attention layer: four projections and two products, by hand; its fast path is there again afterwards."""
    layer, x = nn.MultiheadAttention(8, 2, batch_first=True), torch.rand(2, 5, 8)
    assert watched(layer, x, x, x).flops == 2 * (4 * 2 * 5 * 8 * 8 + 2 * 2 * 2 * 5 * 5 * 4)
    assert torch.backends.mha.get_fastpath_enabled()


class Parts(nn.Module):
    """Two ways, a weight used twice, a buffer, an operation in place, and a product without a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.b.weight = self.a.weight
        self.register_buffer("shift", torch.ones(4))

    def forward(self, x: Tensor, other: bool = False) -> Tensor:
        if other:
            return self.c(x)
        x = self.b(self.a(x)).relu_() + self.shift
        return x @ x.t()


def test_only_what_takes_part_is_used() -> None:
    """By any name that it has; operations without a weight are whole."""
    model, x = Parts(), torch.rand(3, 4)
    with torch.no_grad():
        model.a.weight.zero_()
    found = watched(model, x)
    assert found.used == {"a.weight", "b.weight", "a.bias", "b.bias", "shift"}
    assert found.weight_bytes == 4 * (16 + 4 + 4 + 4)
    assert found.flops == 2 * (2 * 3 * 16 + 3 * 4 * 3)
    assert found.nonzero_flops == 2 * 3 * 4 * 3
    other = trace(model, lambda: model(x, True), [x])
    assert other.used == {"c.weight", "c.bias"}


def test_the_peak_is_the_most_that_lives_at_once() -> None:
    """By hand: the input and two activations of a chain; a view takes nothing, and what is freed counts no more."""
    chain = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(6)), nn.Flatten())
    x = torch.rand(2, 4, 8, 8)
    assert watched(chain, x).activation_bytes == 3 * x.nbytes
    assert watched(nn.Sequential(nn.Flatten(), nn.Unflatten(1, (4, 64))), x).activation_bytes == x.nbytes


def test_a_sparse_weight_is_known_as_one() -> None:
    """A buffer in CSR form takes its values and where they stand."""

    class Sparse(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch calls these tensors beta, once per process
                self.register_buffer("weight", torch.eye(4).to_sparse_csr())

        def forward(self, x: Tensor) -> Any:
            return self.weight @ x  # type: ignore[operator]

    found = watched(Sparse(), torch.rand(4, 2))
    assert found.used == {"weight"}
    assert found.weight_bytes == 4 * 4 + 8 * 5 + 8 * 4
