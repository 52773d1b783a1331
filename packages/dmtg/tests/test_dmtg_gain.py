"""The poster's figures, worked by hand and against the poster's own tables."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

import dmtg
from mtl_core import SharedBackbone, TaskGroups
from mtl_core.task import attribute

NAIVE = [
    8.67e-3,
    1.07e-1,
    8.28e-2,
    1.19e-2,
    1.31e-2,
]  # the poster's losses: depth, normals, segmentation, keypoints, edges
RANDOM = [2.57e-2, 1.08e-1, 8.43e-2, 6.87e-3, 6.88e-3]


def test_worked_examples() -> None:
    """Two errors of 10 and 20 %; one task half as bad, the other twice."""
    assert dmtg.total_error([0.9, 0.8]) == pytest.approx(30)
    assert dmtg.total_loss([0.5, 0.25, 0.125]) == 0.875
    assert dmtg.norm_gain([0.5, 0.2], [1, 0.1]) == pytest.approx(-25)


def test_the_mean_of_the_posters_percentages_is_the_posters() -> None:
    """Random groups, K = 3: a gain of p % is a loss of 1 − p/100 against 1."""
    percentages = [-195.88, -0.81, -1.88, 42.46, 47.45]
    assert dmtg.norm_gain([1 - p / 100 for p in percentages], [1] * 5) == pytest.approx(-21.73, abs=0.005)


def test_the_posters_losses_give_its_total_and_its_gain() -> None:
    """Taskonomy, random groups, K = 3: 0.231 and −21.73, within the rounding of the printed losses."""
    assert dmtg.total_loss(NAIVE) == pytest.approx(0.223, abs=6e-4)
    assert dmtg.total_loss(RANDOM) == pytest.approx(0.231, abs=1e-3)
    assert dmtg.norm_gain(RANDOM, NAIVE) == pytest.approx(-21.73, abs=0.5)


def test_the_reference_itself_gains_nothing_and_no_error_all() -> None:
    """0 at the reference, 100 where nothing is left."""
    assert dmtg.norm_gain(NAIVE, NAIVE) == 0
    assert dmtg.norm_gain([0.0, 0.0], [0.5, 2.0]) == 100


def test_a_gain_does_not_depend_on_the_unit_of_a_task() -> None:
    """Metres or millimetres."""
    factors = [1000.0, 1.0, 0.1, 7.0, 3.0]
    scaled = [[f * v for f, v in zip(factors, values, strict=True)] for values in (RANDOM, NAIVE)]
    assert dmtg.norm_gain(*scaled) == pytest.approx(dmtg.norm_gain(RANDOM, NAIVE))


def network(name: str) -> SharedBackbone:
    return SharedBackbone(nn.Linear(4, 3), [attribute(name)], lambda c, t: nn.Linear(c, 1), example=torch.zeros(1, 4))


def test_encoders_are_counted_in_those_of_one_network() -> None:
    """One for a single network, K for K groups; a stem counts once: (20 + 2·15) / (20 + 15)."""
    assert dmtg.relative_encoders(network("a")) == 1
    groups = {name: network(name) for name in "abc"}
    assert dmtg.relative_encoders(TaskGroups(groups)) == 3
    two = TaskGroups({name: network(name) for name in "ab"}, stem=nn.Linear(4, 4))
    assert dmtg.relative_encoders(two) == pytest.approx(50 / 35)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: dmtg.total_error([]), "`accuracy` must hold a finite number for each task"),
        (lambda: dmtg.total_error([90.0]), r"`accuracy` must be in \[0, 1\]"),
        (lambda: dmtg.total_loss([float("nan")]), "`losses` must hold a finite number"),
        (lambda: dmtg.norm_gain([1.0], [1.0, 2.0]), "`value` and `reference` must have the same tasks"),
        (lambda: dmtg.norm_gain([1.0], [0.0]), "`reference` must be positive"),
    ],
)
def test_unusable_figures_are_refused(wrong: Callable[[], float], message: str) -> None:
    """The message names the argument and the rule."""
    with pytest.raises(ValueError, match=message):
        wrong()


def test_a_model_of_heads_only_has_no_encoders_to_count() -> None:
    """Nothing to relate to."""
    model = SharedBackbone(nn.Identity(), [attribute("a")], lambda c, t: nn.Linear(c, 1), example=torch.zeros(1, 4))
    with pytest.raises(ValueError, match="`model` must have parameters outside its heads"):
        dmtg.relative_encoders(model)
