"""Layers that compute with sparse kernels, and the ordinary ones that they stand for.

A module that computes what a convolution or a linear layer would, by a kernel of its own, has a method
`dense_layer() -> Module`: an ordinary layer with the same outputs. Files and other runtimes know ordinary layers only, and
multiply-adds are counted on them.
"""

import copy
from typing import Any

from torch import nn


def dense_form(model: nn.Module) -> nn.Module:
    """The model with an ordinary layer in place of each that has `dense_layer()`.

    Args:
        model: Any module; it is not changed.

    Returns:
        A copy, or the model itself where nothing is to be replaced.

    Examples:
        >>> import torch
        >>> class Doubled(nn.Module):
        ...     def dense_layer(self):
        ...         layer = nn.Linear(2, 2, bias=False)
        ...         layer.weight = nn.Parameter(2 * torch.eye(2))
        ...         return layer
        >>> dense_form(nn.Sequential(nn.ReLU(), Doubled()))
        Sequential(
          (0): ReLU()
          (1): Linear(in_features=2, out_features=2, bias=False)
        )
    """
    if not any(hasattr(module, "dense_layer") for module in model.modules()):
        return model
    copied = copy.deepcopy(model)
    made: dict[int, nn.Module] = {}  # a layer that is used twice stays one
    if hasattr(copied, "dense_layer"):
        return _dense(copied, made)
    for module in list(copied.modules()):
        for name, child in list(module.named_children()):
            if hasattr(child, "dense_layer"):
                setattr(module, name, _dense(child, made))
    return copied


def _dense(module: Any, made: dict[int, nn.Module]) -> nn.Module:
    if id(module) not in made:
        made[id(module)] = module.dense_layer().train(module.training)
    return made[id(module)]
