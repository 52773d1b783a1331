"""The network of the search: K branches with equal initial weights, each with the heads of all N tasks.

What the search leaves of it is a `TaskGroups`: each branch that is some task's group, with the heads of its tasks. A stem, the
first layers of the backbone, may be shared by all branches and runs once.

Gao, Jiang, Li, Yu, Xia, *DMTG: One-Shot Differentiable Multi-Task Grouping*; equal branches, the stem and the scaling of its
gradient by 1/√K are those of the authors' released code.
"""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtl_core import SharedBackbone, TaskGroups
from mtl_core.components import Build, chosen, components_of, tasks_of
from mtl_core.task import Task


class BranchedModel(nn.Module):
    """K branches with the heads of all tasks; gives the predictions of a task in all branches as a tuple.

    Args:
        build: The architecture; called once.
        tasks: Tasks by name.
        K: Number of branches.
        stem: Layer of the backbone up to which all branches share it; None shares nothing.
        init_noise: Normal noise on the branches' initial weights, in standard deviations of each weight tensor. 0 starts
            all branches alike.
        grad_scale: Multiply the gradient that the stem receives from the K branches by 1/√K.

    Raises:
        ValueError: If K is not at least 1, `init_noise` is negative, or the backbone cannot be split at `stem`.
        TypeError: If there is a stem, and the model is no `SharedBackbone` made with `example`.

    Examples:
        >>> from mtl_core.task import attribute
        >>> def build(tasks):
        ...     return SharedBackbone(nn.Linear(4, 3), tasks, lambda c, t: nn.Linear(c, 1), example=torch.zeros(1, 4))
        >>> model = BranchedModel(build, {"a": attribute("a"), "b": attribute("b")}, K=3)
        >>> [len(predictions) for predictions in model(torch.zeros(2, 4)).values()]
        [3, 3]
    """

    def __init__(
        self,
        build: Build,
        tasks: Mapping[str, Task],
        K: int,
        stem: str | None = None,
        *,
        init_noise: float = 0.0,
        grad_scale: bool = True,
    ) -> None:
        super().__init__()
        if K < 1:
            raise ValueError(f"`K` must be at least 1. Got `K = {K}`.")
        if not init_noise >= 0:
            raise ValueError(f"`init_noise` must be >= 0. Got `init_noise = {init_noise}`.")
        first, shared = _split(build(dict(tasks)), stem)
        self.stem = shared
        self.branches = nn.ModuleList([first, *(copy.deepcopy(first) for _ in range(K - 1))])
        self._scale = 1 / math.sqrt(K) if grad_scale else 1.0
        self._tasks = dict(tasks)
        self.keep([[True] * K for _ in tasks])
        if init_noise:
            for branch in self.branches:
                _disturb(branch, init_noise)

    def keep(self, alive: Sequence[Sequence[bool]]) -> None:
        """Compute only these heads from now on, and no branch without one.

        Args:
            alive: For each task, which branches it still has; at least one.
        """
        self._heads = [
            [name for name, row in zip(self._tasks, alive, strict=True) if row[j]] for j in range(len(self.branches))
        ]

    def forward(self, inputs: Tensor, tasks: Sequence[str] | None = None) -> dict[str, Any]:
        """Predictions of `tasks` (default: all), for each a tuple of those of the branches that it still has."""
        names = chosen(self._tasks, tasks)
        features = inputs if self.stem is None else self.stem(inputs)
        if self.stem is not None and features.requires_grad:
            features.register_hook(lambda gradient: gradient * self._scale)
        several: dict[str, list[Any]] = {}
        for branch, heads in zip(self.branches, self._heads, strict=True):
            mine = [name for name in names if name in heads]
            for name, prediction in (branch(features, mine) if mine else {}).items():
                several.setdefault(name, []).append(prediction)
        return {name: tuple(predictions) for name, predictions in several.items()}

    def components(self) -> dict[str, list[nn.Module]]:
        """The branches' components under `group<j>.`, and the stem where there is one."""
        parts: dict[str, list[nn.Module]] = {} if self.stem is None else {"stem": [self.stem]}
        for j, branch in enumerate(self.branches):
            parts.update({f"group{j}.{name}": modules for name, modules in components_of(branch).items()})
        return parts

    def pruned(self, build: Build, assignment: Sequence[int]) -> TaskGroups:
        """The final network: heads of other groups and branches without a task are dropped.

        Args:
            build: The architecture; called once for each group that has a task.
            assignment: The group of each task, in the order of the tasks.

        Raises:
            ValueError: If `build` makes something else for some of the tasks than for all.
        """
        layer = None if self.stem is None else self.stem.layer

        def rest(tasks: dict[str, Task]) -> nn.Module:
            return _split(build(tasks), layer)[0]

        groups = groups_of(list(self._tasks), assignment)
        models = {
            f"group{j}": extract(self.branches[j], rest, {name: self._tasks[name] for name in groups[f"group{j}"]})
            for j in sorted(set(assignment))
        }
        return TaskGroups(models, self.stem)


def groups_of(tasks: Sequence[str], assignment: Sequence[int]) -> dict[str, list[str]]:
    """Names of the tasks of each group that has one, in the order of the groups.

    Args:
        tasks: Names of the tasks.
        assignment: The group of each.

    Examples:
        >>> groups_of(["a", "b", "c"], [2, 0, 2])
        {'group0': ['b'], 'group2': ['a', 'c']}
    """
    pairs = list(zip(tasks, assignment, strict=True))
    return {f"group{j}": [name for name, group in pairs if group == j] for j in sorted(set(assignment))}


def extract(model: nn.Module, build: Build, tasks: Mapping[str, Task]) -> nn.Module:
    """A new model for some of a model's tasks, with that model's weights.

    Args:
        model: Made by `build` for these tasks and others.
        build: The architecture.
        tasks: Some of the model's tasks.

    Raises:
        ValueError: If `build` makes something else for some of the tasks than for all.
    """
    small = build(dict(tasks))
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    small.to(like.device, like.dtype)
    theirs, copied = components_of(model), set()
    try:
        for name, modules in components_of(small).items():
            for new, old in zip(modules, theirs[name], strict=True):
                new.load_state_dict(old.state_dict())
                copied |= {id(buffer) for buffer in new.buffers()}
        for name, buffer in small.named_buffers():  # `components` need not name what has no parameter
            if id(buffer) not in copied:
                buffer.copy_(model.get_buffer(name))
        if sorted(tasks_of(small)) != sorted(tasks):
            raise ValueError(f"it has heads for {tasks_of(small)}")
    except (KeyError, ValueError, RuntimeError, AttributeError) as error:
        said = " ".join(str(error).split())[:200]
        raise ValueError(
            f"`build` must make for {list(tasks)} the same components as for all tasks. Got a difference: {said}"
        ) from error
    return small


def _split(model: nn.Module, layer: str | None) -> tuple[nn.Module, Any]:
    """What each branch has of its own, and the stem."""
    if layer is None:
        return model, None
    if not isinstance(model, SharedBackbone):
        raise TypeError(f"`stem` must be used with a `SharedBackbone`. Got a model of class `{type(model).__name__}`.")
    stem, rest = model.split(layer)
    return rest, stem


@torch.no_grad()
def _disturb(model: nn.Module, noise: float) -> None:
    """Frozen weights stay, and what starts as a constant (norms, biases of zero), which has no spread."""
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.is_floating_point():
            parameter.add_(noise * parameter.std(correction=0) * torch.randn_like(parameter))
