r"""Means of losses that are given element by element: over a batch, and over each sample.

$$L = \frac{\sum_{i \in \text{labelled}} \ell_i}{|\text{labelled}|}, \qquad
L_s = \frac{\sum_{i \in \text{labelled},\, i \text{ of } s} \ell_i}{|\text{labelled elements of } s|}$$

Sum and number are kept apart, so that both can be added over views and ranks before the division: labels that are
missing unevenly between them then change nothing.
"""

import torch

from mtl_core.types import Bool, Float, Int, Tensor


def mean_loss(
    values: Float[Tensor, "*elements"], valid: Bool[Tensor, "*elements"]
) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
    """Give the sum of the labelled values and their number; the loss is the one by the other, and 0 where that is 0.

    A loss that gives only a mean (values without axes) counts as one element.

    Args:
        values: Loss, element by element; what stands where `valid` is false does not count.
        valid: Where it is labelled.

    Raises:
        ValueError: If the two have different shapes.

    Examples:
        >>> mean_loss(torch.tensor([[1.0, 2.0], [4.0, 9.0]]), torch.tensor([[True, True], [True, False]]))
        (tensor(7.), tensor(3))
    """
    _same_shape(values, valid)
    return torch.where(valid, values, 0.0).sum(), valid.sum()


def sample_losses_of(values: Tensor, valid: Tensor, task: str) -> Float[Tensor, " batch"]:
    """Give the loss of each sample, the mean over its labelled elements; NaN where it has no label.

    Args:
        values: Loss, element by element, first axis the sample.
        valid: Where it is labelled.
        task: Name of the task, for the message.

    Raises:
        ValueError: If the loss of `task` is only a mean, or the two have different shapes.

    Examples:
        >>> valid = torch.tensor([[True, True], [False, False]])
        >>> sample_losses_of(torch.tensor([[1.0, 2.0], [4.0, 9.0]]), valid, "depth")
        tensor([1.5000,    nan])
    """
    if values.ndim == 0:
        raise ValueError(
            f"`elements` of task `{task}` must give a value per sample, because losses per sample are needed. "
            "Got `values.ndim = 0`: a mean."
        )
    _same_shape(values, valid)
    sums = (
        torch.where(valid, values, 0.0).flatten(start_dim=1).sum(dim=1) if values.ndim > 1 else values.where(valid, 0.0)
    )
    counts = valid.flatten(start_dim=1).sum(dim=1) if valid.ndim > 1 else valid
    return sums / counts  # 0 / 0 is NaN: no label


def _same_shape(values: Tensor, valid: Tensor) -> None:
    if values.shape != valid.shape:
        raise ValueError(
            "`elements` must give values and mask of the same shape. "
            f"Got `values.shape = {tuple(values.shape)}`, `valid.shape = {tuple(valid.shape)}`."
        )
