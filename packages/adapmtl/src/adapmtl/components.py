r"""Which weights are pruned, and which of them share a threshold.

Prunable are the weights of convolutions and linear layers; biases and norms are not. They belong to the components that
`model.components()` names: the shared backbone and each task's head, $c \in \{B, 1, \dots, T\}$, with a threshold
$\theta_c$ each (`per_component`). The other groupings are those of the paper's ablation, and a caller may pass any function
`model -> {name: modules}`.

Xiang, Tang, Yang, Guan, Liu, *AdapMTL: Adaptive pruning framework for multitask learning model*, Section 3 and Table 5.

A frozen weight (`requires_grad` off) is not prunable: its owner wants it as it is, and it could not adapt to what is cut
around it. It is neither thresholded nor counted. Only where a model has no trainable weight at all, as one that was frozen
for inference, are all of them counted.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from mtl_core.components import components_of
from mtl_core.sparsity import PRUNABLE

Groups: TypeAlias = Callable[[nn.Module], Mapping[str, Iterable[nn.Module]]]
"""`model -> {name: modules}`: the layers that share a threshold."""


def per_component(model: nn.Module) -> dict[str, list[nn.Module]]:
    """A threshold for each component: the backbone (of each group, and the stem) and each task's head."""
    return components_of(model)


def one_for_all(model: nn.Module) -> dict[str, list[nn.Module]]:
    """One threshold for the whole model (Table 5)."""
    return {"all": [module for modules in components_of(model).values() for module in modules]}


def backbone_and_heads(model: nn.Module) -> dict[str, list[nn.Module]]:
    """Two thresholds: one for everything shared, one for all heads (Table 5)."""
    groups: dict[str, list[nn.Module]] = {"backbone": [], "heads": []}
    for key, modules in components_of(model).items():
        groups["backbone" if head_of(key) is None else "heads"] += modules
    return groups


def per_layer(model: nn.Module) -> dict[str, list[nn.Module]]:
    """A threshold for each layer, as in soft threshold reparametrisation; a weight used by two layers has one."""
    names = {id(module): name for name, module in model.named_modules()}
    groups: dict[str, list[nn.Module]] = {}
    seen: set[int] = set()
    for modules in components_of(model).values():
        for layer in layers(modules):
            if id(layer.weight) not in seen:
                seen.add(id(layer.weight))
                groups[names[id(layer)]] = [layer]
    return groups


def head_of(key: str) -> tuple[str, str] | None:
    """Group and task of a head's key, None for a part that is shared.

    Examples:
        >>> head_of("head.depth"), head_of("left.head.depth"), head_of("left.backbone")
        (('', 'depth'), ('left', 'depth'), None)
    """
    *group, kind, last = ["", *key.split(".")]
    return (".".join(group[1:]), last) if kind == "head" else None


def layers(modules: Iterable[nn.Module]) -> list[nn.Module]:
    """Convolutions and linear layers within `modules`, each once."""
    found = (layer for module in modules for layer in module.modules() if isinstance(layer, PRUNABLE))
    return list(dict.fromkeys(found))


def prunable(model: nn.Module) -> dict[str, str]:
    """Component of each prunable weight, by the weight's name.

    A weight that is used twice has one name and is counted once. A weight that is computed from others
    (`torch.nn.utils.parametrize`) is not a parameter, and is left out.
    """
    found = {name: key for key, modules in components_of(model).items() for name in weight_names(model, modules)}
    trainable = {name: key for name, key in found.items() if model.get_parameter(name).requires_grad}
    return trainable or found


def weight_names(model: nn.Module, modules: Iterable[nn.Module]) -> list[str]:
    """Names in `model` of the weights of the layers within `modules`, each once."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = (names[id(layer.weight)] for layer in layers(modules) if id(layer.weight) in names)
    return list(dict.fromkeys(found))


def start_alike(model: nn.Module, std: float = 0.01) -> nn.Module:
    """Draw all prunable weights anew from one normal distribution, as the released code does for its backbone.

    A threshold that layers share empties those whose weights start smallest. Usual initial weights differ in scale from
    layer to layer, most of all where layers differ in kind, as in MobileNetV2. For networks with a norm after each
    convolution, to which the scale is nothing; one without norms would give next to no signal.

    Args:
        model: A new model; changed in place.
        std: Standard deviation; 0.01 in the released code.

    Returns:
        The model.

    Raises:
        ValueError: If `std` is not positive.
    """
    if not std > 0:
        raise ValueError(f"`std` must be positive. Got `std = {std}`.")
    with torch.no_grad():
        for name in prunable(model):
            model.get_parameter(name).normal_(0.0, std)
    return model


def count_within(weights: Iterable[Tensor], alphas: Iterable[Tensor]) -> list[int]:
    """How many entries of each weight are at most alpha in size: those that the threshold makes zero.

    On a CPU numpy compares and counts in 0.4 times torch's time; elsewhere the device is waited for once.
    """
    counts: list[int | Tensor] = []
    for weight, alpha in zip(weights, alphas, strict=True):
        W = weight.detach()
        bound = alpha.detach().to(W.dtype)
        if W.device.type == "cpu" and W.dtype in (torch.float32, torch.float64):
            counts.append(int(np.count_nonzero(np.abs(W.numpy()) <= bound.numpy())))
        else:
            counts.append(torch.count_nonzero(W.abs() <= bound))
    if counts and all(isinstance(count, Tensor) for count in counts):
        return [int(count) for count in torch.stack(counts).tolist()]  # type: ignore[arg-type]
    return [int(count) for count in counts]


def shares(components: Iterable[str], zeros: Iterable[int], sizes: Iterable[int]) -> dict[str, float]:
    """Share of zeros by component and overall, of weights given by their component, zeros and size."""
    pruned: dict[str, int] = {}
    total: dict[str, int] = {}
    for component, zero, size in zip(components, zeros, sizes, strict=True):
        pruned[component] = pruned.get(component, 0) + zero
        total[component] = total.get(component, 0) + size
    found = {component: pruned[component] / max(total[component], 1) for component in total}
    return {**found, "overall": sum(pruned.values()) / max(sum(total.values()), 1)}
