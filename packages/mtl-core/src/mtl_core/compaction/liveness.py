"""Which channels are needed by anything that reaches an output.

Channels that are one and the same (before and after a ReLU, on both sides of a sum) form a class; a class is kept if one of
its members is needed. Whatever is needed at the outputs is followed backwards, until nothing is added.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, fx

from mtl_core.compaction.rule import Rule
from mtl_core.types import Bool, Int


def kept_channels(graph: fx.Graph, rules: Mapping[fx.Node, Rule]) -> dict[fx.Node, Bool[Tensor, " channels"]]:
    """The channels that must be kept, of each value whose channels are followed.

    Args:
        graph: The graph.
        rules: The rule of each of its steps.
    """
    followed = [node for node in graph.nodes if rules[node].channels is not None]
    starts: dict[fx.Node, int] = {}
    total = 0
    for node in followed:
        starts[node] = total
        total += len(rules[node].channels or ())
    label = _classes(rules, starts, total)
    mine = {node: label[starts[node] : starts[node] + len(rules[node].channels or ())] for node in followed}
    needed = torch.zeros(total, dtype=torch.bool)
    needed_of = _Needed(needed, mine)
    alive: set[fx.Node] = set()
    backwards = list(reversed(graph.nodes))
    before = (-1, -1)
    while before != (before := (int(needed.sum()), len(alive))):
        for node in backwards:
            kept = needed_of[node] if node in mine else torch.ones(1, dtype=torch.bool)
            reached = node.op == "output" or any(user in alive for user in node.users)
            if reached and rules[node].pinned and node in mine:
                needed[mine[node]] = True
                kept = needed_of[node]
            if not (kept.any() if node in mine else reached):
                continue
            alive.add(node)
            for used, wanted in rules[node].wants(kept, needed_of).items():
                needed[mine[used][wanted]] = True
    return {node: needed_of[node] for node in followed}


class _Needed(Mapping[fx.Node, Tensor]):
    """Which channels of a value are needed, as found so far."""

    def __init__(self, needed: Tensor, mine: Mapping[fx.Node, Tensor]) -> None:
        self._needed, self._mine = needed, mine

    def __getitem__(self, node: fx.Node) -> Tensor:
        return self._needed[self._mine[node]]

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(self._mine)

    def __len__(self) -> int:
        return len(self._mine)


def _classes(rules: Mapping[fx.Node, Rule], starts: Mapping[fx.Node, int], total: int) -> Int[Tensor, " channels"]:
    """The smallest number of each channel's class."""
    pairs = [
        (starts[used] + there, starts[node] + here)
        for node in starts
        for used, there, here in rules[node].ties()
        if used in starts
    ]
    label = torch.arange(total)
    # Forwards and backwards along the graph, one sweep each carries a number through any chain.
    sweeps = [*pairs, *reversed(pairs)]
    while True:
        before = label.clone()
        for a, b in sweeps:
            smallest = torch.minimum(label[a], label[b])
            label.scatter_reduce_(0, a, smallest, "amin")
            label.scatter_reduce_(0, b, smallest, "amin")
        if torch.equal(before, label):
            return label
