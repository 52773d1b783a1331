"""Removing the channels that no output needs."""

from dataclasses import dataclass

import torch
from torch import fx

from mtl_core.compaction.kinds import rule_of
from mtl_core.compaction.liveness import kept_channels
from mtl_core.compaction.tracing import calls


@dataclass(frozen=True)
class Removed:
    """What became of the channels.

    Attributes:
        reasons: Why a layer is kept whole, by its name.
        constant: Channels of each layer's result that are constant and were kept all the same, by its name.
    """

    reasons: dict[str, str]
    constant: dict[str, int]


def remove_channels(traced: fx.GraphModule) -> Removed:
    """Remove what is exactly dead, in place; every node must have its `shape` recorded."""
    counts = calls(traced)
    facts, rules = {}, {}
    for node in traced.graph.nodes:
        rule = rules[node] = rule_of(node, traced, facts, counts)
        if rule.channels is not None:
            facts[node] = rule.channels
    keep = kept_channels(traced.graph, rules)
    reasons, constant = {}, {}
    for node in list(traced.graph.nodes):
        if node in keep and not keep[node].any():
            continue
        if node.op == "call_module" and rules[node].reason:
            reasons[str(node.target)] = rules[node].reason
        if node.op == "call_module" and node in keep:
            constant[str(node.target)] = int((keep[node] & ~facts[node].varying).sum())
        rules[node].rewrite(keep)
    traced.graph.eliminate_dead_code()
    traced.delete_all_unused_submodules()
    traced.graph.lint()
    traced.recompile()
    return Removed(reasons, constant)


def parameters(traced: torch.nn.Module) -> int:
    """How many there are."""
    return sum(parameter.numel() for parameter in traced.parameters())
