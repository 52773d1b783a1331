"""Layers before and after, for reading."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from torch import nn
from torch.nn.utils import parametrize

from mtl_core.compaction.choice import Kernels


@dataclass(frozen=True)
class Layer:
    """One layer, before and after.

    Attributes:
        name: Its path in the model.
        kind: Its class.
        before: Its size: channels in and out, kernel, groups.
        after: The same afterwards; `removed`, or the layer that it was folded into.
        parameters: Before and after.
        note: What else there is to say: why it was kept, which kernel it has.
    """

    name: str
    kind: str
    before: str
    after: str
    parameters: tuple[int, int]
    note: str = ""


class Table(Sequence[Layer]):
    """The layers of a model before and after compaction; `print` shows it.

    Args:
        layers: One row each.

    Examples:
        >>> print(Table([Layer("conv", "Conv2d", "3→8, 3×3", "3→5, 3×3", (224, 140))]))
        layer  kind    before    after     parameters  note
        conv   Conv2d  3→8, 3×3  3→5, 3×3  224 → 140
        all                                224 → 140
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = tuple(layers)

    @overload
    def __getitem__(self, index: int) -> Layer: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Layer]: ...
    def __getitem__(self, index: int | slice) -> Layer | Sequence[Layer]:
        return self._layers[index]

    def __len__(self) -> int:
        return len(self._layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers)

    def named(self, name: str) -> Layer:
        """The row of a layer.

        Raises:
            KeyError: If there is none.
        """
        for layer in self._layers:
            if layer.name == name:
                return layer
        raise KeyError(name)

    @property
    def parameters(self) -> tuple[int, int]:
        """Parameters of all layers, before and after."""
        before, after = ([layer.parameters[side] for layer in self._layers] for side in (0, 1))
        return sum(before), sum(after)

    def __str__(self) -> str:
        rows = [("layer", "kind", "before", "after", "parameters", "note")]
        rows += [(r.name, r.kind, r.before, r.after, _change(r.parameters), r.note) for r in self._layers]
        rows.append(("all", "", "", "", _change(self.parameters), ""))
        widths = [max(len(row[column]) for row in rows) for column in range(6)]
        lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
        return "\n".join(line.rstrip() for line in lines)


def tabulate(
    before: nn.Module, after: nn.Module, folded: Mapping[str, str], notes: Mapping[str, str], kernels: Kernels
) -> Table:
    """The table of a compaction.

    Args:
        before: The model as it was.
        after: The compacted module, its layers dense.
        folded: Names of the norms that were folded, and of the layers that took them over.
        notes: What is to be said of layers, by name.
        kernels: The kernels chosen.
    """
    left = dict(after.named_modules())
    rows = []
    for name, module in before.named_modules():
        if not _owned(module):
            continue
        now = left.get(name)
        size = _size(now) if now is not None else f"in {folded[name]}" if name in folded else "removed"
        choice = kernels.layers.get(name)
        parts = [notes.get(name, ""), f"{choice.kernel} kernel, {choice.ratio:.2f} of dense" if choice else ""]
        count = 0 if now is None else _count(now)
        note = "; ".join(part for part in parts if part)
        rows.append(Layer(name, _kind(module), _size(module), size, (_count(module), count), note))
    return Table(rows)


def _owned(module: nn.Module) -> bool:
    """Whether a module has parameters or a parametrization of its own."""
    return parametrize.is_parametrized(module) or bool(
        [p for p in module._parameters.values() if p is not None]
        and not isinstance(module, parametrize.ParametrizationList)
    )


def _kind(module: nn.Module) -> str:
    return (type(module).__bases__[0] if parametrize.is_parametrized(module) else type(module)).__name__


def _count(module: nn.Module) -> int:
    if parametrize.is_parametrized(module):
        return sum(parameter.numel() for parameter in module.parameters())
    return sum(parameter.numel() for parameter in module.parameters(recurse=False))


def _size(module: nn.Module) -> str:
    layer: Any = module
    if isinstance(module, nn.modules.conv._ConvNd):
        kernel = "×".join(map(str, layer.kernel_size))
        groups = f", {layer.groups} groups" if layer.groups > 1 else ""
        return f"{layer.in_channels}→{layer.out_channels}, {kernel}{groups}"
    if isinstance(module, nn.Linear):
        return f"{layer.in_features}→{layer.out_features}"
    shapes = ["×".join(map(str, p.shape)) for p in module.parameters(recurse=False)]
    return shapes[0] if shapes else ""


def _change(parameters: tuple[int, int]) -> str:
    return f"{parameters[0]:,} → {parameters[1]:,}"
