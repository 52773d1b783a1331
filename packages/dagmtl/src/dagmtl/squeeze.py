r"""Squeeze loss: a budget of layers for each task.

$$\mathcal{L}_{sq} = \sum_{k=1}^{K} \max\Big(\sum_{ij} \sigma(\gamma_{ij}^k) - \kappa,\; 0\Big)$$

Choi and Im, *Dynamic Neural Network for Multi-Task Learning Searching across Diverse Network Topologies*, Eq. (9), with the sum
over the tasks (the paper prints κ as its upper limit).
"""

import torch

from mtl_core.types import Float, Tensor


def squeeze_loss(gamma: Float[Tensor, "task edges"], kappa: float) -> Float[Tensor, ""]:
    r"""What the tasks' layers are above their budget, added up; 0 within it.

    Args:
        gamma: $\Gamma^k$ before the sigmoid, a row a task, a column for each layer that there is. (In a square matrix every
            pair of states without a layer would count ½.)
        kappa: Budget $\kappa$ of each task, in layers.

    Examples:
        >>> squeeze_loss(torch.zeros(2, 8), kappa=3.0)  # each task has 8 halves
        tensor(2.)
    """
    return (torch.sigmoid(gamma).sum(1) - kappa).clamp(min=0).sum()  # Eq. (9)
