"""LOMT does what every method must do, with decoders at layers that the sparsity has chosen."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import lomt
from mtl_core import SharedBackbone, Task
from mtl_core.testing import CHECKS, Method, common
from mtl_core.testing.models import EXAMPLE_SHAPE, head


class Residual(nn.Module):
    """A stem and three blocks, the last of which starts so small and does so little that it vanishes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1)
        self.first, self.second, self.third = (nn.Conv2d(6, 6, 3, padding=1) for _ in range(3))
        with torch.no_grad():
            self.third.weight.mul_(1e-3)

    def forward(self, inputs: Tensor) -> Tensor:
        """Add a correction three times."""
        x = torch.relu(self.stem(inputs))
        x = x + torch.tanh(self.first(x))
        x = x + torch.tanh(self.second(x))
        return x + 0.03 * torch.tanh(self.third(x))


def build(tasks: dict[str, Task]) -> SharedBackbone:
    return SharedBackbone(Residual(), tasks, head, example=torch.zeros(EXAMPLE_SHAPE))


METHOD = Method(
    __file__,
    lomt.fit,
    lomt.Config(lambda_=0.003, epochs=2, batch_size=3),
    build=build,
    refuses=("one task only", "unused head"),
)


def test_the_method_under_test_moves_decoders() -> None:
    """Otherwise the suite would look at plain multi-task learning."""
    assert set(METHOD(common()).report.layers.values()) == {"second", "output"}


# The zoo's networks have no by-passes, which LOMT says each time.
@pytest.mark.filterwarnings("ignore:The backbone has no way round")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conformance(check: Callable[[Method, Path], None], tmp_path: Path) -> None:
    """The suite that core ships."""
    check(METHOD, tmp_path)
