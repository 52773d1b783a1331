"""Architectures for tests: a plain one, and a zoo of hostile ones that real projects hold."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mtl_core.components import Build
from mtl_core.model import SharedBackbone
from mtl_core.task import Task
from mtl_core.testing.samples import SIDE

EXAMPLE_SHAPE = (1, 1, SIDE, SIDE)
"""Shape of one input batch."""


def head(channels: int, task: Task) -> nn.Module:
    """A 1×1 convolution for maps, pooling and a linear layer for anything else."""
    if task.dense:
        return nn.Conv2d(channels, task.channels, 1)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, task.channels))


def network(tasks: dict[str, Task]) -> SharedBackbone:
    """Three convolutions, no dropout and no norm: what a sample gives does not depend on its batch."""
    return _model(tasks, _conv(1, 6), nn.ReLU(), _conv(6, 6), nn.ReLU(), _conv(6, 8), nn.Tanh())


def with_batch_norm(tasks: dict[str, Task]) -> SharedBackbone:
    """Running statistics, and dropout: state that no parameter holds, random numbers in the forward pass."""
    return _model(tasks, _conv(1, 6), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.2), _conv(6, 6), nn.ReLU())


def with_group_norm(tasks: dict[str, Task]) -> SharedBackbone:
    """Statistics that channels share."""
    return _model(tasks, _conv(1, 6), nn.GroupNorm(2, 6), nn.ReLU(), _conv(6, 6), nn.ReLU())


def with_nested_modules(tasks: dict[str, Task]) -> SharedBackbone:
    """Blocks in blocks, as residual networks have them."""
    block = nn.Sequential(nn.Sequential(_conv(6, 6), nn.Sequential(nn.ReLU())), nn.Sequential(_conv(6, 6)))
    return _model(tasks, _conv(1, 6), nn.Sequential(block), nn.ReLU())


def with_a_frozen_branch(tasks: dict[str, Task]) -> SharedBackbone:
    """A first layer that is not trained."""
    model = network(tasks)
    for parameter in next(model.backbone.children()).parameters():
        parameter.requires_grad_(False)
    return model


def with_a_shared_parameter(tasks: dict[str, Task]) -> SharedBackbone:
    """Two layers of the backbone hold one weight."""
    first, second = _conv(6, 6), _conv(6, 6)
    second.weight = first.weight
    return _model(tasks, _conv(1, 6), first, nn.ReLU(), second, nn.Tanh())


def with_a_layer_used_twice(tasks: dict[str, Task]) -> SharedBackbone:
    """One layer is called two times in a forward pass."""
    return _model(tasks, _conv(1, 6), _Twice(), _conv(6, 6), nn.ReLU())


class Plain(nn.Module):
    """A plain module with a head that no task uses; it knows nothing of core but `components`.

    Args:
        tasks: What to predict.
    """

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        super().__init__()
        self.trunk = nn.Sequential(_conv(1, 6), nn.ReLU(), _conv(6, 6))
        self.mine = nn.ModuleDict({name: head(6, task) for name, task in tasks.items()})
        self.forgotten = nn.Linear(3, 3)

    def forward(self, inputs: Tensor, tasks: Sequence[str] | None = None) -> dict[str, Any]:
        """Predict."""
        features = self.trunk(inputs)
        return {name: self.mine[name](features) for name in (self.mine if tasks is None else tasks)}

    def components(self) -> dict[str, list[nn.Module]]:
        """The trunk holds what belongs to no task."""
        return {"backbone": [self.trunk, self.forgotten], **{f"head.{name}": [m] for name, m in self.mine.items()}}


class OneTaskOnly(Plain):
    """It answers for its first task, whatever is asked: a mistake that must be named."""

    def forward(self, inputs: Tensor, tasks: Sequence[str] | None = None) -> dict[str, Any]:
        """Predict one task."""
        first = next(iter(self.mine))
        return {first: super().forward(inputs, [first])[first]}


HOSTILE: Mapping[str, Build] = {
    "batch norm": with_batch_norm,
    "group norm": with_group_norm,
    "nested modules": with_nested_modules,
    "frozen branch": with_a_frozen_branch,
    "shared parameter": with_a_shared_parameter,
    "layer used twice": with_a_layer_used_twice,
    "unused head": Plain,
    "one task only": OneTaskOnly,
}
"""The zoo: architectures by what is hostile in them."""


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _model(tasks: dict[str, Task], *layers: nn.Module) -> SharedBackbone:
    return SharedBackbone(nn.Sequential(*layers), tasks, head, example=torch.zeros(EXAMPLE_SHAPE))


class _Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = _conv(6, 6)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.relu(self.layer(torch.relu(self.layer(inputs))))
