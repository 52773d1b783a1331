"""How much accuracy the backbone and the heads lose by magnitude pruning alone (Figure 5; its making is ours)."""

import copy
from collections.abc import Sequence

import torch
from torch import nn

from adapmtl.components import head_of, prunable
from mtl_core import MultiTaskData, delta, evaluate


def sensitivity(
    model: nn.Module, data: MultiTaskData, backbone: Sequence[float], heads: Sequence[float]
) -> dict[tuple[float, float], float]:
    """Give Δ after magnitude pruning of backbone and heads to given sparsities, without retraining.

    Args:
        model: A trained model; it is not changed.
        data: Measured on its validation part (the test part where there is none).
        backbone: Sparsities of everything shared, each in [0, 1).
        heads: Sparsities of all heads together, each in [0, 1).

    Returns:
        Δ against the model as it is, in percent, by (sparsity of the backbone, sparsity of the heads).

    Raises:
        ValueError: If a sparsity is out of its range, or the data have neither part.
    """
    for name, shares in (("backbone", backbone), ("heads", heads)):
        wrong = [share for share in shares if not 0 <= share < 1]
        if wrong:
            raise ValueError(f"`{name}` must hold shares in [0, 1). Got {wrong[0]}.")
    part = data.validation or data.test
    dense = evaluate(model, part)
    shared = {name: head_of(component) is None for name, component in prunable(model).items()}
    found = {}
    for b in backbone:
        for h in heads:
            pruned = copy.deepcopy(model)
            prune_smallest(pruned, [name for name, is_shared in shared.items() if is_shared], b)
            prune_smallest(pruned, [name for name, is_shared in shared.items() if not is_shared], h)
            found[b, h] = delta(evaluate(pruned, part), dense, data.tasks).overall
    return found


@torch.no_grad()
def prune_smallest(model: nn.Module, names: Sequence[str], share: float) -> None:
    """Set the smallest weights to zero, a share of all named ones together, ties by position."""
    weights = [model.get_parameter(name) for name in names]
    if not weights:
        return
    sizes = torch.cat([weight.abs().reshape(-1) for weight in weights])
    keep = torch.ones_like(sizes, dtype=torch.bool)
    keep[sizes.argsort(stable=True)[: round(share * len(sizes))]] = False
    for weight, mask in zip(weights, keep.split([weight.numel() for weight in weights]), strict=True):
        weight.mul_(mask.view_as(weight))
