"""A model as a torch.fx graph: a copy, without steps in place, with the shape of every value.

Where torch.fx cannot trace a submodule (its forward branches on values, loops over a size), the submodule stays one opaque
step: it is kept as it is, with all channels that it takes and gives. Where it cannot trace the model's own forward, the
model is refused.
"""

import copy
import inspect
import operator
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, fx, nn

from mtl_core.compaction.aliasing import remove_in_place


def trace(model: nn.Module, inputs: Sequence[Any]) -> fx.GraphModule:
    """Trace a copy of the model in evaluation mode, with shapes and constants noted in `node.meta`.

    Args:
        model: The model; it is not touched.
        inputs: Its positional arguments; further arguments have their defaults.

    Raises:
        TypeError: If the inputs do not fit `forward`, or the model cannot be copied.
        ValueError: If the model is in training mode, has hooks, or its own forward cannot be traced.
    """
    root = copied(model)
    graph = _graph(root, _defaults(root, inputs))
    traced = fx.GraphModule(root, graph)
    _drop_defaults(traced, len(inputs))
    record(traced, inputs)
    remove_in_place(traced)
    traced.graph.eliminate_dead_code()
    record(traced, inputs)
    _fold_constants(traced)
    return fx.GraphModule(traced, traced.graph)  # made again, it has only what its graph uses


def copied(model: nn.Module) -> nn.Module:
    """A copy of a model in evaluation mode without hooks.

    Raises:
        TypeError: If it cannot be copied.
        ValueError: If it is in training mode or has hooks.
    """
    _refuse_modes(model)
    try:
        return copy.deepcopy(model)
    except Exception as error:
        raise TypeError(f"`model` must be a module that `copy.deepcopy` can copy. Got: {_first_line(error)}") from error


def record(traced: fx.GraphModule, inputs: Sequence[Any]) -> None:
    """Note in `node.meta` of each node its `shape` (a tensor), its `value` (none), and its `constant` (no input in it)."""
    own = [value.clone() if isinstance(value, Tensor) else value for value in inputs]  # a step in place may change them
    _Recorder(traced).run(*own)


class _Untraceable(Exception):
    """A submodule that cannot be traced; carries its path, and the error as its cause."""


class _Value(fx.Proxy):
    """A value whose `x += y` is a step in place, as a tensor's is; torch.fx takes it for `x = x + y`."""

    def __iadd__(self, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})

    def __isub__(self, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.isub, (self, other), {})

    def __imul__(self, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.imul, (self, other), {})

    def __itruediv__(self, other: Any) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", operator.itruediv, (self, other), {})


class _Tracer(fx.Tracer):
    def __init__(self, opaque: set[str]) -> None:
        super().__init__()
        self.opaque = opaque

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Value(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name in self.opaque or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        try:
            return super().call_module(m, forward, args, kwargs)
        except _Untraceable:
            raise
        except Exception as error:
            raise _Untraceable(self.path_of_module(m)) from error


class _Recorder(fx.Interpreter):
    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        for key in ("shape", "value", "constant"):
            n.meta.pop(key, None)
        if isinstance(value, Tensor):
            n.meta["shape"], n.meta["like"] = tuple(value.shape), (value.device, value.dtype)
            derived = n.op in ("call_function", "call_method") and n.all_input_nodes
            if n.op == "get_attr" or (derived and all("constant" in used.meta for used in n.all_input_nodes)):
                n.meta["constant"] = value
        elif n.op != "output" and not any(isinstance(leaf, Tensor) for leaf in leaves(value)):
            n.meta["value"] = value
        return value


def leaves(value: Any) -> list[Any]:
    """What a nested dict, list or tuple holds, in order."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


def _refuse_modes(model: nn.Module) -> None:
    for name, module in model.named_modules():
        place = f"`{name}`" if name else "the model itself"
        if module.training:
            raise ValueError(f"`model` must be in evaluation mode: call `model.eval()`. Got training mode in {place}.")
        if module._forward_hooks or module._forward_pre_hooks:
            raise ValueError(
                "`model` must have no forward hooks, whose effect would be lost: remove them "
                f"(`torch.nn.utils.prune.remove` bakes pruning in). Got one on {place}."
            )


def _defaults(model: nn.Module, inputs: Sequence[Any]) -> dict[str, Any]:
    """The arguments of `forward` that are not given, by name."""
    signature = inspect.signature(model.forward)
    try:
        bound = signature.bind(*inputs)
    except TypeError as error:
        raise TypeError(f"`example` must fit the model's `forward{signature}`. Got: {error}.") from error
    kinds = {parameter.kind for name, parameter in signature.parameters.items() if name in bound.arguments}
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        raise TypeError(f"`model` must name the inputs of its `forward`. Got `forward{signature}`.")
    bound.apply_defaults()
    return {name: value for name, value in list(bound.arguments.items())[len(inputs) :] if value not in ((), {})}


def _graph(root: nn.Module, defaults: dict[str, Any]) -> fx.Graph:
    opaque: set[str] = set()
    while True:
        try:
            return _Tracer(opaque).trace(root, concrete_args=dict(defaults) or None)
        except _Untraceable as error:
            (path,) = error.args
            if path in opaque:
                raise ValueError(_refusal(error.__cause__)) from error
            opaque.add(path)
        except Exception as error:
            raise ValueError(_refusal(error)) from error


def _refusal(error: BaseException | None) -> str:
    return f"`model` must have a forward that torch.fx can trace (its submodules need not). Got: {_first_line(error)}"


def _first_line(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"


def _drop_defaults(traced: fx.GraphModule, given: int) -> None:
    """Take away the placeholders of arguments that have their defaults, and torch.fx's checks of them."""
    placeholders = [node for node in traced.graph.nodes if node.op == "placeholder"]
    for node in placeholders[given:]:
        for user in list(node.users):
            for check in [*user.users, user]:
                traced.graph.erase_node(check)
        traced.graph.erase_node(node)


def _fold_constants(traced: fx.GraphModule) -> None:
    """Compute what does not depend on the inputs once, as a buffer."""
    graph = traced.graph
    for node in list(graph.nodes):
        if node.op not in ("call_function", "call_method") or "constant" not in node.meta:
            continue
        if all("constant" in user.meta for user in node.users):
            continue
        add_constant(traced, node, node.meta["constant"])
    graph.eliminate_dead_code()


def add_constant(traced: fx.GraphModule, node: fx.Node, value: Tensor) -> None:
    """Let a buffer take the place of a node."""
    number = sum(1 for name, _ in traced.named_buffers(recurse=False) if name.startswith("constant_"))
    traced.register_buffer(f"constant_{number}", value.detach().clone())
    with traced.graph.inserting_before(node):
        constant = traced.graph.get_attr(f"constant_{number}")
    constant.meta = {"shape": tuple(value.shape), "like": (value.device, value.dtype), "constant": value}
    node.replace_all_uses_with(constant)


def set_module(traced: nn.Module, path: str, module: nn.Module) -> None:
    """Put a module in the place of another."""
    parent, _, name = path.rpartition(".")
    setattr(traced.get_submodule(parent), name, module)


def calls(traced: fx.GraphModule) -> dict[int, int]:
    """How often each module is called, by its id: two paths may name one module."""
    counts: dict[int, int] = {}
    for node in traced.graph.nodes:
        if node.op == "call_module":
            key = id(traced.get_submodule(node.target))
            counts[key] = counts.get(key, 0) + 1
    return counts
