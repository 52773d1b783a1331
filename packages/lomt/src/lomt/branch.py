"""The main branch of a backbone: the convolutions among which a task's layer is chosen, in forward order.

It is the path from input to output that passes most convolutions, in the graph that torch.fx traces, without what lies before
the first fork: there is no way round those, so an empty one among them would cut the signal. A network without a fork has no
way round any of its layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.conv import _ConvNd

from mtl_core.cut import OUTPUT

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LocalResponseNorm)
ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.Mish, nn.LeakyReLU, nn.ELU, nn.Hardswish, nn.Tanh, nn.Sigmoid)
FUNCTIONS = {"relu", "relu_", "relu6", "gelu", "silu", "mish", "leaky_relu", "elu", "hardswish", "tanh", "sigmoid"}


@dataclass(frozen=True)
class MainBranch:
    """Where a task's layer can lie.

    Attributes:
        layers: Names of convolutions in forward order, each called exactly once.
        bypassed: Whether the signal has a way round them, so that one may become empty; None where nobody knows.
    """

    layers: tuple[str, ...]
    bypassed: bool | None


def main_branch(backbone: nn.Module, layers: Sequence[str] = ()) -> MainBranch:
    """Find the main branch of a backbone.

    Args:
        backbone: Traceable by torch.fx; else it says its layers itself (an attribute `layers`), or the caller does.
        layers: Names of convolutions in forward order; by default they are found.

    Raises:
        ValueError: If the backbone cannot be traced and nobody says its layers, a name is no convolution's, or there is none.

    Examples:
        >>> from mtl_core import backbones
        >>> main_branch(backbones.tiny()).layers[:3]
        ('layer1.conv1', 'layer1.conv2', 'layer2.conv1')
    """
    if not layers:
        path = _longest_path(backbone)
        if path is not None:
            return path
        layers = [name for name in getattr(backbone, "layers", ()) if name != OUTPUT]
    if not layers:
        raise ValueError(
            "`build` must give a backbone that torch.fx can trace, or one that gives its layers: "
            "`lomt.with_layers(backbone, names)` makes it one. Got one that cannot be traced."
        )
    convolutions = {name for name, module in backbone.named_modules() if isinstance(module, _ConvNd)}
    unknown = [name for name in layers if name not in convolutions]
    if unknown:
        raise ValueError(f"`layers` must be names of convolutions of the backbone. Got `{unknown[0]}`.")
    return MainBranch(tuple(layers), None)


def after_activation(backbone: nn.Module, layer: str) -> str:
    """Name of the step after a convolution's norm and activation, as far as they follow it directly.

    Args:
        backbone: Traceable by torch.fx.
        layer: Name of a convolution.

    Raises:
        ValueError: If the backbone cannot be traced.

    Examples:
        >>> after_activation(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()), "0")
        '_2'
    """
    graph = _traced(backbone)
    if graph is None:
        raise ValueError('`tap` must be "raw" for a backbone that torch.fx cannot trace. Got `tap = "activated"`.')
    (node,) = (node for node in graph.nodes if node.op == "call_module" and node.target == layer)
    for follows in (_is_norm, _is_activation):
        users = _users(node)
        if len(users) == 1 and follows(users[0], backbone):
            node = users[0]
    name: str = node.name
    return name


def _longest_path(backbone: nn.Module) -> MainBranch | None:
    graph = _traced(backbone)
    if graph is None:
        return None
    calls = [node.target for node in graph.nodes if node.op == "call_module"]
    modules = dict(backbone.named_modules())
    # Of each step the largest number of convolutions on a way to it, and the step before it on that way.
    longest: dict[Any, tuple[int, Any]] = {}
    for node in graph.nodes:
        before = [n for n in node.all_input_nodes if not _reads_shape(n)]
        first = max(before, key=lambda n: longest[n][0], default=None)
        passed = node.op == "call_module" and isinstance(modules[node.target], _ConvNd)
        longest[node] = (passed + (longest[first][0] if first is not None else 0), first)
    path: list[Any] = [next(node for node in graph.nodes if node.op == "output")]
    while path[-1] is not None:
        path.append(longest[path[-1]][1])
    path = path[-2::-1]  # from the input on, without the None at its beginning
    fork = next((place for place, node in enumerate(path) if len(_users(node)) > 1), None)
    after = path if fork is None else path[fork + 1 :]
    found = [n.target for n in after if n.op == "call_module" and isinstance(modules[n.target], _ConvNd)]
    once = tuple(name for name in found if calls.count(name) == 1)
    if not once:
        raise ValueError("`build` must give a backbone with convolutions on its main branch. Got one without.")
    return MainBranch(once, fork is not None)


def _traced(backbone: nn.Module) -> Any:
    """The graph of a backbone, or None; torch.fx raises whatever the backbone's own code raises on a proxy."""
    from torch import fx

    try:
        whole = fx.GraphModule(backbone, fx.Tracer().trace(backbone))
    except Exception:
        return None
    whole.graph.eliminate_dead_code()
    return whole.graph


def _users(node: Any) -> list[Any]:
    """What uses the values of a step, not only its shape."""
    return [user for user in node.users if not _reads_shape(user)]


def _reads_shape(node: Any) -> bool:
    if node.op == "call_function" and node.target is getattr:
        return node.args[1] in ("shape", "device", "dtype", "ndim")
    return node.op == "call_method" and node.target in ("size", "dim")


def _is_norm(node: Any, backbone: nn.Module) -> bool:
    return node.op == "call_module" and isinstance(backbone.get_submodule(node.target), NORMS)


def _is_activation(node: Any, backbone: nn.Module) -> bool:
    if node.op == "call_module":
        return isinstance(backbone.get_submodule(node.target), ACTIVATIONS)
    return (node.target if node.op == "call_method" else getattr(node.target, "__name__", "")) in FUNCTIONS
