"""Cutting a backbone at its layers by torch.fx: features from the middle, and nothing computed past the deepest."""

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from mtl_core.components import evaluating

OUTPUT = "output"
"""The name under which a tapped backbone gives its own output."""


def cut(backbone: nn.Module, layers: Sequence[str]) -> nn.Module:
    """A module with the same weights that gives `{layer: features}` and computes nothing past the deepest layer.

    Args:
        backbone: Traceable by torch.fx, or already giving a dict (then it is returned as it is).
        layers: Names of submodules that are called exactly once, names of other steps of the trace (`relu_3`), or `OUTPUT`.

    Raises:
        ValueError: If a layer is not called exactly once, or the backbone cannot be traced.
    """
    from torch import fx

    class Tracer(fx.Tracer):
        def __init__(self) -> None:
            super().__init__()
            self.calls: dict[str, list[Any]] = {}

        def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
            given = super().call_module(m, forward, args, kwargs)
            self.calls.setdefault(self.path_of_module(m), []).append(given)
            return given

    try:
        tracer = Tracer()
        graph = tracer.trace(backbone)
        with evaluating(backbone):
            changes = str(fx.Tracer().trace(backbone)) != str(graph)
        if changes:  # the trace would keep doing what is done in one of the two modes
            raise ValueError("its forward is another one in training than in evaluation mode (`self.training`).")
    except Exception as error:
        if _gives_layers(backbone):
            return backbone
        raise ValueError(
            f"`taps` need a backbone that torch.fx can trace, or one that gives `{{layer: features}}` "
            f"(an attribute `layers` names them). Tracing failed: {error}"
        ) from error
    (output,) = (node for node in graph.nodes if node.op == "output")
    given = output.args[0]
    calls = {**tracer.calls, **{k: [v] for k, v in given.items()}} if isinstance(given, dict) else tracer.calls
    nodes: dict[str, list[Any]] = {node.name: [node] for node in graph.nodes if node.op.startswith("call_")}
    nodes |= {path: [v.node if isinstance(v, fx.Proxy) else v for v in values] for path, values in calls.items()}
    nodes.setdefault(OUTPUT, [given])
    for layer in layers:
        if len(nodes.get(layer, [])) != 1 or not isinstance(nodes[layer][0], fx.Node):
            once = [path for path, values in calls.items() if len(values) == 1]
            raise ValueError(f"`taps` must name layers called exactly once, as {once[:4]}. Got `{layer}`.")
    tapped = {layer: nodes[layer][0] for layer in layers}
    for layer, node in tapped.items():
        if any(_overwrites(user, backbone) for user in node.users):  # else the tap would give what comes after it
            with graph.inserting_after(node):
                tapped[layer] = graph.call_method("clone", (node,))
    output.args = (tapped,)
    whole = fx.GraphModule(backbone, graph)
    whole.graph.eliminate_dead_code()
    return fx.GraphModule(whole, whole.graph)  # made again, it has only what its graph still uses


def split(backbone: nn.Module, layer: str) -> tuple[nn.Module, nn.Module]:
    """A module that gives `{layer: features}`, and one that makes the backbone's output of these features.

    Raises:
        ValueError: If the layer is not called exactly once, something before it is used past it, or the backbone cannot
            be traced.
    """
    from torch import fx

    before = cut(backbone, [layer])
    whole = cut(backbone, [layer, OUTPUT])
    if not isinstance(whole, fx.GraphModule):
        raise ValueError(f"A backbone must be traceable by torch.fx to be split. Got {type(backbone).__name__}.")
    (output,) = (node for node in whole.graph.nodes if node.op == "output")
    first, last = output.args[0][layer], output.args[0][OUTPUT]
    graph = fx.Graph()
    copies = {first: graph.placeholder("features")}
    past = False
    for node in whole.graph.nodes:
        if past and node.op != "output":
            missing = [used for used in node.all_input_nodes if used not in copies]
            if missing:
                raise ValueError(
                    f"`layer` must be where the backbone is one path. Got `{layer}`: `{missing[0]}` goes past it."
                )
            copies[node] = graph.node_copy(node, copies.__getitem__)
        past = past or node is first
    graph.output(copies[last])
    return before, fx.GraphModule(whole, graph)


def _overwrites(node: Any, backbone: nn.Module) -> bool:
    """Whether a step of a graph works in place: `ReLU(inplace=True)`, `x.relu_()`, `x += y`."""
    if node.op == "call_module":
        return bool(getattr(backbone.get_submodule(node.target), "inplace", False))
    name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
    in_place = name.endswith("_") and not name.endswith("__")
    return bool(node.kwargs.get("inplace")) or in_place or name in ("iadd", "isub", "imul", "itruediv")


def gives_output(backbone: nn.Module) -> bool:
    """Whether a backbone says that it gives `{layer: features}` with its own output among them."""
    layers = getattr(backbone, "layers", None)
    return isinstance(layers, (tuple, list)) and OUTPUT in layers


def _gives_layers(backbone: nn.Module) -> bool:
    return bool(getattr(backbone, "layers", None)) and not isinstance(backbone.layers, nn.Module)
