"""Means over labelled elements, of a batch and of each sample."""

import pytest
import torch

from mtl_core.reduction import mean_loss, sample_losses_of


def test_unlabelled_elements_do_not_count() -> None:
    """A NaN where nothing is labelled changes neither the sum nor the gradient."""
    values = torch.tensor([[1.0, torch.nan], [4.0, 9.0]], dtype=torch.float64, requires_grad=True)
    valid = torch.tensor([[True, False], [True, False]])
    total, count = mean_loss(values, valid)
    total.backward()
    assert (total.item(), count.item()) == (5.0, 2)
    assert values.grad is not None
    assert torch.equal(values.grad, valid.double())


def test_a_batch_without_labels_sums_to_zero() -> None:
    """Sum 0, number 0, gradient 0: the caller's loss is 0."""
    values = torch.ones(3, 2, requires_grad=True)
    total, count = mean_loss(values, torch.zeros(3, 2, dtype=torch.bool))
    total.backward()
    assert (total.item(), count.item()) == (0.0, 0)
    assert values.grad is not None
    assert (values.grad == 0).all()


def test_a_mean_counts_as_one_element() -> None:
    """A loss that gives only a mean trains: its value over 1, or over 0 where it says that nothing is labelled."""
    assert [x.item() for x in mean_loss(torch.tensor(2.5), torch.tensor(True))] == [2.5, 1]
    assert [x.item() for x in mean_loss(torch.tensor(2.5), torch.tensor(False))] == [0.0, 0]


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 1, 3, 5)])
def test_the_loss_of_a_sample_is_the_mean_over_its_labelled_elements(shape: tuple[int, ...]) -> None:
    """Equal to the loop over samples; NaN exactly where a sample has no label."""
    g = torch.Generator().manual_seed(3)
    values, valid = torch.rand(shape, generator=g, dtype=torch.float64), torch.rand(shape, generator=g) < 0.6
    valid[1] = False
    values = values.masked_fill(~valid, torch.nan)
    losses = sample_losses_of(values, valid, "depth")
    assert losses.shape == (4,)
    for sample in range(4):
        expected = values[sample][valid[sample]].mean() if valid[sample].any() else torch.tensor(torch.nan).double()
        torch.testing.assert_close(losses[sample], expected, equal_nan=True)
    assert losses[1].isnan()


def test_one_sample_alone_keeps_its_loss() -> None:
    """The loss of a sample does not depend on the batch that it is in."""
    g = torch.Generator().manual_seed(4)
    values, valid = torch.rand(5, 2, 3, generator=g, dtype=torch.float64), torch.rand(5, 2, 3, generator=g) < 0.5
    together = sample_losses_of(values, valid, "x")
    alone = torch.cat([sample_losses_of(values[i : i + 1], valid[i : i + 1], "x") for i in range(5)])
    assert torch.equal(together.nan_to_num(nan=-1), alone.nan_to_num(nan=-1))


def test_a_mean_has_no_losses_per_sample() -> None:
    """Refused with the task's name."""
    with pytest.raises(
        ValueError, match=r"`elements` of task `mine` must give a value per sample.*Got `values.ndim = 0`"
    ):
        sample_losses_of(torch.tensor(1.0), torch.tensor(True), "mine")


def test_a_mask_of_another_shape_is_refused() -> None:
    """A mask that would be broadcast would count its elements wrongly."""
    with pytest.raises(ValueError, match=r"must give values and mask of the same shape. Got `values.shape = \(2, 3\)`"):
        sample_losses_of(torch.zeros(2, 3), torch.ones(2, dtype=torch.bool), "mine")
