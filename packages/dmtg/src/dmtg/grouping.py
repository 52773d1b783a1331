r"""Which task belongs to which group: a categorical distribution that is learned by the gradient of the tasks' losses.

Each of N tasks has a logit for each of K groups. In every step one relaxed sample of the assignment is drawn with Gumbel noise
and weighs the losses that the task has in the K branches; what is learned are weights and logits together.

$$G_{ij} = \frac{\exp((\pi_{ij} + g_{ij})/\tau)}{\sum_l \exp((\pi_{il} + g_{il})/\tau)}, \quad g = -\log(-\log U) \qquad
L = \sum_i \sum_j G_{ij}\, \ell_{ij} \qquad \text{group}(i) = \operatorname{arg\,max}_j \pi_{ij}$$

Gao, Jiang, Li, Yu, Xia, *DMTG: One-Shot Differentiable Multi-Task Grouping*, with the values of the authors' released code.
The poster numbers no equation; the numbers are those of the table in the README.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Generator, nn

from mtl_core.types import Bool, Float, Tensor


def gumbel_noise(tasks: int, groups: int, generator: Generator | None = None) -> Float[Tensor, "task groups"]:
    r"""Gumbel noise $g = -\log(-\log U)$, with which the argmax of $\pi + g$ has the probabilities softmax(π).

    Args:
        tasks: Rows.
        groups: Columns.
        generator: A CPU generator; None draws from the global one.

    Returns:
        float32, on the CPU.
    """
    # In double precision, whose smallest step away from 1 is out of reach: in single precision one U in 2^24 is 0.
    U = torch.rand(tasks, groups, generator=generator, dtype=torch.float64)
    return -torch.log(-torch.log(U.clamp(min=torch.finfo(torch.float64).tiny))).float()


def relaxed_sample(
    logits: Float[Tensor, "task groups"], noise: Float[Tensor, "task groups"], tau: float
) -> Float[Tensor, "task groups"]:
    r"""A relaxed sample of the assignment: $G = \operatorname{softmax}((\pi + g)/\tau)$, row by row.

    Args:
        logits: $\pi$; −∞ for a group that a task has lost.
        noise: $g$.
        tau: Temperature $\tau > 0$: small values give nearly one group a task, large ones nearly $1/K$ for each.

    Returns:
        $G$, positive, each row of sum 1.

    Raises:
        ValueError: If `tau` is not positive.

    Examples:
        >>> logits, noise = torch.zeros(1, 2), torch.tensor([[math.log(3), 0.0]])
        >>> relaxed_sample(logits, noise, tau=1.0)
        tensor([[0.7500, 0.2500]])
    """
    if not tau > 0:
        raise ValueError(f"`tau` must be positive. Got `tau = {tau}`.")
    return torch.softmax((logits + noise) / tau, dim=-1)  # Eq. (1)


def grouped_loss(losses: Float[Tensor, "..."], G: Float[Tensor, "..."]) -> Float[Tensor, ""]:
    r"""The loss of a step: each task's losses in the K branches, weighed by its assignment.

    Losses are mixed, not features and not predictions, so that a branch sees the gradient of a task as a network of its
    own would, times $G_{ij}$.

    Args:
        losses: $\ell_{ij}$ of task i in branch j, `[N, K]`.
        G: The relaxed sample, `[N, K]`.

    Raises:
        ValueError: If the shapes differ or are not `[N, K]`.

    Examples:
        >>> grouped_loss(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0.8, 0.2], [0.3, 0.7]]))
        tensor(4.9000)
    """
    if losses.shape != G.shape or losses.ndim != 2:
        raise ValueError(
            "`losses` and `G` must both be `[N, K]`, a row for each task and a column for each group. "
            f"Got `losses.shape = {list(losses.shape)}`, `G.shape = {list(G.shape)}`."
        )
    return (G * losses).sum()  # Eq. (2)


class Distribution(nn.Module, ABC):
    """What decides how the losses of the branches are mixed, and at the end which task goes into which group.

    `GroupDistribution` is the poster's. Another one is handed to `Config(distribution=...)`.

    Args:
        tasks: Number of tasks, N.
        groups: Number of groups, K.

    Attributes:
        gone: The epoch, counted from 1, at whose end a task has lost a group; 0 where it has not.

    Raises:
        ValueError: If a number is not at least 1.
    """

    gone: Tensor
    rare_for: Tensor

    def __init__(self, tasks: int, groups: int) -> None:
        super().__init__()
        for name, value in (("tasks", tasks), ("groups", groups)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a whole number of at least 1. Got `{name} = {value}`.")
        self.register_buffer("gone", torch.zeros(tasks, groups, dtype=torch.int64))
        self.register_buffer("rare_for", torch.zeros(tasks, groups, dtype=torch.int64))

    @abstractmethod
    def mix(
        self,
        losses: Float[Tensor, "task groups"],
        labelled: Bool[Tensor, " task"],
        generator: Generator,
        progress: float,
    ) -> Float[Tensor, "task groups"]:
        """G of this step.

        Args:
            losses: The step's losses, without gradient; the same on all ranks.
            labelled: Which tasks have a label in this step; the other rows of `losses` mean nothing.
            generator: The step's own, equal on all ranks.
            progress: Share of the training that is done.
        """

    @abstractmethod
    def probabilities(self) -> Float[Tensor, "task groups"]:
        """How likely each group is for each task, as things stand; rows of sum 1, without gradient."""

    @property
    def alive(self) -> Bool[Tensor, "task groups"]:
        """Which groups each task still has."""
        return self.gone == 0

    def assignment(self) -> list[int]:
        r"""The group of each task, $\operatorname{arg\,max}_j \pi_{ij}$; among equal ones the lowest (0 at the start)."""
        found: list[int] = self.probabilities().argmax(dim=1).tolist()  # Eq. (3)
        return found

    @torch.no_grad()
    def drop(self, below: float, epochs: int, epoch: int) -> list[tuple[int, int]]:
        """At the end of an epoch: drop what has been improbable for several epochs on end.

        Args:
            below: ε: a group whose probability is smaller is improbable; less than 1/K, so that one group remains.
            epochs: After so many epochs on end it is dropped.
            epoch: The epoch that ends, counted from 1.

        Returns:
            The (task, group) pairs that are dropped now.

        Raises:
            ValueError: If `below` could leave a task without a group.
        """
        if not 0 <= below < 1 / self.gone.shape[1]:
            raise ValueError(
                f"`below` must be at least 0 and less than 1 / K, or a task could lose its last group. Got `below = {below}`."
            )
        rare = self.alive & (self.probabilities() < below)
        self.rare_for.copy_(torch.where(rare, self.rare_for + 1, 0))
        lost = self.rare_for >= epochs
        self.gone[lost] = epoch
        return [(int(i), int(j)) for i, j in lost.nonzero().tolist()]


class GroupDistribution(Distribution):
    r"""The poster's distribution: logits Π, learned through relaxed samples.

    All logits start at 1, so all tasks are equally likely in all groups and nothing but the noise breaks the symmetry.

    Args:
        tasks: Number of tasks, N.
        groups: Number of groups, K.
        tau: Temperature of the samples.
        tau_end: Temperature at the end; it falls (or rises) geometrically. None: constant.

    Attributes:
        logits: $\Pi$, `[N, K]`, a parameter.

    Raises:
        ValueError: If a number is not at least 1, or a temperature not positive.

    Examples:
        >>> distribution = GroupDistribution(tasks=2, groups=4)
        >>> distribution.probabilities()[0], distribution.assignment()
        (tensor([0.2500, 0.2500, 0.2500, 0.2500]), [0, 0])
    """

    def __init__(self, tasks: int, groups: int, tau: float = 2.5, tau_end: float | None = None) -> None:
        super().__init__(tasks, groups)
        for name, value in (("tau", tau), ("tau_end", tau if tau_end is None else tau_end)):
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"`{name}` must be positive and finite. Got `{name} = {value}`.")
        self.tau, self.tau_end = tau, tau if tau_end is None else tau_end
        self.logits = nn.Parameter(torch.ones(tasks, groups))

    def sample(self, generator: Generator | None = None, progress: float = 0.0) -> Float[Tensor, "task groups"]:
        """A relaxed sample G, with a gradient to the logits; float32 also under autocast.

        Args:
            generator: A CPU generator.
            progress: Share of the training that is done, for an annealed temperature.
        """
        tasks, groups = self.logits.shape
        noise = gumbel_noise(tasks, groups, generator).to(self.logits)
        tau = self.tau * (self.tau_end / self.tau) ** progress
        with torch.autocast(self.logits.device.type, enabled=False):
            return relaxed_sample(self._open(), noise, tau)

    def mix(
        self,
        losses: Float[Tensor, "task groups"],
        labelled: Bool[Tensor, " task"],
        generator: Generator,
        progress: float,
    ) -> Float[Tensor, "task groups"]:
        """One sample a step, whatever the losses are."""
        return self.sample(generator, progress)

    @torch.no_grad()
    def probabilities(self) -> Float[Tensor, "task groups"]:
        """softmax(Π)."""
        return torch.softmax(self._open(), dim=-1)

    def _open(self) -> Tensor:
        return self.logits.masked_fill(~self.alive, -math.inf)
