r"""Batch norms become part of the layer before them.

$$w'_o = s_o w_o, \qquad b'_o = s_o (b_o - \mu_o) + \beta_o, \qquad s_o = \gamma_o / \sqrt{\sigma^2_o + \epsilon}$$

computed in float64. A norm stays where the layer is used by others, too, or where $s_o$ is not finite.
"""

from typing import Any

import torch
from torch import fx, nn

from mtl_core.compaction.kinds import LAYERS, plain_type
from mtl_core.compaction.layers import bias_of, numbers, scale_and_shift
from mtl_core.compaction.renewal import renewed
from mtl_core.compaction.tracing import calls, set_module

NORMS = {nn.Conv1d: nn.BatchNorm1d, nn.Conv2d: nn.BatchNorm2d, nn.Conv3d: nn.BatchNorm3d, nn.Linear: nn.BatchNorm1d}


def fold_norms(traced: fx.GraphModule) -> dict[str, str]:
    """Fold every batch norm that can be; give the names of the norms and of the layers that took them over."""
    counts = calls(traced)
    folded = {}
    for node in list(traced.graph.nodes):
        if node.op != "call_module" or not node.args or not isinstance(node.args[0], fx.Node):
            continue
        source = node.args[0]
        if source.op != "call_module" or len(source.users) != 1:
            continue
        norm: Any = traced.get_submodule(node.target)
        layer: Any = traced.get_submodule(str(source.target))
        kind = plain_type(layer)
        if kind not in LAYERS or type(norm) is not NORMS[kind] or norm.running_mean is None:
            continue
        if counts[id(norm)] > 1 or counts[id(layer)] > 1:
            continue
        if len(source.meta["shape"]) != (2 if kind is nn.Linear else layer.weight.ndim):
            continue  # channels of the norm are another dimension than those of the layer
        scale, shift = scale_and_shift(norm)
        weight = numbers(layer.weight) * scale.view(-1, *[1] * (layer.weight.ndim - 1))
        bias = bias_of(layer) * scale + shift
        single = layer.weight.dtype
        if not bool(torch.isfinite(weight.to(single)).all() and torch.isfinite(bias.to(single)).all()):
            continue
        new = renewed(layer, weight, bias, groups=getattr(layer, "groups", 1))
        set_module(traced, str(source.target), new)
        counts[id(new)] = 1  # another norm may follow
        node.replace_all_uses_with(source)
        traced.graph.erase_node(node)
        folded[str(node.target)] = str(source.target)
    traced.recompile()
    return folded
