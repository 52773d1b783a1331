"""Eq. (9): a budget for each task."""

import pytest
import torch

from dagmtl import squeeze_loss


def test_worked_example() -> None:
    """2.4 against a budget of 2, and .6 within it."""
    gamma = torch.logit(torch.tensor([[0.9, 0.8, 0.7], [0.1, 0.2, 0.3]], dtype=torch.float64))
    assert squeeze_loss(gamma, kappa=2).item() == pytest.approx(0.4)


def test_equals_the_loop_over_tasks_and_layers() -> None:
    """As it is printed, with the sum over the tasks."""
    gamma = torch.randn(5, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    total = 0.0
    for row in gamma.tolist():
        total += max(sum(1 / (1 + torch.tensor(-value).exp().item()) for value in row) - 5.5, 0.0)
    assert total > 0
    assert squeeze_loss(gamma, kappa=5.5).item() == pytest.approx(total, rel=1e-6)


def test_below_its_budget_a_task_is_left_alone_and_above_it_all_its_layers_are_pushed_down() -> None:
    """No gradient for the one, a positive one everywhere for the other."""
    gamma = torch.tensor([[-3.0, -3.0, -3.0], [3.0, 0.0, -3.0]], requires_grad=True)
    squeeze_loss(gamma, kappa=1.0).backward()
    assert gamma.grad is not None
    assert not gamma.grad[0].any()
    assert (gamma.grad[1] > 0).all()


def test_one_tasks_thrift_does_not_pay_for_another() -> None:
    """The budget is per task: a mean within it is not enough."""
    gamma = torch.tensor([[-20.0, -20.0], [20.0, 20.0]])
    assert squeeze_loss(gamma, kappa=1.0).item() == pytest.approx(1.0)


def test_order_and_number_of_tasks_do_not_matter() -> None:
    """A sum over tasks: shuffled it is the same, of none it is 0."""
    gamma = torch.randn(4, 6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(squeeze_loss(gamma, 2.0), squeeze_loss(gamma.flip(0), 2.0))
    assert squeeze_loss(gamma[:0], 2.0).item() == 0


def test_huge_parameters_stay_finite() -> None:
    """The sigmoid saturates."""
    gamma = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = squeeze_loss(gamma, kappa=0.0)
    loss.backward()
    assert loss.item() == 1
    assert gamma.grad is not None
    assert torch.isfinite(gamma.grad).all()
