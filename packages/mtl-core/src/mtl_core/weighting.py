r"""Weightings of the tasks' losses: `weighting(losses, labelled) -> loss`.

A task without a label in a step (`labelled` 0) is left out, which is not the same as a loss of 0. A weighting with state is
a module or has `state_dict`, and is handed to `run.phase(..., state=[weighting])`.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from mtl_core.components import check_names


def equal(losses: Mapping[str, Tensor], labelled: Mapping[str, int]) -> Tensor:
    """The sum of the losses.

    Args:
        losses: Loss by task.
        labelled: Labelled elements by task.

    Examples:
        >>> equal({"a": torch.tensor(1.0), "b": torch.tensor(2.0)}, {"a": 4, "b": 4})
        tensor(3.)
    """
    return sum_of({task: loss for task, loss in losses.items() if labelled[task]}, losses)


class Fixed:
    """The sum of the losses, each times a number of its own.

    Args:
        weights: Weight by task, every task named.

    Raises:
        ValueError: If a weight is negative, or, when called, a task has none.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        negative = [task for task, weight in weights.items() if not weight >= 0]
        if negative:
            raise ValueError(f"`weights` must be >= 0. Got `weights = {dict(weights)}`.")
        self.weights = dict(weights)

    def __repr__(self) -> str:
        return f"Fixed({self.weights})"

    def __call__(self, losses: Mapping[str, Tensor], labelled: Mapping[str, int]) -> Tensor:
        """Weigh the losses of a step."""
        missing = [task for task in losses if task not in self.weights]
        if missing:
            raise ValueError(f"`weights` must name every task. Got none for {missing}.")
        return sum_of({t: self.weights[t] * loss for t, loss in losses.items() if labelled[t]}, losses)


class Uncertainty(nn.Module):
    r"""Homoscedastic uncertainty: $\sum_t \tfrac12 e^{-s_t} L_t + \tfrac12 s_t$ with learned $s_t = \log\sigma_t^2$, start 0.

    Kendall, Gal, Cipolla, *Multi-task learning using uncertainty to weigh losses* (2018), in the form that LOMT uses. The
    parameters go to the optimizer in a group without weight decay.

    Args:
        tasks: Names of the tasks.

    Raises:
        ValueError: If a task cannot be named so.
    """

    def __init__(self, tasks: Iterable[str]) -> None:
        super().__init__()
        names = list(tasks)
        check_names("tasks", names)
        self.s = nn.ParameterDict({task: nn.Parameter(torch.zeros(())) for task in names})

    def forward(self, losses: Mapping[str, Tensor], labelled: Mapping[str, int]) -> Tensor:
        """Weigh the losses of a step."""
        terms = {t: 0.5 * torch.exp(-self.s[t]) * loss + 0.5 * self.s[t] for t, loss in losses.items() if labelled[t]}
        return sum_of(terms, losses)


def sum_of(terms: Mapping[str, Tensor], losses: Mapping[str, Tensor]) -> Tensor:
    """The sum of some terms; where there is none, a zero that still has a gradient."""
    chosen = list(terms.values()) or [0 * loss for loss in losses.values()]
    return torch.stack(chosen).sum()
