"""Which rule a step of the graph follows."""

import operator
from collections.abc import Mapping

import torch
from torch import fx, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from mtl_core.compaction.arithmetic import Arithmetic
from mtl_core.compaction.facts import Channels
from mtl_core.compaction.layers import ChannelNorm, Grouped, JointNorm, Weighted
from mtl_core.compaction.maps import Concatenation, Elementwise, Moving, Opaque, ShapeRead
from mtl_core.compaction.rule import Rule

ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Sigmoid, nn.SiLU, nn.Hardswish, nn.Hardsigmoid, nn.LeakyReLU, nn.GELU, nn.Tanh, nn.ELU,
    nn.CELU, nn.SELU, nn.Softplus, nn.Softsign, nn.Mish, nn.Threshold, nn.LogSigmoid, nn.Tanhshrink, nn.Hardshrink, nn.Softshrink,
)  # fmt: skip
POOLS = (
    nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.Flatten,
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool2d,
    nn.Upsample, nn.UpsamplingBilinear2d, nn.UpsamplingNearest2d, nn.ZeroPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d,
)  # fmt: skip
ELEMENTWISE = {
    F.relu, F.relu6, F.hardtanh, F.sigmoid, F.silu, F.hardswish, F.hardsigmoid, F.leaky_relu, F.gelu, F.tanh, F.elu, F.selu,
    F.softplus, F.softsign, F.mish, F.celu, torch.relu, torch.sigmoid, torch.tanh, torch.abs, torch.exp, torch.neg, torch.square,
    torch.sqrt, torch.clamp, torch.clip, operator.neg, operator.pow, torch.pow, operator.abs,
    "relu", "sigmoid", "tanh", "abs", "exp", "neg", "square", "sqrt", "clamp", "clip", "clamp_min", "clamp_max", "pow",
}  # fmt: skip
MOVING = {
    F.max_pool1d, F.max_pool2d, F.max_pool3d, F.avg_pool1d, F.avg_pool2d, F.avg_pool3d, F.adaptive_avg_pool1d,
    F.adaptive_avg_pool2d, F.adaptive_max_pool2d, F.interpolate, F.pad, F.dropout, F.dropout2d, torch.flatten, torch.mean,
    torch.amax, torch.transpose, torch.permute, torch.squeeze, torch.unsqueeze, torch.reshape,
    "flatten", "mean", "amax", "transpose", "permute", "squeeze", "unsqueeze", "unflatten", "contiguous", "clone", "detach",
    "expand", "view", "reshape",
}  # fmt: skip
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def rule_of(node: fx.Node, traced: fx.GraphModule, facts: Mapping[fx.Node, Channels], calls: Mapping[int, int]) -> Rule:
    """The rule of a step.

    Args:
        node: The step.
        traced: The module whose graph it is in.
        facts: What is known of the steps before it.
        calls: How often each module is called.
    """
    if node.op != "call_module":
        return _function(node, facts)(node, traced, facts)
    rule = _layer(node, traced, facts, calls)(node, traced, facts)
    module = traced.get_submodule(str(node.target))
    if type(rule) is Opaque and any(True for _ in module.parameters()):
        why = (
            "called more than once" if calls[id(module)] > 1 else f"{plain_type(module).__name__} is not analysed here"
        )
        rule.reason = f"kept whole: {why}"
    return rule


def _layer(
    node: fx.Node, traced: fx.GraphModule, facts: Mapping[fx.Node, Channels], calls: Mapping[int, int]
) -> type[Rule]:
    module = traced.get_submodule(str(node.target))
    kind = plain_type(module)
    shape = node.meta.get("shape")
    if shape is None or len(node.all_input_nodes) != 1 or node.kwargs:
        return Opaque
    if kind in ACTIVATIONS:
        return Elementwise
    if kind in POOLS:
        return Moving
    if calls[id(module)] > 1:
        return Opaque  # sliced for one of its calls, it would not fit the other
    source = node.all_input_nodes[0]
    given = source.meta.get("shape", ())
    # Where a convolution's input has no dimension for samples, nothing here holds.
    axis = {nn.Conv1d: 1, nn.Conv2d: 1, nn.Conv3d: 1, nn.GroupNorm: 1}.get(kind, len(given) - 1)
    if issubclass(kind, _BatchNorm):
        axis = 1
    if source in facts and facts[source].axis != axis:
        return Opaque
    if kind in LAYERS and (kind is nn.Linear or len(given) == module.weight.ndim):
        return Weighted if kind is nn.Linear or module.groups == 1 else Grouped
    if kind in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d) and module.running_mean is not None:
        return ChannelNorm
    if kind is nn.GroupNorm or (kind is nn.LayerNorm and len(module.normalized_shape) == 1):  # type: ignore[arg-type]
        return JointNorm
    return Opaque


def _function(node: fx.Node, facts: Mapping[fx.Node, Channels]) -> type[Rule]:
    if node.op not in ("call_function", "call_method") or not node.args:
        return Opaque
    others = [used for used in node.all_input_nodes if used is not node.args[0]]
    single = node.args[0] in facts and all("value" in used.meta for used in others)
    target = node.target
    if "shape" not in node.meta:
        return ShapeRead if single and _reads_places(node, facts[node.args[0]].axis) else Opaque  # type: ignore[index]
    if target in Arithmetic.OPERATIONS and len(node.args) == 2 and not node.kwargs:
        return Arithmetic
    if (
        target in (torch.cat, torch.concat)
        and not set(node.kwargs) - {"dim"}
        and isinstance(node.args[0], (list, tuple))
    ):
        return Concatenation
    if single and target in ELEMENTWISE:
        return Elementwise
    if single and target in MOVING and _follows_channels(node, facts[node.args[0]].axis):  # type: ignore[index]
        return Moving
    return Opaque


def _follows_channels(node: fx.Node, axis: int) -> bool:
    """Whether a change of shape has no number of channels in it, and would be the same with fewer of them."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    sizes = [*node.args[1:], *node.kwargs.values()]
    if name == "expand":
        return len(sizes) > axis and bool(sizes[axis] == -1)
    if name == "squeeze":
        return len(sizes) > 0
    if name in ("mean", "amax"):
        return len(sizes) > 0
    if name in ("view", "reshape"):
        given, gives = node.args[0].meta["shape"], node.meta["shape"]  # type: ignore[union-attr]
        sizes = list(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (list, tuple)) else sizes
        if not len(gives) == len(sizes) == 2 or gives[0] != given[0]:
            return False
        # Which of the two is not a number must say that it is the batch that stays.
        return bool((isinstance(sizes[0], fx.Node) and sizes[1] == -1) or (sizes[0] == -1 and gives[0] > 1))
    return True


def _reads_places(node: fx.Node, axis: int) -> bool:
    """Whether a step reads sizes of a value, and none of its number of channels."""
    if node.target in ("dim", "ndimension") or (node.target is getattr and node.args[1] in ("ndim", "dtype", "device")):
        return True
    ndim = len(node.args[0].meta["shape"])  # type: ignore[union-attr]
    if node.target == "size" and len(node.args) == 2:
        return isinstance(node.args[1], int) and node.args[1] % ndim != axis
    if node.target == "size" or (node.target is getattr and node.args[1] == "shape"):
        return all(_skips(user, axis, ndim) for user in node.users)
    return False


def _skips(user: fx.Node, axis: int, ndim: int) -> bool:
    """Whether a step takes sizes out of a shape, and not that of the channels."""
    if user.target is not operator.getitem or not isinstance(user.args[1], (int, slice)):
        return False
    if isinstance(user.args[1], int):
        return user.args[1] % ndim != axis
    return axis not in range(ndim)[user.args[1]]


def plain_type(module: nn.Module) -> type[nn.Module]:
    """A module's class; of a parametrized one, the class without it."""
    return type(module).__bases__[0] if parametrize.is_parametrized(module) else type(module)
