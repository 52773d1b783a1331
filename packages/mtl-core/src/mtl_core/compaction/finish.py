"""The last touches to a compacted graph: what does nothing is left out, and activations work in place again."""

import operator

import torch
from torch import fx, nn
from torch.nn import functional as F

from mtl_core.compaction.aliasing import SAME
from mtl_core.compaction.kernels import SparseLayer

FRESH = {operator.add, torch.add, operator.iadd}
"""Functions whose result nobody else holds, and whose gradient does not read it."""


def finish(body: fx.GraphModule) -> fx.GraphModule:
    """Leave out identities, and let a sum or a ReLU overwrite the result of the layer before it, where nobody else does."""
    for node in list(body.graph.nodes):
        if node.op == "call_module" and isinstance(body.get_submodule(node.target), SAME):
            node.replace_all_uses_with(node.args[0])
            body.graph.erase_node(node)
    for node in list(body.graph.nodes):
        if node.target in (operator.add, torch.add, "add") and _adds_in_place(node, body):
            node.op, node.target = "call_function", operator.iadd
            continue
        limit = _relu(node, body)
        if limit is not None and len(node.args[0].users) == 1 and _fresh(node.args[0], body):
            with body.graph.inserting_before(node):
                after = body.graph.call_function(F.relu if limit == 0 else F.relu6, (node.args[0],), {"inplace": True})
            node.replace_all_uses_with(after)
            body.graph.erase_node(node)
    body.delete_all_unused_submodules()
    body.graph.lint()
    body.recompile()
    return body


def _relu(node: fx.Node, body: fx.GraphModule) -> int | None:
    """0 for a ReLU, 6 for a ReLU6, None for anything else."""
    if len(node.all_input_nodes) != 1 or not node.args or not isinstance(node.args[0], fx.Node):
        return None
    if node.op == "call_module":
        return {nn.ReLU: 0, nn.ReLU6: 6}.get(type(body.get_submodule(node.target)))  # type: ignore[arg-type]
    if node.op == "call_method":
        return 0 if node.target == "relu" else None
    return 0 if node.target in (F.relu, torch.relu) else 6 if node.target is F.relu6 else None


def _adds_in_place(node: fx.Node, body: fx.GraphModule) -> bool:
    """Whether a sum may be written over its first operand: nobody else reads that, and both have the result's shape."""
    operands = [operand for operand in node.args if isinstance(operand, fx.Node)]
    if len(operands) != 2 or node.kwargs or operands[0] is operands[1]:
        return False
    shapes = {operand.meta.get("shape") for operand in (*operands, node)}
    return len(shapes) == 1 and len(operands[0].users) == 1 and _fresh(operands[0], body)


def _fresh(node: fx.Node, body: fx.GraphModule) -> bool:
    if node.op == "call_module":
        layers = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear, SparseLayer)
        return isinstance(body.get_submodule(str(node.target)), layers)
    return node.op == "call_function" and node.target in FRESH and all(isinstance(a, fx.Node) for a in node.args)
