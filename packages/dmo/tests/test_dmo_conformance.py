"""DMO does what every method must do, with a group of two tasks and a task of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest

import dmo
from mtl_core.testing import CHECKS, Method, common

METHOD = Method(__file__, dmo.fit, dmo.Config(epochs=3, batch_size=5, lr=0.02, tau_sim=0.8))

# Three epochs say little, and the suite's tasks have losses of two kinds: DMO says so each time.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The similarity of loss curves says little"),
    pytest.mark.filterwarnings("ignore:The tasks' losses are of different kinds"),
]


def test_the_method_under_test_makes_a_group_of_several_tasks() -> None:
    """Otherwise the suite would look at single tasks, or at hard parameter sharing."""
    groups = METHOD(common()).report.groups
    assert sorted(map(len, groups.values())) == [1, 2]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conformance(check: Callable[[Method, Path], None], tmp_path: Path) -> None:
    """The suite that core ships."""
    check(METHOD, tmp_path)
