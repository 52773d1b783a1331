"""Sums, differences, products and quotients of two values."""

import operator
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, fx

from mtl_core.compaction.facts import Channels, finite
from mtl_core.compaction.rule import Rule, Tie, indices


class Arithmetic(Rule):
    """A sum, difference, product or quotient of two values, or of a value and numbers.

    An operand that is constant in every channel is replaced by its numbers, and what computed it is gone: a residual branch
    of zeros, a normalisation of the input, a gate that is always open. Otherwise the operands keep the same channels.
    """

    OPERATIONS: ClassVar[dict[Any, Any]] = {
        operator.add: torch.add,
        torch.add: torch.add,
        "add": torch.add,
        operator.sub: torch.sub,
        torch.sub: torch.sub,
        "sub": torch.sub,
        operator.mul: torch.mul,
        torch.mul: torch.mul,
        "mul": torch.mul,
        operator.truediv: torch.div,
        torch.div: torch.div,
        "div": torch.div,
    }

    def __init__(self, node: fx.Node, traced: fx.GraphModule, facts: Mapping[fx.Node, Channels]) -> None:
        self.fixed: int | None = None  # which operand is replaced by its numbers
        self.values: list[Tensor] = []
        super().__init__(node, traced, facts)

    def find(self) -> Channels | None:
        """The operation on the constants; zero times anything is zero."""
        known = [self.facts[a] for a in self.node.args if isinstance(a, fx.Node) and a in self.facts]
        shape = self.node.meta["shape"]
        if not known or len({(k.axis, len(self._shape(a))) for k, a in zip(known, self._followed(), strict=True)}) != 1:
            return None
        axis = known[0].axis
        if len(self._shape(self._followed()[0])) != len(shape):
            return None
        values = [self._constants(operand, axis, shape) for operand in self.node.args]
        if any(value is None for value in values):
            return None
        self.values = [value for value in values if value is not None]
        a, b = (value.expand(shape[axis]) for value in self.values)
        operation: Any = self.OPERATIONS[self.node.target]
        result = operation(a, b)
        if operation is torch.mul:
            result = torch.where((a == 0) | (b == 0), 0.0, result)
        for place in (1, 0):  # the second where both are: a bias rather than what it is added to
            full = self._shape(self.node.args[1 - place]) == shape
            if full and self.node.args[1 - place] in self.facts and not self.values[place].isnan().any():
                self.fixed = place
                break
        loose = [
            a
            for a in self.node.args
            if isinstance(a, fx.Node) and a not in self.facts and a.meta["constant"].numel() > 1
        ]
        if loose and self.node.args.index(loose[0]) != self.fixed:
            return None
        return Channels(axis, finite(result))

    def _followed(self) -> list[fx.Node]:
        return [a for a in self.node.args if isinstance(a, fx.Node) and a in self.facts]

    @staticmethod
    def _shape(operand: Any) -> tuple[int, ...]:
        return tuple(operand.meta.get("shape", ())) if isinstance(operand, fx.Node) else ()

    def _constants(self, operand: Any, axis: int, shape: tuple[int, ...]) -> Tensor | None:
        """What is known of an operand's channels; None where it has other dimensions than channels that vary."""
        if not isinstance(operand, fx.Node):
            return torch.tensor([float(operand)], dtype=torch.float64)
        if operand in self.facts:
            return self.facts[operand].constants
        if "constant" not in operand.meta:
            return None
        value = operand.meta["constant"].detach().double().cpu()
        value = value.view(*[1] * (len(shape) - value.ndim), *value.shape)
        return value.flatten() if value.numel() == value.shape[axis] else None

    def ties(self) -> list[Tie]:
        """Each operand's channels with the result's, but for one that is replaced and one that is a single channel."""
        if self.channels is None:
            return []
        found = []
        for place, operand in enumerate(self.node.args):
            moves = isinstance(operand, fx.Node) and operand in self.facts and place != self.fixed
            if moves and len(self.values[place]) == len(self.channels):
                found.append((operand, self.own(), self.own()))
        return found  # type: ignore[return-value]

    def wants(self, kept: Tensor, needed: Mapping[fx.Node, Tensor]) -> dict[fx.Node, Tensor]:
        """A single channel that meets all others; all, where the channels could not be followed."""
        wanted = {}
        for place, operand in enumerate(self.node.args):
            if not isinstance(operand, fx.Node) or operand not in self.facts:
                continue
            if self.channels is None:
                wanted[operand] = torch.ones(len(self.facts[operand]), dtype=torch.bool)
            elif place != self.fixed and len(self.values[place]) < len(self.channels):
                wanted[operand] = kept.any().view(1)
        return wanted

    def rewrite(self, keep: Mapping[fx.Node, Tensor]) -> None:
        """Put numbers in the place of a constant operand; leave out a sum with zero and a product with one."""
        if self.channels is None or self.fixed is None:
            return
        other: Any = self.node.args[1 - self.fixed]
        kept = indices(keep, self.node, len(self.channels))
        values = self.values[self.fixed].expand(len(self.channels))[kept]
        operation = self.OPERATIONS[self.node.target]
        neutral = 0.0 if operation in (torch.add, torch.sub) else 1.0
        if bool((values == neutral).all()) and (self.fixed == 1 or operation in (torch.add, torch.mul)):
            self.node.replace_all_uses_with(other)
            return
        operand: Any = self.node.args[self.fixed]
        if not isinstance(operand, fx.Node):
            return
        shape = [len(kept) if axis == self.channels.axis else 1 for axis in range(len(self.node.meta["shape"]))]
        name = f"operand_of_{self.node.name}"
        self.traced.register_buffer(name, values.to(*self.node.meta["like"]).view(shape))
        with self.traced.graph.inserting_before(self.node):
            self.node.update_arg(self.fixed, self.traced.graph.get_attr(name))
