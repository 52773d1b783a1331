"""Removing the channels that no output needs."""

from torch import fx

from mtl_core.compaction.facts import Channels
from mtl_core.compaction.kinds import rule_of
from mtl_core.compaction.liveness import kept_channels
from mtl_core.compaction.rule import Rule
from mtl_core.compaction.tracing import calls


def remove_channels(traced: fx.GraphModule) -> dict[str, str]:
    """Remove what is exactly dead, in place; every node must have its `shape` recorded.

    Returns:
        What is to be said of layers, by name: why one is kept whole, how many constant channels had to stay.
    """
    counts = calls(traced)
    facts: dict[fx.Node, Channels] = {}
    rules: dict[fx.Node, Rule] = {}
    for node in traced.graph.nodes:
        rule = rules[node] = rule_of(node, traced, facts, counts)
        if rule.channels is not None:
            facts[node] = rule.channels
    keep = kept_channels(traced.graph, rules)
    notes = {}
    for node in list(traced.graph.nodes):
        if node in keep and not keep[node].any():
            continue
        if node.op == "call_module":
            idle = int((keep[node] & ~facts[node].varying).sum()) if node in keep else 0
            said = [rules[node].reason, f"{idle} constant channel{'s' * (idle > 1)} kept" if idle else ""]
            notes[str(node.target)] = "; ".join(part for part in said if part)
        rules[node].rewrite(keep)
    traced.graph.eliminate_dead_code()
    traced.delete_all_unused_submodules()
    traced.graph.lint()
    traced.recompile()
    return notes
