"""Core's own trainings do what every method must do."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import mtl_core
from mtl_core import weighting
from mtl_core.testing import CHECKS, Method

CONFIG = mtl_core.Config(epochs=2, batch_size=3, lr=0.01, cosine=True, keep_best=True)
METHOD = Method(__file__, partial(mtl_core.fit, weigh=weighting.Uncertainty), CONFIG)
SINGLE = Method(__file__, mtl_core.fit_single_tasks, CONFIG, refuses=())  # each model has one task only


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_joint_training_conforms(check: Callable[[Method, Path], None], tmp_path: Path) -> None:
    """With all that has state: momentum, a schedule, learned weights, the best weights so far."""
    check(METHOD, tmp_path)


# Two ranks train single tasks in `test_core_resume.py`: processes of their own find one `METHOD` in a file.
@pytest.mark.parametrize("check", CHECKS[:-1], ids=lambda check: check.__name__)
def test_single_tasks_conform(check: Callable[[Method, Path], None], tmp_path: Path) -> None:
    """Trainings that `Run.spread` shares out."""
    check(SINGLE, tmp_path)
