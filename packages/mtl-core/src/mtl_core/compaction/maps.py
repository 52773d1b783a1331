"""Steps without weights: functions of each element, changes of shape, concatenations, and what cannot be analysed."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx

from mtl_core.compaction.facts import Channels, apply, finite, moved
from mtl_core.compaction.rule import Rule, Tie


class Elementwise(Rule):
    """A function of each element: a constant channel stays constant."""

    def find(self) -> Channels | None:
        """The function of the constants."""
        if self.known is None:
            return None
        module = self.module if self.node.op == "call_module" else None
        return Channels(self.known.axis, finite(apply(self.node, module, self.known.constants)))

    def ties(self) -> list[Tie]:
        """Every channel with itself."""
        return [(self.source, self.own(), self.own())] if self.known else []

    def wants(self, kept: Tensor, needed: Mapping[fx.Node, Tensor]) -> dict[fx.Node, Tensor]:
        """Nothing beyond the ties."""
        return {}

    def rewrite(self, keep: Mapping[fx.Node, Tensor]) -> None:
        """It acts on any number of channels."""


class Opaque(Elementwise):
    """Anything else: it needs all that it is given, and nothing is known of what it gives."""

    def find(self) -> None:
        """Nothing."""

    def wants(self, kept: Tensor, needed: Mapping[fx.Node, Tensor]) -> dict[fx.Node, Tensor]:
        """All channels of all inputs."""
        return {
            used: torch.ones(len(self.facts[used]), dtype=torch.bool)
            for used in self.node.all_input_nodes
            if used in self.facts
        }

    def ties(self) -> list[Tie]:
        """None: everything is kept."""
        return []


class ShapeRead(Opaque):
    """Reading rows, columns or samples off a value: some channel must be there, no matter which."""

    def wants(self, kept: Tensor, needed: Mapping[fx.Node, Tensor]) -> dict[fx.Node, Tensor]:
        """One that is there anyway, else the first."""
        if self.known is None:
            return {}
        wanted = torch.zeros(len(self.known), dtype=torch.bool)
        wanted[int(needed[self.source].int().argmax())] = True
        return {self.source: wanted}


class Moving(Rule):
    """Pooling, averages, resizing, changes of shape: each channel by itself, maybe to another place."""

    def __init__(self, node: fx.Node, traced: fx.GraphModule, facts: Mapping[fx.Node, Channels]) -> None:
        self.origin = torch.arange(0)
        super().__init__(node, traced, facts)

    def find(self) -> Channels | None:
        """Where the channels are afterwards, and which constants are still such."""
        if self.known is None:
            return None
        module = self.module if self.node.op == "call_module" else None
        found = moved(self.node, module, self.known, self.source.meta["shape"])
        if found is None:
            return None
        channels, self.origin = found
        return channels

    def ties(self) -> list[Tie]:
        """Each with the one that it comes from."""
        return [(self.source, self.origin, self.own())] if self.channels else []

    def wants(self, kept: Tensor, needed: Mapping[fx.Node, Tensor]) -> dict[fx.Node, Tensor]:
        """All, where the channels could not be followed; else nothing beyond the ties."""
        if self.known is None or self.channels is not None:
            return {}
        return {self.source: torch.ones(len(self.known), dtype=torch.bool)}

    def rewrite(self, keep: Mapping[fx.Node, Tensor]) -> None:
        """A shape with numbers in it becomes `flatten`, the only such change whose channels are followed."""
        if self.channels is not None and self.node.target in ("view", "reshape", torch.reshape):
            self.node.op, self.node.target = "call_function", torch.flatten
            self.node.args, self.node.kwargs = (self.source, 1), {}


class Concatenation(Rule):
    """Channels one after the other."""

    def find(self) -> Channels | None:
        """What is known of the parts, if it is known of each."""
        parts = [self.facts.get(part) for part in self.parts]
        axis = self.node.kwargs.get("dim", self.node.args[1] if len(self.node.args) > 1 else 0)
        axes = {part.axis for part in parts if part is not None}
        if None in parts or axes != {int(axis) % len(self.node.meta["shape"])}:  # type: ignore[arg-type]
            return None
        return Channels(axes.pop(), torch.cat([part.constants for part in parts if part is not None]))

    @property
    def parts(self) -> list[Any]:
        """What is concatenated, in order."""
        return list(self.node.args[0])  # type: ignore[arg-type]

    def ties(self) -> list[Tie]:
        """Each part with its place."""
        if self.channels is None:
            return []
        found, start = [], 0
        for part in self.parts:
            count = len(self.facts[part])
            found.append((part, torch.arange(count), torch.arange(start, start + count)))
            start += count
        return found

    def wants(self, kept: Tensor, needed: Mapping[fx.Node, Tensor]) -> dict[fx.Node, Tensor]:
        """All, where the channels could not be followed; else nothing beyond the ties."""
        if self.channels is not None:
            return {}
        return {part: torch.ones(len(self.facts[part]), dtype=torch.bool) for part in self.parts if part in self.facts}

    def rewrite(self, keep: Mapping[fx.Node, Tensor]) -> None:
        """Parts of which nothing is left are left out."""
        if self.channels is None:
            return
        parts = [part for part in self.parts if keep[part].any()]
        if len(parts) < len(self.parts) and parts:
            self.node.args = (parts, *self.node.args[1:])
