r"""How alike two tasks are, and how difficult each is, as the trainings of their own networks show it.

Networks that start from the same weights and are trained alone have weights $w^t$ and loss curves $L^t$; tasks are alike where
both correlate. A task is as difficult as the share of its samples whose loss is at least the mean over all tasks.

$$S = \alpha S_W + (1 - \alpha) S_L \qquad
\mu = \frac1T \sum_t \frac{1}{N^t} \sum_n \mathcal{L}_n^t \qquad d^t = \frac{1}{N^t} \sum_n 1[\mathcal{L}_n^t \ge \mu]$$

Choi, Jin, Kim, *Task-Aware Dynamic Model Optimization for Multi-Task Learning*, Eq. (1)-(3); Eq. (2) with $1/N^t$ inside the sum
(see the README, difference 3).
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from dmo.backbones import prunable_parts
from mtl_core import SharedBackbone
from mtl_core.components import evaluating, placed
from mtl_core.types import Float

# Functions that are given lists name no shapes: to check the items of a list, the shape checker of the tests draws from the
# global generator, which a fit must leave alone.

CHUNK = 2**16
"""Weights of each network that are looked at together: so that of twenty networks a few MB are copied, not all weights."""

FEW_EPOCHS = 10
"""Shorter curves fall almost alike whatever the tasks are: their correlation is near 1 and says little."""


def weight_similarity(models: Iterable[nn.Module]) -> Tensor:
    r"""$S_W$: Pearson's correlation of the weights of the backbones' convolutions and linear layers.

    Args:
        models: Networks of one architecture, a task each; heads, norms and biases do not count.

    Returns:
        `[T, T]`, in double precision, on the CPU; 0 beside a network whose weights are all equal.

    Raises:
        ValueError: If there is no network, or the backbones differ.

    Examples:
        >>> import torch
        >>> from mtl_core.task import attribute
        >>> def network(*weights):
        ...     layer = torch.nn.Linear(3, 1)
        ...     layer.weight.data = torch.tensor([weights])
        ...     return SharedBackbone(layer, [attribute("a")], lambda c, t: torch.nn.Identity(), example=torch.zeros(1, 3))
        >>> weight_similarity([network(1.0, 2.0, 3.0), network(2.0, 4.0, 6.0), network(3.0, 2.0, 1.0)])[0]
        tensor([ 1.,  1., -1.], dtype=torch.float64)
    """
    rows = [prunable_parts(model) for model in models]
    if not rows:
        raise ValueError("`models` must hold at least one network. Got none.")
    shapes = [{name: tuple(weight.shape) for name, weight in row.items()} for row in rows]
    for place, other in enumerate(shapes):
        different = sorted(name for name in {*shapes[0], *other} if shapes[0].get(name) != other.get(name))
        if different:
            name = different[0]
            raise ValueError(
                f"`models` must have one architecture, as `{name}` of {shapes[0].get(name)} in the first. Got "
                f"{other.get(name)} in model {place}. `feature_similarity` compares networks that differ."
            )
    if not shapes[0]:
        raise ValueError("`models` must have a convolution or a linear layer in their backbones. Got none.")
    return _correlation([[row[name].detach().reshape(-1) for row in rows] for name in shapes[0]])


def loss_similarity(curves: Tensor | Iterable[Iterable[float]]) -> Tensor:
    r"""$S_L$: Pearson's correlation of the tasks' mean training losses, epoch by epoch.

    Args:
        curves: One row a task. Epochs in which a task has no loss (NaN) count for none.

    Returns:
        `[T, T]`, in double precision; 0 beside a curve that does not change.

    Raises:
        ValueError: If there are fewer than three epochs: two always correlate by 1 or −1.

    Examples:
        >>> import torch
        >>> curves = torch.tensor([[3.0, 2.0, 1.0] * 4, [6.0, 4.0, 2.0] * 4, [1.0, 1.0, 1.0] * 4])
        >>> loss_similarity(curves)[0]
        tensor([1., 1., 0.], dtype=torch.float64)
    """
    given = (
        curves if isinstance(curves, Tensor) else torch.tensor([list(curve) for curve in curves], dtype=torch.float64)
    )
    rows = given.detach().double().cpu()
    if rows.ndim != 2 or not len(rows):
        raise ValueError(f"`curves` must be [tasks, epochs]. Got `curves` of shape {list(rows.shape)}.")
    rows = rows[:, ~rows.isnan().any(0)]
    epochs = rows.shape[1]
    if epochs < 3:
        raise ValueError(
            "`curves` must have at least three epochs in which every task has a loss: two points always correlate by 1 or "
            f"-1. Got {epochs}."
        )
    if epochs < FEW_EPOCHS and len(rows) > 1:
        warnings.warn(
            f"The similarity of loss curves says little after {epochs} epochs: give at least {FEW_EPOCHS}.",
            stacklevel=2,
        )
    return _correlation([list(rows)])


def similarity(
    S_W: Float[Tensor, "task task"], S_L: Float[Tensor, "task task"], alpha: float
) -> Float[Tensor, "task task"]:
    r"""$S = \alpha S_W + (1 - \alpha) S_L$.

    Args:
        S_W: Similarity of the weights.
        S_L: Similarity of the losses.
        alpha: $\alpha$ in [0, 1].

    Raises:
        ValueError: If `alpha` is out of range.

    Examples:
        >>> import torch
        >>> similarity(torch.tensor([[1.0, 0.2], [0.2, 1.0]]), torch.tensor([[1.0, 0.6], [0.6, 1.0]]), alpha=0.5)[0, 1]
        tensor(0.4000)
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"`alpha` must be in [0, 1]. Got `alpha = {alpha}`.")
    return alpha * S_W + (1 - alpha) * S_L  # Eq. (1)


def feature_similarity(models: Iterable[nn.Module], inputs: Tensor) -> Tensor:
    r"""Linear centred kernel alignment of the networks' features: a stand-in for $S_W$ where backbones differ.

    With centred features $X_i$ of the same samples, $\lVert X_j^\top X_i\rVert_F^2 / (\lVert X_i^\top X_i\rVert_F
    \lVert X_j^\top X_j\rVert_F)$ is 1 for features that are equal up to a rotation and a scale, and 0 for unrelated ones
    (Kornblith et al., *Similarity of neural network representations revisited*, which the paper names).

    Args:
        models: Networks; of a `SharedBackbone` the backbone's output is taken, of another module its own.
        inputs: One batch of samples, the more the better.

    Returns:
        `[T, T]`, in double precision; 0 beside a network whose features do not depend on the sample.

    Raises:
        TypeError: If a network gives no tensor.

    Examples:
        >>> import torch
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
        >>> turned = torch.nn.Linear(2, 2)
        >>> turned.weight.data = torch.tensor([[0.0, -2.0], [2.0, 0.0]])
        >>> feature_similarity([torch.nn.Identity(), turned], x)[0].round(decimals=6)
        tensor([1., 1.], dtype=torch.float64)
    """
    kernels = []
    for model in models:
        module = model.backbone if isinstance(model, SharedBackbone) else model
        with evaluating(module):
            features = module(placed(inputs, module))
        if not isinstance(features, Tensor):
            raise TypeError(f"`models` must give one tensor of features. Got {type(features).__name__}.")
        X = features.detach().flatten(1).double().cpu()
        X = X - X.mean(0)
        K = X @ X.T
        kernels.append(K.flatten() / K.norm() if bool(K.any()) else K.flatten())
    rows = torch.stack(kernels)
    return rows @ rows.T


def loss_threshold(sample_losses: Iterable[Tensor | Sequence[float]]) -> Tensor:
    r"""$\mu$: the mean over the tasks of each task's mean loss.

    Args:
        sample_losses: The losses of each task's samples; NaN where a sample has no label.

    Raises:
        ValueError: If a task has no loss, or one that is not finite.

    Examples:
        >>> loss_threshold([[0.1, 0.3], [0.5, 1.1, 2.0]])
        tensor(0.7000, dtype=torch.float64)
    """
    return torch.stack([losses.mean() for losses in _labelled(sample_losses)]).mean()  # Eq. (2)


def difficulty(sample_losses: Iterable[Tensor | Sequence[float]]) -> Tensor:
    r"""$d^t$: the share of a task's samples whose loss is at least $\mu$.

    Args:
        sample_losses: The losses of each task's samples, measured in evaluation mode and without augmentation, all in one
            unit; NaN where a sample has no label.

    Returns:
        `[T]`, in double precision, from 0 (no sample is difficult) to 1.

    Raises:
        ValueError: If a task has no loss, or one that is not finite.

    Examples:
        >>> difficulty([[0.1, 0.3], [0.5, 1.1, 2.0]])
        tensor([0.0000, 0.6667], dtype=torch.float64)
    """
    rows = _labelled(sample_losses)
    mu = loss_threshold(rows)
    return torch.stack([(losses >= mu).double().mean() for losses in rows])  # Eq. (3)


def _labelled(sample_losses: Iterable[Tensor | Sequence[float]]) -> list[Tensor]:
    rows = [torch.as_tensor(losses, dtype=torch.float64).reshape(-1).cpu() for losses in sample_losses]
    if not rows:
        raise ValueError("`sample_losses` must hold the losses of at least one task. Got none.")
    rows = [row[~row.isnan()] for row in rows]
    for place, row in enumerate(rows):
        if not len(row) or not bool(row.isfinite().all()):
            raise ValueError(
                f"`sample_losses` must hold finite losses of each task. Got {len(row)} losses, not all of them finite, of "
                f"task {place}."
                if len(row)
                else f"`sample_losses` must hold a loss of each task. Got none of task {place}."
            )
    return rows


def _correlation(parts: Sequence[Sequence[Tensor]]) -> Tensor:
    """Pearson's correlation of T vectors that are given in pieces: each piece holds a stretch of all of them.

    Two passes, means first: one pass with sums of squares would lose all digits where the mean is far from 0. Everything is
    relative to a vector's first element, so that a constant vector has a spread of exactly 0.
    """
    first = torch.stack([vector[0].double().cpu() for vector in parts[0]])[:, None]
    length = sum(len(piece[0]) for piece in parts)
    mean = torch.zeros_like(first)
    for chunk in _chunks(parts):
        mean += (chunk - first).sum(1, keepdim=True) / length
    products = first.new_zeros(len(first), len(first))
    for chunk in _chunks(parts):
        centred = chunk.sub_(first).sub_(mean)
        products.addmm_(centred, centred.T)
    spread = products.diagonal().sqrt()
    scale = spread[:, None] * spread
    return torch.where(scale > 0, products / scale.where(scale > 0, 1.0), 0.0).clamp(-1, 1)


def _chunks(parts: Sequence[Sequence[Tensor]]) -> Iterator[Tensor]:
    for piece in parts:
        for start in range(0, len(piece[0]), CHUNK):
            yield torch.stack([vector[start : start + CHUNK].double() for vector in piece]).cpu()
