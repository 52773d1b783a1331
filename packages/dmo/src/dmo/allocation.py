r"""How many weights a task gets, which ones, and how the tasks of a group put theirs together.

A difficult task keeps more: of its network's weights the largest $1 - e^{-d/\tau}$ survive. The network of a group has the
weights that survive for at least one of its tasks; where several want one, the value is that of the most difficult of them.

$$p^t = e^{-d^t/\tau}, \qquad \text{keep}^t = 1 - p^t, \qquad w^G = \bigcup_{t \in G} \{w^t_i : |w^t_i| \text{ is large}\}$$

Choi, Jin, Kim, *Task-Aware Dynamic Model Optimization for Multi-Task Learning*, Section III-D, with the temperature of IV-E.
The paper numbers none of these formulas.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import torch

from dmo.backbones import prunable_parts
from dmo.config import Config
from dmo.grouping import group_tasks
from dmo.similarity import difficulty, loss_similarity, loss_threshold, similarity, weight_similarity
from dmo.single import Single
from mtl_core.types import Tensor

Weights = Mapping[str, Tensor]
"""Weights of a backbone by name."""

Masks = Mapping[str, Tensor]
"""For each weight of a backbone whether it survives, by name."""


@overload
def keep_ratio(d: float, tau: float = 1.0) -> float: ...
@overload
def keep_ratio(d: Tensor, tau: float = 1.0) -> Tensor: ...
def keep_ratio(d: float | Tensor, tau: float = 1.0) -> float | Tensor:
    r"""The share of its weights that a task keeps, $1 - e^{-d/\tau}$.

    At $\tau = 1$ no task keeps more than $1 - 1/e$ = 63.2 %.

    Args:
        d: Difficulty $d$ in [0, 1], one number or one for each task.
        tau: Temperature $\tau > 0$: smaller values keep more.

    Raises:
        ValueError: If `tau` is not positive or a difficulty is out of range.

    Examples:
        >>> keep_ratio(torch.tensor([0.0, 2 / 3])), round(keep_ratio(1.0), 3), round(keep_ratio(1.0, tau=0.25), 3)
        (tensor([0.0000, 0.4866]), 0.632, 0.982)
    """
    if not tau > 0:
        raise ValueError(f"`tau` must be positive. Got `tau = {tau}`.")
    difficulties = torch.as_tensor(d, dtype=d.dtype if isinstance(d, Tensor) else torch.float64)
    if not bool(((difficulties >= 0) & (difficulties <= 1)).all()):
        raise ValueError(f"`d` must be shares from 0 to 1. Got `d = {d}`.")
    kept = -torch.expm1(-difficulties / tau)  # 1 - exp(-d / tau), exact for small d, too
    return kept if isinstance(d, Tensor) else float(kept)


def survivors(weights: int, keep: float, min_keep: float = 0.0) -> int:
    """How many of so many weights survive: at least one.

    Args:
        weights: How many there are.
        keep: The share that is to survive.
        min_keep: The smallest share that is left in any case.

    Examples:
        >>> survivors(1000, keep=0.25), survivors(1000, keep=0.0), survivors(1000, keep=0.0, min_keep=0.01)
        (250, 1, 10)
    """
    return max(1, round(keep * weights), round(min_keep * weights))


def magnitude_mask(weights: Weights, keep: float, min_keep: float = 0.0) -> dict[str, Tensor]:
    """The largest weights of a network, over all its layers together: of every layer as many as are among the largest.

    Args:
        weights: Weights by name.
        keep: The share that survives; exactly `survivors(...)` do, equal ones by their position.
        min_keep: The smallest share that is left in any case.

    Returns:
        For each weight whether it survives, by name.

    Raises:
        ValueError: If a share is out of range, there is no weight, or one is not a number.

    Examples:
        >>> magnitude_mask({"a": torch.tensor([3.0, -1.0]), "b": torch.tensor([[0.5, -2.0]])}, keep=0.5)
        {'a': tensor([ True, False]), 'b': tensor([[False,  True]])}
    """
    for name, share in (("keep", keep), ("min_keep", min_keep)):
        if not 0 <= share <= 1:
            raise ValueError(f"`{name}` must be a share from 0 to 1. Got `{name} = {share}`.")
    if not weights:
        raise ValueError("`weights` must hold at least one tensor. Got none.")
    size = torch.cat([weight.detach().reshape(-1).abs() for weight in weights.values()])
    if bool(size.isnan().any()):
        raise ValueError("`weights` must be numbers. Got NaN.")
    kept = survivors(len(size), keep, min_keep)
    threshold = size.kthvalue(len(size) - kept + 1).values
    mask = size > threshold
    # Of those that are equal to the smallest survivor, the first.
    mask[(size == threshold).nonzero()[: kept - int(mask.sum()), 0]] = True
    parts = mask.split([weight.numel() for weight in weights.values()])
    return {name: part.reshape(weight.shape) for part, (name, weight) in zip(parts, weights.items(), strict=True)}


@dataclass(frozen=True)
class Merged:
    """What the tasks of a group put together.

    Attributes:
        values: The weights of the group's backbone, by name: exactly zero where none survives.
        mask: Where one survives.
        hardest: Place of the most difficult task, whose norms and biases the group starts with.
    """

    values: dict[str, Tensor]
    mask: dict[str, Tensor]
    hardest: int


def merge(weights: Sequence[Weights], masks: Sequence[Masks], difficulties: Sequence[float]) -> Merged:
    """Put the survivors of several tasks into one network; where they overlap the harder task's value wins.

    Args:
        weights: Each task's weights by name.
        masks: Where they survive.
        difficulties: Each task's difficulty; of equally difficult tasks the first wins.

    Raises:
        ValueError: If there is no task, or not the same number of each.

    Examples:
        >>> easy, hard = {"a": torch.tensor([1.0, 2.0, 3.0])}, {"a": torch.tensor([5.0, 6.0, 7.0])}
        >>> masks = [{"a": torch.tensor([True, True, False])}, {"a": torch.tensor([False, True, False])}]
        >>> merge([easy, hard], masks, [0.1, 0.8]).values
        {'a': tensor([1., 6., 0.])}
    """
    if not weights or not len(weights) == len(masks) == len(difficulties):
        raise ValueError(
            "`weights`, `masks` and `difficulties` must have an entry for each of the tasks. "
            f"Got {len(weights)}, {len(masks)} and {len(difficulties)}."
        )
    order = sorted(range(len(weights)), key=lambda task: (difficulties[task], -task))
    values = {name: torch.zeros_like(weight) for name, weight in weights[0].items()}
    mask = {name: torch.zeros_like(weight, dtype=torch.bool) for name, weight in weights[0].items()}
    for task in order:
        for name, weight in weights[task].items():
            mine = masks[task][name]
            values[name] = torch.where(mine, weight.detach(), values[name])
            mask[name] = mask[name] | mine
    return Merged(values, mask, order[-1])


@dataclass(frozen=True)
class Allocation:
    """What stages 2 and 3 have decided, tasks in alphabetical order.

    Attributes:
        names: The tasks.
        S_W: Similarity of their weights, `[T, T]`.
        S_L: Similarity of their losses.
        S: Both, Eq. (1).
        groups: Names of the tasks of each group.
        mu: The common threshold of the losses, Eq. (2).
        difficulty: By task, Eq. (3).
        keep: Share of its weights that each task keeps, before rounding and `min_keep`.
        masks: Where each task's weights survive, by task and name.
        merged: What each group's tasks put together.
    """

    names: list[str]
    S_W: Tensor
    S_L: Tensor
    S: Tensor
    groups: dict[str, list[str]]
    mu: float
    difficulty: dict[str, float]
    keep: dict[str, float]
    masks: dict[str, dict[str, Tensor]]
    merged: dict[str, Merged]


def allocate(singles: Mapping[str, Single], config: Config) -> Allocation:
    """Stages 2 and 3: group the tasks, and choose the weights of each group.

    Args:
        singles: What stage 1 gave; their order does not matter.
        config: The thresholds.
    """
    names = sorted(singles)  # so that neither groups nor ties hang on the order in which tasks were given
    S_W = weight_similarity([singles[name].model for name in names])
    S_L = loss_similarity([singles[name].curve for name in names])
    S = similarity(S_W, S_L, config.alpha)  # Eq. (1)
    found = group_tasks(S, config.tau_sim, config.tau_clique)  # Eq. (4)
    groups = {f"group{place}": [names[i] for i in group] for place, group in enumerate(found)}
    losses = [singles[name].losses for name in names]
    d = difficulty(losses)  # Eq. (2)-(3)
    difficulties = dict(zip(names, d.tolist(), strict=True))
    keep = dict(zip(names, keep_ratio(d, config.tau).tolist(), strict=True))
    weights = {name: prunable_parts(singles[name].model) for name in names}
    masks = {name: magnitude_mask(weights[name], keep[name], config.min_keep) for name in names}
    merged = {
        group: merge([weights[n] for n in mine], [masks[n] for n in mine], [difficulties[n] for n in mine])
        for group, mine in groups.items()
    }
    mu = float(loss_threshold(losses))
    return Allocation(names, S_W, S_L, S, groups, mu, difficulties, keep, masks, merged)
