"""Steps in place become steps that give something new.

`relu(x, inplace=True)` also changes what everybody else sees who holds `x`. In a graph that is to be analysed, a value has
one meaning: each later reader of `x` is handed the result of the step instead. Where a reader holds only a view of `x`
(a part, another shape), that cannot be said so, and the model is refused.
"""

import inspect
import operator
from typing import Any

from torch import fx, nn

IN_PLACE = {
    operator.iadd: operator.add,
    operator.isub: operator.sub,
    operator.imul: operator.mul,
    operator.itruediv: operator.truediv,
}

SAME = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
"""Modules that give back their very input in evaluation mode."""

VIEWS = frozenset((
    "flatten", "view", "reshape", "transpose", "permute", "unflatten", "squeeze", "unsqueeze", "expand", "expand_as",
    "getitem", "chunk", "split", "narrow", "select", "unbind", "t", "swapaxes", "movedim", "unfold", "type_as", "view_as",
    "reshape_as", "T", "mT", "diagonal", "as_strided",
))  # fmt: skip
"""Functions and methods whose result may share memory with their input."""

_SAME_NAMES = frozenset(("contiguous", "dropout", "detach", "to", "float", "double"))


def remove_in_place(traced: fx.GraphModule) -> None:
    """Replace every step in place by one that is not, with the same meaning.

    Raises:
        ValueError: If the change is seen through a view of the value.
    """
    order = {node: place for place, node in enumerate(traced.graph.nodes)}
    modules = {node: traced.get_submodule(node.target) for node in order if node.op == "call_module"}
    changing = {node for node, module in modules.items() if getattr(module, "inplace", False)}
    for module in modules.values():
        if hasattr(module, "inplace"):
            setattr(module, "inplace", False)  # noqa: B010
    for node in list(traced.graph.nodes):
        if not (node in changing or _make_new(node)):
            continue
        changed = node.args[0] if node.args else None
        if not isinstance(changed, fx.Node) or "shape" not in changed.meta:
            continue  # a number has no memory that others see
        for other, same in _aliases(changed, node, order, modules).items():
            later = [user for user in other.users if user is not node and order[user] > order[node]]
            if later and not same:
                raise ValueError(
                    "`model` must not change in place what is read through a view afterwards. "
                    f"Got the step `{node}` on `{changed}`, and `{later[0]}`, which reads `{other}` later."
                )
            for user in later:
                user.replace_input_with(other, node)
    traced.recompile()


def _make_new(node: fx.Node) -> bool:
    """Turn a function or method in place into one that is not; say whether it was one."""
    if node.op not in ("call_function", "call_method"):
        return False
    if node.target in IN_PLACE:
        node.target = IN_PLACE[node.target]
    elif node.op == "call_function" and _asks_in_place(node):
        node.args, node.kwargs = node.args[:1], {**_named(node), "inplace": False}
    elif _ends_in_place(node):
        _strip(node)
    else:
        return False
    return True


def _name(node: fx.Node) -> str:
    return str(node.target) if node.op == "call_method" else getattr(node.target, "__name__", "")


def _ends_in_place(node: fx.Node) -> bool:
    name = _name(node)
    return name.endswith("_") and not name.endswith("__")


def _strip(node: fx.Node) -> None:
    """`x.add_(y)` becomes `x.add(y)`."""
    import torch
    from torch.nn import functional

    name = _name(node)[:-1]
    if node.op == "call_method" and hasattr(torch.Tensor, name):
        node.target = name
        return
    found = getattr(torch, name, None) or getattr(functional, name, None)
    if node.op == "call_method" or found is None:
        raise ValueError(
            f"`model` must not change tensors in place by `{name}_`, which has no other form. Got `{node}`."
        )
    node.target = found


def _named(node: fx.Node) -> dict[str, Any]:
    bound = inspect.signature(node.target).bind(*node.args, **node.kwargs)  # type: ignore[arg-type]
    return dict(list(bound.arguments.items())[1:])


def _asks_in_place(node: fx.Node) -> bool:
    if node.kwargs.get("inplace"):
        return True
    try:
        return len(node.args) > 1 and bool(_named(node).get("inplace"))
    except (TypeError, ValueError):
        return False


def _aliases(
    changed: fx.Node, until: fx.Node, order: dict[fx.Node, int], modules: dict[fx.Node, nn.Module]
) -> dict[fx.Node, bool]:
    """What shares memory with a value, and whether it is the very same tensor."""
    found = {changed: True}
    waiting = [changed]
    while waiting:
        node = waiting.pop()
        near = [(user, _shares(user, modules)) for user in node.users if order[user] < order[until]]
        near += [(used, _shares(node, modules)) for used in node.all_input_nodes[:1]]
        for other, share in near:
            if share is not None and other not in found:
                found[other] = found[node] and share
                waiting.append(other)
    return found


def _shares(node: fx.Node, modules: dict[fx.Node, nn.Module]) -> bool | None:
    """Whether a node gives back its very input (True), maybe a view of it (False), or something new (None)."""
    if node.op == "call_module":
        module = modules[node]
        if isinstance(module, SAME):
            return True
        return False if isinstance(module, (nn.Flatten, nn.Unflatten)) or _is_opaque(module) else None
    if node.op not in ("call_function", "call_method"):
        return None
    name = _name(node)
    if name in _SAME_NAMES:
        return True
    return False if name in VIEWS else None


def _is_opaque(module: nn.Module) -> bool:
    return not type(module).__module__.startswith("torch.nn")
