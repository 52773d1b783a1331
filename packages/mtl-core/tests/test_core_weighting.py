"""Weightings of losses: a task without a label in a step is left out, which is not the same as a loss of zero."""

import math

import pytest
import torch

from mtl_core.weighting import Fixed, Uncertainty, equal, sum_of


def losses(**values: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in values.items()}


def test_equal_weights_are_the_sum_of_what_is_labelled() -> None:
    """Also of K losses a task."""
    found = losses(a=2.0, b=3.0, c=0.0)
    loss = equal(found, {"a": 4, "b": 1, "c": 0})
    loss.backward()
    assert (loss.item(), found["a"].grad, found["c"].grad) == (5.0, 1.0, None)
    assert equal({"a": torch.ones(2), "b": torch.full((2,), 2.0)}, {"a": 1, "b": 1}) == 6


def test_fixed_weights_multiply() -> None:
    """Every task is named, no weight is negative."""
    assert Fixed({"a": 0.5, "b": 2.0})(losses(a=2.0, b=3.0), {"a": 1, "b": 1}) == 7
    assert Fixed({"a": 0.5, "b": 2.0})(losses(a=2.0, b=3.0), {"a": 1, "b": 0}) == 1
    with pytest.raises(ValueError, match=r"`weights` must name every task. Got none for \['b'\]"):
        Fixed({"a": 1.0})(losses(a=1.0, b=1.0), {"a": 1, "b": 1})
    for bad in (-1.0, math.nan):
        with pytest.raises(ValueError, match=r"`weights` must be >= 0. Got `weights = "):
            Fixed({"a": bad})
    assert repr(Fixed({"a": 1.0})) == "Fixed({'a': 1.0})"


def test_learned_weights_follow_their_formula() -> None:
    """Half of exp(-s) L + s, worked by hand; at its optimum, s = log L, the gradient of s vanishes."""
    weigh = Uncertainty(["a", "b"]).double()
    found = losses(a=4.0, b=1.0)
    assert weigh(found, {"a": 1, "b": 1}).item() == 2.5
    with torch.no_grad():
        weigh.s["a"].fill_(math.log(4.0))
    loss = weigh(found, {"a": 1, "b": 1})
    loss.backward()
    assert loss.item() == pytest.approx(0.5 + 0.5 * math.log(4) + 0.5)
    assert weigh.s["a"].grad.item() == pytest.approx(0, abs=1e-12)
    assert weigh.s["b"].grad.item() == 0
    assert found["a"].grad == pytest.approx(0.5 / 4)


def test_an_unlabelled_task_does_not_move_its_weight() -> None:
    """A loss of zero would draw it to minus infinity."""
    weigh = Uncertainty(["a", "b"])
    weigh(losses(a=1.0, b=0.0), {"a": 1, "b": 0}).backward()
    assert weigh.s["b"].grad is None
    with pytest.raises(ValueError, match=r"`tasks` must have names .* Got `keys`"):
        Uncertainty(["keys"])


def test_nothing_labelled_is_a_zero_that_can_go_backward() -> None:
    """With gradients of zero."""
    found = losses(a=1.0, b=2.0)
    loss = sum_of({}, found)
    loss.backward()
    assert (loss.item(), found["a"].grad) == (0, 0)
