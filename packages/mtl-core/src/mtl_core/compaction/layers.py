r"""Layers with weights: convolutions, linear layers, norms.

A channel $c$ that is constant, $x_c = k_c$, gives a convolution without padding the share $k_c \sum_u w_{oc}(u)$ of output
$o$ at every position: its part of the bias. Where the border is padded with zeros this is wrong at the border. There all
constant channels but one are removed, and that one takes their part over at any size of the map:

$$\sum_c w_{oc} * k_c \mathbf 1 = \Big(\sum_c \frac{k_c}{k_s} w_{oc}\Big) * k_s \mathbf 1$$
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mtl_core.compaction.facts import Channels, finite, varying
from mtl_core.compaction.renewal import renewed
from mtl_core.compaction.rule import Rule, Tie, indices
from mtl_core.compaction.tracing import set_module


class Weighted(Rule):
    """A convolution of one group, or a linear layer: every output reads every input."""

    def __init__(self, node: fx.Node, traced: fx.GraphModule, facts: Mapping[fx.Node, Channels]) -> None:
        module: Any = traced.get_submodule(str(node.target))
        self.weight, self.bias = numbers(module.weight), bias_of(module)
        self.reach = reads(self.weight)
        self.even = keeps_constants(module)
        self.carrier: int | None = None
        super().__init__(node, traced, facts)

    def find(self) -> Channels:
        """A filter that reads nothing which varies is constant."""
        known = self.inputs()
        moving = known.isnan() if self.even else known.isnan() | (known != 0)
        dead = ~self.reach[:, moving].any(1)
        value = self.bias + self.mass() @ known.nan_to_num(0.0)
        axis = 1 if isinstance(self.module, nn.modules.conv._ConvNd) else len(self.node.meta["shape"]) - 1
        return Channels(axis, finite(torch.where(dead, value, torch.nan)))

    def inputs(self) -> Tensor:
        """The constants of the input's channels."""
        return varying(self.reach.shape[1]) if self.known is None else self.known.constants

    def mass(self) -> Tensor:
        """Sum of each kernel: what it makes of a constant."""
        return self.weight.flatten(2).sum(2) if self.weight.ndim > 2 else self.weight

    def ties(self) -> list[Tie]:
        """None: inputs and outputs are free of each other."""
        return []

    def wants(self, kept: Tensor, needed: Mapping[fx.Node, Tensor]) -> dict[fx.Node, Tensor]:
        """What varies and is read; of the constants that a padded border does not let through, one."""
        if self.known is None or not kept.any():
            return {}
        read = self.reach[kept].any(0)
        known = self.inputs()
        wanted = read & known.isnan()
        bordered = read & ~known.isnan() & (known != 0)
        if not self.even and bordered.any():
            if self.carrier is None:
                size = torch.where(bordered, known.abs(), 0.0)
                # One that is kept anyway costs nothing; a tiny one would make the others' weights huge.
                there = size * needed[self.source]
                self.carrier = int((there if there.max() >= size.max() / 8 else size).argmax())
            wanted[self.carrier] = True
        if not wanted.any():  # a layer has one input channel at least
            there = needed[self.source].nonzero().flatten()
            wanted[int(there[0]) if len(there) else 0] = True
        return {self.source: wanted}

    def rewrite(self, keep: Mapping[fx.Node, Tensor]) -> None:
        """Slice the weight; what is removed and constant goes into the bias, or into the carrier."""
        out = indices(keep, self.node, self.reach.shape[0])
        into = indices(keep, self.source, self.reach.shape[1])
        removed = self.inputs().nan_to_num(0.0)
        removed[into] = 0.0
        weight, bias = self.weight, self.bias
        if self.even:
            bias = bias + self.mass() @ removed
        elif self.carrier is not None:
            share = removed / self.inputs()[self.carrier]
            weight = weight.clone()
            weight[:, self.carrier] += (self.weight * share.view(1, -1, *[1] * (weight.ndim - 2))).sum(1)
        set_module(self.traced, str(self.node.target), renewed(self.module, weight[out][:, into], bias[out]))


class Grouped(Rule):
    """A convolution of several groups, depthwise above all: a group is kept with all its channels, or removed."""

    def __init__(self, node: fx.Node, traced: fx.GraphModule, facts: Mapping[fx.Node, Channels]) -> None:
        module: nn.Conv2d = traced.get_submodule(str(node.target))  # type: ignore[assignment]
        self.weight, self.bias, self.groups = numbers(module.weight), bias_of(module), module.groups
        self.even = keeps_constants(module)
        super().__init__(node, traced, facts)
        if self.known is None:
            self.pinned, self.reason = True, "grouped, on an input that is kept"

    def find(self) -> Channels:
        """A filter that reads nothing of its group which varies is constant."""
        size = self.weight.shape[1]
        known = varying(size * self.groups) if self.known is None else self.known.constants
        mine = known.view(self.groups, size).repeat_interleave(len(self.weight) // self.groups, 0)
        moving = mine.isnan() if self.even else mine.isnan() | (mine != 0)
        dead = ~(reads(self.weight) & moving).any(1)
        value = self.bias + (self.weight.flatten(2).sum(2) * mine.nan_to_num(0.0)).sum(1)
        return Channels(1, finite(torch.where(dead, value, torch.nan)))

    def ties(self) -> list[Tie]:
        """All inputs and all outputs of a group."""
        if self.known is None:
            return []
        into = torch.arange(len(self.known)).view(self.groups, -1)
        out = self.own().view(self.groups, -1)
        first_in, first_out = into[:, :1].expand_as(out), out[:, :1].expand_as(into)
        return [(self.source, first_in.flatten(), out.flatten()), (self.source, into.flatten(), first_out.flatten())]

    def wants(self, kept: Tensor, needed: Mapping[fx.Node, Tensor]) -> dict[fx.Node, Tensor]:
        """Nothing beyond the ties."""
        return {}

    def rewrite(self, keep: Mapping[fx.Node, Tensor]) -> None:
        """Keep the filters of the groups that are left."""
        out = indices(keep, self.node, len(self.weight))
        groups = len(out) * self.groups // len(self.weight)
        layer = renewed(self.module, self.weight[out], self.bias[out], groups=groups)
        set_module(self.traced, str(self.node.target), layer)


class ChannelNorm(Rule):
    """A batch norm that stands alone: every channel is scaled and moved by numbers of its own."""

    def __init__(self, node: fx.Node, traced: fx.GraphModule, facts: Mapping[fx.Node, Channels]) -> None:
        self.scale, self.shift = scale_and_shift(traced.get_submodule(str(node.target)))
        super().__init__(node, traced, facts)

    def find(self) -> Channels | None:
        """A scale of zero makes a channel constant, too."""
        if self.known is None:
            return None
        value = torch.where(self.scale == 0, self.shift, self.known.constants * self.scale + self.shift)
        return Channels(1, finite(value))

    def ties(self) -> list[Tie]:
        """Every channel with itself."""
        return [(self.source, self.own(), self.own())] if self.known else []

    def wants(self, kept: Tensor, needed: Mapping[fx.Node, Tensor]) -> dict[fx.Node, Tensor]:
        """Nothing beyond the ties."""
        return {}

    def rewrite(self, keep: Mapping[fx.Node, Tensor]) -> None:
        """A norm of fewer channels."""
        kept = indices(keep, self.node, len(self.scale))
        if self.channels is None or len(kept) == len(self.scale):
            return
        old: _BatchNorm = self.module  # type: ignore[assignment]
        new = nn.utils.skip_init(type(old), len(kept), old.eps, old.momentum, old.affine).eval()
        there = {
            name: value[kept.to(value.device)] if value.ndim else value for name, value in old.state_dict().items()
        }
        reference = next(value for value in there.values() if value.is_floating_point())
        new.to(reference.device, reference.dtype).load_state_dict(there)
        set_module(self.traced, str(self.node.target), new)


class JointNorm(Rule):
    """A group norm or layer norm: channels share a statistic, so that all stay; a scale of zero makes one constant."""

    pinned = True

    def find(self) -> Channels | None:
        """Only a channel whose scale is zero is constant."""
        norm = self.module
        shape = self.node.meta["shape"]
        axis = 1 if isinstance(norm, nn.GroupNorm) else len(shape) - 1
        value = varying(shape[axis])
        weight = getattr(norm, "weight", None)
        if isinstance(weight, Tensor):
            value = torch.where(numbers(weight) == 0, bias_of(norm, len(value)), value)
        self.reason = f"kept whole: a {type(norm).__name__} shares its statistic among channels"
        return Channels(axis, value)

    def ties(self) -> list[Tie]:
        """None: everything is kept."""
        return []

    def wants(self, kept: Tensor, needed: Mapping[fx.Node, Tensor]) -> dict[fx.Node, Tensor]:
        """All."""
        return {self.source: torch.ones(len(self.known), dtype=torch.bool)} if self.known else {}

    def rewrite(self, keep: Mapping[fx.Node, Tensor]) -> None:
        """It stays."""


def reads(weight: Tensor) -> Tensor:
    """Which outputs read which inputs, `[out, in]`; a NaN reads, too."""
    nonzero = weight != 0
    return nonzero.flatten(2).any(2) if weight.ndim > 2 else nonzero


def numbers(value: Tensor) -> Tensor:
    """Weights in float64, on the CPU: where constants are computed."""
    return value.detach().double().cpu()


def bias_of(module: nn.Module, channels: int | None = None) -> Tensor:
    """A layer's bias in float64; zeros where it has none."""
    bias = getattr(module, "bias", None)
    if isinstance(bias, Tensor):
        return numbers(bias)
    if channels is None:
        weight: Tensor = module.weight  # type: ignore[assignment]
        channels = len(weight)
    return torch.zeros(channels, dtype=torch.float64)


def scale_and_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """What a batch norm multiplies by and adds, in float64."""
    batch_norm: _BatchNorm = norm  # type: ignore[assignment]
    mean, variance = batch_norm.running_mean, batch_norm.running_var
    assert mean is not None  # else it is no `ChannelNorm`
    assert variance is not None
    scale = 1 / (numbers(variance) + batch_norm.eps).sqrt()
    if batch_norm.affine:
        scale = scale * numbers(batch_norm.weight)
    return scale, bias_of(norm, len(scale)) - numbers(mean) * scale


def keeps_constants(module: nn.Module) -> bool:
    """Whether a constant input gives a constant output up to the border: nothing is padded with zeros."""
    if isinstance(module, nn.Linear) or getattr(module, "padding_mode", "zeros") != "zeros":
        return True
    padding, kernel = module.padding, module.kernel_size
    if isinstance(padding, str):
        return padding == "valid" or max(kernel) == 1  # type: ignore[arg-type]
    return not any(padding)  # type: ignore[arg-type]
