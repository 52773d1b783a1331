r"""Sparsity patterns, and the choice of a task's layer from them.

Group sparsity empties channels, and sometimes all of a layer's. A layer counts as active while more than a hundredth of its
groups are left; the last active layer of a task's own sparse network is where the task's features are best taken.

Upadhyay et al., *Giving each task what it needs*, Section 3, "Phase -1" and Figure 2. The paper's authors read the layer off
a picture; here it is a rule.
"""

import itertools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from torch import nn
from torch.nn.modules.conv import _ConvNd

from lomt.branch import main_branch
from lomt.prox import group_norms, groups_of
from mtl_core.components import components_of

Rule: TypeAlias = Callable[[Mapping[str, bool]], str]
"""`{layer: active}` in forward order, at least one of them active -> layer."""

SMALL = 100
"""Below this many groups a hundredth of them is less than one group."""


class Density(NamedTuple):
    """Groups of a layer: how many are not zero, and how many there are."""

    left: int
    groups: int


def backbone_of(model: nn.Module) -> nn.Module:
    """The one module that a model calls its backbone; a module without components is one itself.

    Raises:
        ValueError: If the model has several backbones, or several modules as one.
    """
    if not hasattr(model, "components"):
        return model
    several = components_of(model).get("backbone", [])
    if len(several) != 1:
        raise ValueError(f"`model` must have one module as its `backbone`. Got {len(several)}.")
    return several[0]


def convolutions(model: nn.Module) -> dict[str, _ConvNd]:
    """All convolutions of the backbone by name: what the penalty is on."""
    found = backbone_of(model).named_modules()
    return {name: module for name, module in found if isinstance(module, _ConvNd)}


def densities(model: nn.Module, *, group: str = "in", layers: Sequence[str] = ()) -> dict[str, Density]:
    """The sparsity pattern of the main branch, in forward order (Figure 2).

    Args:
        model: A model with one backbone, or a backbone.
        group: What a group is, as in the training.
        layers: Names of convolutions in forward order, for a backbone that cannot be traced.

    Raises:
        ValueError: If the model has no one backbone, or as `lomt.main_branch`.

    Examples:
        >>> layer = nn.Conv2d(3, 1, 1)
        >>> _ = layer.weight.data[:, 0].zero_()
        >>> densities(nn.Sequential(layer))
        {'0': Density(left=2, groups=3)}
    """
    modules = convolutions(model)
    return {name: density(modules[name], group) for name in main_branch(backbone_of(model), layers).layers}


def density(layer: _ConvNd, group: str = "in") -> Density:
    """The groups of one convolution that are not zero."""
    norms = group_norms(*groups_of(layer, group))
    return Density(int((norms > 0).sum()), norms.numel())


def is_active(found: Density, min_density: float = 0.01) -> bool:
    """Whether more than a share of a layer's groups are left, and in a small layer more than one (of one, that one).

    Args:
        found: The layer's density.
        min_density: The share.

    Examples:
        >>> is_active(Density(2, 64)), is_active(Density(1, 64)), is_active(Density(5, 512)), is_active(Density(1, 1))
        (True, False, False, True)
    """
    least = 2 if found.groups < SMALL else 1
    return found.left > min_density * found.groups and found.left >= min(least, found.groups)


def active_layers(
    model: nn.Module, min_density: float = 0.01, *, group: str = "in", layers: Sequence[str] = ()
) -> dict[str, bool]:
    """Which layers of the main branch are active, in forward order.

    Args:
        model: A model with one backbone, or a backbone.
        min_density: A layer is active if more than this share of its groups is not zero.
        group: What a group is, as in the training.
        layers: Names of convolutions in forward order, for a backbone that cannot be traced.

    Raises:
        ValueError: If `min_density` is no share, or as `densities`.

    Examples:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1))
        >>> _ = net[1].weight.data.zero_()
        >>> active_layers(net)
        {'0': True, '1': False}
    """
    if not 0 <= min_density < 1:
        raise ValueError(f"`min_density` must be in [0, 1). Got `min_density = {min_density}`.")
    pattern = densities(model, group=group, layers=layers)
    return {name: is_active(found, min_density) for name, found in pattern.items()}


def last_layer(active: Mapping[str, bool]) -> str:
    """The paper's rule: the last active layer."""
    return [name for name, on in active.items() if on][-1]


def prefix_layer(active: Mapping[str, bool]) -> str:
    """The last layer before the first inactive one; where that is the first layer, the first active one."""
    before = list(itertools.takewhile(lambda name: active[name], active))
    return before[-1] if before else next(name for name, on in active.items() if on)


def choose_layer(
    patterns: Sequence[Mapping[str, bool]],
    *,
    task: str = "the task",
    lambda_: float = math.nan,
    rule: Rule = last_layer,
) -> str | None:
    r"""Choose a task's layer; a layer counts as active if it is in every seed.

    Args:
        patterns: `{layer: active}` in forward order, one a seed.
        task: Names the task in messages.
        lambda_: $\lambda$ of the training, for messages.
        rule: `last_layer`, `prefix_layer`, or one's own.

    Returns:
        The layer; None where none is inactive: the task then takes the backbone's own output.

    Raises:
        ValueError: If no layer is active, there is no pattern, or patterns have different layers.

    Examples:
        >>> choose_layer([{"a": True, "b": True, "c": False}])
        'b'
    """
    if not patterns or any(list(p) != list(patterns[0]) for p in patterns):
        raise ValueError(f"`patterns` must be at least one, with the same layers. Got {len(patterns)} patterns.")
    active = {name: all(pattern[name] for pattern in patterns) for name in patterns[0]}
    if all(active.values()):
        return None
    if not any(active.values()):
        raise ValueError(
            f"`lambda_` must leave task `{task}` a layer. Got `lambda_ = {lambda_:g}`, at which every layer is empty: lower it."
        )
    layer, before = rule(active), prefix_layer(active)
    gap = next(name for name, on in active.items() if not on)
    names = list(active)
    if before != layer and names.index(gap) < names.index(layer):
        warnings.warn(
            f"Task `{task}` takes `{layer}`, and `{gap}` before it is empty. The last layer before the gap is `{before}`, "
            "which `rule=prefix_layer` takes.",
            stacklevel=2,
        )
    return layer


def zeros(model: nn.Module, group: str = "in") -> dict[str, float]:
    """Shares of all groups and of all weights of the backbone's convolutions that are zero.

    Examples:
        >>> layer = nn.Conv2d(2, 1, 1)
        >>> _ = layer.weight.data[:, 0].zero_()
        >>> zeros(layer)
        {'groups': 0.5, 'weights': 0.5}
    """
    modules: dict[int, Any] = {id(m.weight): m for m in convolutions(model).values()}
    found = [density(module, group) for module in modules.values()]
    weights = [module.weight.detach() for module in modules.values()]
    return {
        "groups": 1 - sum(d.left for d in found) / sum(d.groups for d in found),
        "weights": sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights),
    }
