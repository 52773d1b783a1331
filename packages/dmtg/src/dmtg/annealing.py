r"""An assignment by deterministic annealing, offered beside the poster's distribution.

A task goes where its loss has been smaller, softly at first and ever more sharply: no logits, no noise.

$$G_{ij} = \frac{\exp(-\bar\ell_{ij}/T)}{\sum_l \exp(-\bar\ell_{il}/T)}$$

with the running mean $\bar\ell$ of the losses and a temperature that falls from 0.1 to 0.003. Not of the poster. It needs
branches that start differently (`Config(init_noise=...)`): among equal branches every loss is equal, and so is every weight.
"""

import math

import torch
from torch import Generator

from dmtg.grouping import Distribution
from mtl_core.types import Bool, Float, Tensor


class AnnealedAssignment(Distribution):
    r"""Weighs each branch of a task by its loss there, at a falling temperature.

    For losses of about one size, as cross-entropies are: the temperature is in the unit of the losses.

    Args:
        tasks: Number of tasks, N.
        groups: Number of groups, K.
        start: Temperature $T > 0$ at the beginning.
        end: Temperature at the end, reached geometrically.
        memory: Share of the running mean that a step keeps, in [0, 1).

    Raises:
        ValueError: If a number is out of its range.

    Examples:
        >>> assignment = AnnealedAssignment(tasks=1, groups=2, start=1.0, end=1.0)
        >>> losses = torch.tensor([[math.log(3), 0.0]])
        >>> assignment.mix(losses, torch.tensor([True]), torch.Generator(), progress=0.0)
        tensor([[0.2500, 0.7500]])
    """

    mean: Tensor
    seen: Tensor
    T: Tensor

    def __init__(self, tasks: int, groups: int, start: float = 0.1, end: float = 0.003, memory: float = 0.95) -> None:
        super().__init__(tasks, groups)
        for name, value in (("start", start), ("end", end)):
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"`{name}` must be positive and finite. Got `{name} = {value}`.")
        if not 0 <= memory < 1:
            raise ValueError(f"`memory` must be in [0, 1). Got `memory = {memory}`.")
        self.start, self.end, self.memory = start, end, memory
        self.register_buffer("mean", torch.zeros(tasks, groups))
        self.register_buffer("seen", torch.zeros(tasks, dtype=torch.bool))
        self.register_buffer("T", torch.tensor(start))

    @torch.no_grad()
    def mix(
        self,
        losses: Float[Tensor, "task groups"],
        labelled: Bool[Tensor, " task"],
        generator: Generator,
        progress: float,
    ) -> Float[Tensor, "task groups"]:
        """Take note of the losses, lower the temperature, weigh."""
        kept = torch.where(self.seen[:, None], self.memory, 0.0)
        running = kept * self.mean + (1 - kept) * losses
        self.mean.copy_(torch.where(labelled[:, None], running, self.mean))
        self.seen.logical_or_(labelled)
        self.T.fill_(self.start * (self.end / self.start) ** progress)
        return self.probabilities()

    @torch.no_grad()
    def probabilities(self) -> Float[Tensor, "task groups"]:
        """The weights of the last step."""
        return torch.softmax((-self.mean / self.T).masked_fill(~self.alive, -math.inf), dim=-1)
