r"""The task weights of the authors' released code, which are not those of the paper's Eq. (6).

$$w_t = \frac{T\, r_t}{\sum_s r_s}, \qquad r_t = \text{mean of } |L_i - L_{i-1}| / L_i \text{ over a window}$$

They are not inverted, and have no factor for the sizes of backbone and heads. Offered to compare with that code.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from adapmtl.weighting import plain_values, present_tasks, restore, weighted_sum
from mtl_core.types import Float


def authors_weights(r: Float[Tensor, " task"]) -> Float[Tensor, " task"]:
    r"""The released code's weights, $T r_t / \sum_s r_s$: tasks whose loss *jumps* weigh more, the opposite of Eq. (6).

    The code normalises to the sum 3, whatever the number of tasks; here it is their number $T$, which is 3 in its own runs
    on NYU-v2.

    Examples:
        >>> authors_weights(torch.tensor([0.1, 0.2, 0.3]))
        tensor([0.5000, 1.0000, 1.5000])
    """
    return torch.where(r.sum() > 0, r * len(r) / r.sum(), torch.ones_like(r))


class AuthorsWeights:
    """Weighs the tasks' losses as the released code does; see `authors_weights`.

    From iteration `start` on it collects |L_i − L_(i−1)| / L_i (0 where L_i is 0); until each task has `window` of them, all
    weights are 1.

    Args:
        tasks: Names of the tasks.
        window: How many changes are averaged.
        start: Iteration from which they are collected.

    Attributes:
        beta: The weights of the last step by task, constants for the gradient.

    Raises:
        ValueError: If there is no task, one occurs twice, or `window` or `start` is out of its range.
    """

    def __init__(self, tasks: Iterable[str], window: int = 500, start: int = 5000) -> None:
        self.tasks: tuple[str, ...] = tuple(tasks)
        if not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"`tasks` must name at least one task, and each once. Got {list(self.tasks)}.")
        if window < 1:
            raise ValueError(f"`window` must be at least 1. Got `window = {window}`.")
        if start < 0:
            raise ValueError(f"`start` must be at least 0. Got `start = {start}`.")
        self.start = start
        self._changes = torch.full((len(self.tasks), window), math.nan, dtype=torch.float64)
        self._last = torch.full((len(self.tasks),), math.nan, dtype=torch.float64)
        self._step = torch.zeros((), dtype=torch.int64)
        self.beta = dict.fromkeys(self.tasks, 1.0)

    def __call__(self, losses: Mapping[str, Tensor], labelled: Mapping[str, int] | None = None) -> Tensor:
        """Take note of the losses and give their weighted sum; arguments and errors as for `AdaptiveWeights`.

        Raises:
            ValueError: If a task is unknown, or its loss is not one value.
        """
        present = present_tasks(self.tasks, losses, labelled)
        for name, value in plain_values(losses, present).items():
            row = self.tasks.index(name)
            change = abs(value - float(self._last[row])) / value if value else 0.0
            self._last[row] = value
            if int(self._step) >= self.start and not math.isnan(change):
                self._changes[row] = self._changes[row].roll(-1)
                self._changes[row, -1] = change
        self._step += 1
        self.beta = self._betas()
        return weighted_sum(losses, present, self.beta)

    def state_dict(self) -> dict[str, Any]:
        """The changes of each task, its last loss, and the iteration."""
        return {"changes": self._changes.clone(), "last": self._last.clone(), "step": self._step.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict` of the same tasks and window.

        Raises:
            ValueError: If number of tasks or window are others.
        """
        restore({"changes": self._changes, "last": self._last, "step": self._step}, state)
        self.beta = self._betas()

    def _betas(self) -> dict[str, float]:
        full = not self._changes.isnan().any()
        found = authors_weights(self._changes.mean(dim=1)) if full else torch.ones(len(self.tasks))
        return dict(zip(self.tasks, found.tolist(), strict=True))
