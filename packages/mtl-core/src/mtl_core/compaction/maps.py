"""Steps without weights: functions of each element, changes of shape, sums and products, concatenations."""

import operator
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, fx

from mtl_core.compaction.facts import Channels, apply, finite, moved
from mtl_core.compaction.rule import Rule, Tie, indices


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
        if None in parts or axes != {int(axis) % len(self.node.meta["shape"])}:  # type: ignore[arg-type, call-overload]
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
        operation: Any = self.OPERATIONS[self.node.target]  # type: ignore[index]
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
        return [
            (operand, self.own(), self.own())
            for place, operand in enumerate(self.node.args)
            if place != self.fixed and operand in self.facts and len(self.values[place]) == len(self.channels)
        ]

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
        operation = self.OPERATIONS[self.node.target]  # type: ignore[index]
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
