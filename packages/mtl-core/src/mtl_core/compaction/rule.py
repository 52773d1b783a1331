"""What each kind of step of a network means for channels; the abstract class.

Forward, a rule says what is known of the channels of its result. Backward, it says which channels of its inputs are needed
if some of its own are kept, and which channels are one and the same on both sides (a ReLU cannot have more of them than its
input). Last, it makes the step anew for the channels that are kept.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import Tensor, fx, nn

from mtl_core.compaction.facts import Channels

Tie: TypeAlias = tuple[fx.Node, Tensor, Tensor]
"""An input, indices of its channels, and as many indices of the result's channels: pairs that are kept together."""


class Rule(ABC):
    """One step of the graph.

    Args:
        node: The step.
        traced: The module whose graph it is in.
        facts: What is known of the steps before it; a value that is missing has no channels that could be followed.

    Attributes:
        channels: What is known of its result; None where its channels cannot be followed.
        pinned: Whether all channels of its result must be kept.
        reason: Why so, for the table.
    """

    pinned = False
    reason = ""

    def __init__(self, node: fx.Node, traced: fx.GraphModule, facts: Mapping[fx.Node, Channels]) -> None:
        self.node, self.traced, self.facts = node, traced, facts
        self.channels = self.find()

    @abstractmethod
    def find(self) -> Channels | None:
        """What is known of the result's channels."""

    @abstractmethod
    def ties(self) -> list[Tie]:
        """Channels that are kept together."""

    @abstractmethod
    def wants(self, kept: Tensor, needed: Mapping[fx.Node, Tensor]) -> dict[fx.Node, Tensor]:
        """Channels of the inputs that the kept channels need, beyond the ties.

        Args:
            kept: Which channels of the result are kept.
            needed: Which channels of each value are kept already, for a free choice.
        """

    @abstractmethod
    def rewrite(self, keep: Mapping[fx.Node, Tensor]) -> None:
        """Make the step anew for the channels that are kept, all of them where a value is missing."""

    @property
    def source(self) -> fx.Node:
        """The first input."""
        return self.node.all_input_nodes[0]

    @property
    def known(self) -> Channels | None:
        """What is known of the first input."""
        return self.facts.get(self.source)

    @property
    def module(self) -> nn.Module:
        """The module that the step calls."""
        return self.traced.get_submodule(str(self.node.target))

    def own(self) -> Tensor:
        """Indices of the result's channels."""
        return torch.arange(len(self.channels) if self.channels else 0)


def indices(keep: Mapping[fx.Node, Tensor], node: fx.Node, count: int) -> Tensor:
    """Indices of the channels of a value that are kept."""
    return keep[node].nonzero().flatten() if node in keep else torch.arange(count)
