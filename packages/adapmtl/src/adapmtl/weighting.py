r"""Adaptive task weights: a task whose loss has settled weighs more, one whose loss still jumps weighs less.

$r_t$ is the mean absolute change of task $t$'s loss from one iteration to the next in a sliding window, relative to the mean
of the losses that these changes join. The weight is its inverse, relative to the tasks' mean, times a factor for the sizes of
backbone and heads.

$$\beta_t = \Big(\frac{r_t}{\operatorname{mean}_s r_s}\Big)^{-1} \cdot \lambda \frac{|W_B|}{\sum_s |W_s|}, \qquad
r_t = \frac{\Delta L_t}{\bar L_t}$$

Xiang et al., *AdapMTL: Adaptive pruning framework for multitask learning model*, Eq. (6). The authors' released code does
something else, which is offered as `adapmtl.AuthorsWeights`.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from adapmtl.components import head_of, layers
from mtl_core.components import components_of
from mtl_core.types import Float


def relative_change(losses: Float[Tensor, "*task steps"]) -> Float[Tensor, "*task"]:
    r"""Mean absolute change from one loss to the next, relative to the mean of these losses: $r_t = \Delta L_t / \bar L_t$.

    Args:
        losses: Losses of successive iterations, oldest first; NaN at the beginning where there are fewer.

    Returns:
        $r_t \ge 0$; 0 for a loss that is 0 throughout, and where there is no change yet.

    Examples:
        >>> relative_change(torch.tensor([1.0, 1.2, 0.9]))  # changes .2 and .3, mean .25; mean loss 1.0333
        tensor(0.2419)
    """
    change = torch.nan_to_num(losses.diff(dim=-1).abs().nanmean(dim=-1))
    level = torch.nan_to_num(losses.nanmean(dim=-1)).abs()
    return torch.where(level > 0, change / level, torch.zeros_like(level))


def beta(
    r: Float[Tensor, " task"], factor: Float[Tensor, " task"] | float, beta_range: tuple[float, float] = (0.1, 10)
) -> Float[Tensor, " task"]:
    r"""Weights of the tasks that share a backbone, $\beta_t$ (Eq. 6).

    Args:
        r: Relative changes of the losses, $r_t \ge 0$.
        factor: $\lambda |W_B| / \sum_s |W_s|$.
        beta_range: Bounds of $r_t / \operatorname{mean}_s r_s$: a constant loss would otherwise weigh infinitely much.

    Returns:
        $\beta_t$; `factor` for all where nothing changes.

    Examples:
        >>> beta(torch.tensor([0.1, 0.2, 0.3]), factor=1.535)
        tensor([3.0700, 1.5350, 1.0233])
    """
    mean = r.mean()
    ratio = torch.where(mean > 0, r / mean, torch.ones_like(r)).clamp(*beta_range)
    return factor / ratio  # Eq. (6)


def factor(model: nn.Module, lambda_: float = 5.0) -> dict[str, dict[str, float]]:
    r"""The factor $\lambda |W_B| / \sum_s |W_s|$ of each task, by group of tasks.

    $|W|$ counts the weights of convolutions and linear layers, frozen ones included. A stem that groups share is in no
    group's backbone.

    Args:
        model: Has `components()`.
        lambda_: $\lambda > 0$.

    Returns:
        `{group: {task: factor}}`; the group of a model without groups is "".

    Raises:
        ValueError: If `lambda_` is not positive, or a group's backbone or heads have no such weight.

    Examples:
        >>> from mtl_core.model import SharedBackbone
        >>> from mtl_core.task import attribute
        >>> tasks = [attribute("a"), attribute("b")]
        >>> factor(SharedBackbone(nn.Linear(3, 4), tasks, lambda c, t: nn.Linear(4, 1), example=torch.ones(1, 3)))
        {'': {'a': 7.5, 'b': 7.5}}
    """
    if not lambda_ > 0:
        raise ValueError(f"`lambda_` must be positive. Got `lambda_ = {lambda_}`.")
    sizes = {key: _size(modules) for key, modules in components_of(model).items()}
    groups: dict[str, dict[str, int]] = {}
    for key, size in sizes.items():
        head = head_of(key)
        if head is not None:
            groups.setdefault(head[0], {})[head[1]] = size
    found = {}
    for group, heads in groups.items():
        backbone, total = sizes.get(f"{group}.backbone" if group else "backbone", 0), sum(heads.values())
        if not backbone or not total:
            raise ValueError(
                "`model` must have weights of convolutions or linear layers in backbone and heads; otherwise give "
                f"`AdaptiveWeights` a factor for each task. Got {backbone} and {total} of them in group `{group}`."
            )
        found[group] = dict.fromkeys(heads, lambda_ * backbone / total)
    return found


class AdaptiveWeights:
    r"""Weighs the tasks' losses by Eq. (6) and gives their sum, $\sum_t \beta_t L_t$ (Eq. 3).

    A step in which a task has no label leaves no trace in its window. Tasks of a group share the mean of Eq. (6); each group
    is for itself. Until every task of a group has seen two changes, $\beta$ is the factor for all of them.

    Args:
        factors: $\lambda |W_B| / \sum_s |W_s|$ by task, or by group and task, as `factor` gives it.
        window: How many changes are averaged.
        beta_range: Bounds of $r_t / \operatorname{mean}_s r_s$.

    Attributes:
        beta: The weights of the last step by task, constants for the gradient.

    Raises:
        ValueError: If there is no task, a task is in two groups, or an argument is out of its range.

    Examples:
        >>> weights = AdaptiveWeights({"a": 2.0, "b": 2.0})
        >>> weights({"a": torch.tensor(1.0), "b": torch.tensor(3.0)})
        tensor(8.)
    """

    def __init__(
        self,
        factors: Mapping[str, float] | Mapping[str, Mapping[str, float]],
        window: int = 400,
        beta_range: tuple[float, float] = (0.1, 10),
    ) -> None:
        groups = {name: value for name, value in factors.items() if isinstance(value, Mapping)}
        groups = groups or {"": factors}  # type: ignore[dict-item]
        names = [task for tasks in groups.values() for task in tasks]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"`factors` must name at least one task, and each once. Got {names}.")
        self._factors = torch.tensor(
            [float(f) for tasks in groups.values() for f in tasks.values()], dtype=torch.float64
        )
        if not (self._factors.isfinite() & (self._factors > 0)).all():
            raise ValueError(f"`factors` must be positive and finite. Got `factors = {dict(factors)}`.")
        if window < 1:
            raise ValueError(f"`window` must be at least 1. Got `window = {window}`.")
        if not 0 < beta_range[0] <= 1 <= beta_range[1]:
            raise ValueError(f"`beta_range` must be positive and hold 1. Got `beta_range = {beta_range}`.")
        self.tasks = tuple(names)
        self.beta_range = beta_range
        self._groups = [[names.index(task) for task in tasks] for tasks in groups.values()]
        self._losses = torch.full(
            (len(names), window + 1), math.nan, dtype=torch.float64
        )  # one change more than needed
        self._seen = torch.zeros(len(names), dtype=torch.int64)
        self.beta = self._betas()

    def __call__(self, losses: Mapping[str, Tensor], labelled: Mapping[str, int] | None = None) -> Tensor:
        """Take note of the losses and give their weighted sum.

        Args:
            losses: One value per task, averaged over ranks; tasks that are not there count as unlabelled.
            labelled: Labelled elements by task; tasks with 0 add nothing. None: all are labelled.

        Raises:
            ValueError: If a task is unknown, or its loss is not one value.
        """
        present = present_tasks(self.tasks, losses, labelled)
        for name, value in plain_values(losses, present).items():
            row = self.tasks.index(name)
            self._losses[row] = self._losses[row].roll(-1)
            self._losses[row, -1] = value
            self._seen[row] += 1
        self.beta = self._betas()
        return weighted_sum(losses, present, self.beta)

    def state_dict(self) -> dict[str, Any]:
        """The window of each task and how many losses it has seen."""
        return {"losses": self._losses.clone(), "seen": self._seen.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict` of the same tasks and window.

        Raises:
            ValueError: If number of tasks or window are others.
        """
        restore({"losses": self._losses, "seen": self._seen}, state)
        self.beta = self._betas()

    def _betas(self) -> dict[str, float]:
        r = relative_change(self._losses)
        found = self._factors.clone()
        for rows in self._groups:
            if (self._seen[rows] > 2).all():
                found[rows] = beta(r[rows], self._factors[rows], self.beta_range)
        return dict(zip(self.tasks, found.tolist(), strict=True))


def _size(modules: list[nn.Module]) -> int:
    weights = {id(layer.weight): layer.get_parameter("weight") for layer in layers(modules)}
    return sum(weight.numel() for weight in weights.values())


def present_tasks(
    tasks: tuple[str, ...], losses: Mapping[str, Tensor], labelled: Mapping[str, int] | None
) -> list[str]:
    """Names of the tasks with a label in this step, after a check of what came."""
    unknown = [name for name in losses if name not in tasks]
    if unknown:
        raise ValueError(f"`losses` must be of the tasks {list(tasks)}. Got {unknown}.")
    for name, loss in losses.items():
        if loss.numel() != 1:
            raise ValueError(f"`losses` must be one value per task. Got shape {tuple(loss.shape)} for `{name}`.")
    return [name for name in losses if labelled is None or labelled.get(name, 0) > 0]


def plain_values(losses: Mapping[str, Tensor], present: list[str]) -> dict[str, float]:
    """The losses as numbers."""
    if not present:
        return {}
    values = torch.stack(
        [losses[name].detach().double().reshape(()) for name in present]
    )  # the device is waited for once
    return dict(zip(present, values.tolist(), strict=True))


def weighted_sum(losses: Mapping[str, Tensor], present: list[str], weights: Mapping[str, float]) -> Tensor:
    """The sum of the losses of the tasks that are present, each times its weight (Eq. 3)."""
    if not present:  # nothing to learn from; `backward` still works
        device = next((loss.device for loss in losses.values()), None)
        return torch.zeros((), device=device, requires_grad=True)
    return torch.stack([weights[name] * losses[name].reshape(()) for name in present]).sum()  # Eq. (3)


def restore(own: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Copy stored tensors into these, after a check of their shapes and types."""
    for name, tensor in own.items():
        found = state[name]
        if tensor.shape != found.shape or tensor.dtype != found.dtype:
            raise ValueError(
                f"`state` must be of the same tasks and window. Got `{name}` of {found.dtype} {list(found.shape)}, "
                f"not {tensor.dtype} {list(tensor.shape)}."
            )
    for name, tensor in own.items():
        tensor.copy_(state[name])
