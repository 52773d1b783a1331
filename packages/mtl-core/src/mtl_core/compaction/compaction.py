"""`compact`: the same function, with less."""

import inspect
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from mtl_core.compaction.choice import Kernels, apply_kernels, choose
from mtl_core.compaction.compacted import Compacted, read_kernels
from mtl_core.compaction.equality import TOLERANCE, difference, trials
from mtl_core.compaction.finish import finish
from mtl_core.compaction.folding import fold_norms
from mtl_core.compaction.removal import remove_channels
from mtl_core.compaction.table import tabulate
from mtl_core.compaction.tracing import copied, record, trace
from mtl_core.components import known_tasks
from mtl_core.cuda import tensor_float_32
from mtl_core.dense import dense_form


def compact(
    model: nn.Module, example: Tensor | Sequence[Any], *, kernels: str | PathLike[str] | Kernels | None = None
) -> Compacted:
    r"""Make a smaller and faster module that computes the same as a model in evaluation mode.

    Channels that are exactly dead are removed through norms, sums, concatenations, depthwise convolutions and several
    outputs; what a dead channel still emits goes into the next layer. Layers that no output needs are left out, norms are
    folded into convolutions, and layers with many single zeros get a sparse kernel where that is measured to be faster.
    The result is compared with the model before it is given back; the model itself is not touched.

    It acts on other numbers of samples, and on other sizes of images where the model did. Layers that cannot be analysed
    (attention, transposed convolutions, submodules that torch.fx cannot trace) stay as they are.

    Args:
        model: Any module in evaluation mode, in float32 or float64. Its forward is traced by torch.fx.
        example: One input batch, or several positional inputs. Its shape and the number of threads are what kernels are
            timed for.
        kernels: Kernels chosen before: a file written by `Compacted.save_kernels`, or a `Kernels`; nothing is timed then.
            `Kernels()` keeps all layers dense.

    Raises:
        TypeError: If `model` is no module, cannot be copied, is of another precision, or `example` does not fit it.
        ValueError: If the model is in training mode, has hooks, cannot be traced, changes tensors in place behind a view,
            or `kernels` does not fit it.
        ArithmeticError: If the outputs differ by more than `1e-5` of the largest (float64: `1e-10`).
        StorageError: If the file of kernels cannot be read.

    Examples:
        >>> import torch
        >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
        >>> _ = model[0].weight.data[:2].zero_()
        >>> small = compact(model, torch.rand(1, 1, 8, 8), kernels=Kernels())
        >>> print(small.table)
        layer  kind         before    after     parameters  note
        0      Conv2d       1→4, 3×3  1→2, 3×3  40 → 20
        1      BatchNorm2d  4         in 0      8 → 0
        3      Conv2d       4→2, 1×1  2→2, 1×1  10 → 6
        all                                     58 → 26
    """
    inputs = _checked(model, example)
    if kernels is not None and not isinstance(kernels, Kernels):
        kernels = read_kernels(Path(kernels))
    tasks = model.names if isinstance(model, Compacted) else None
    if isinstance(model, Compacted):
        model = dense_form(model.body)
    takes_tasks = "tasks" in inspect.signature(model.forward).parameters
    with torch.no_grad(), tensor_float_32(False), torch.random.fork_rng(devices=[]):
        model = copied(model)  # running it may change its buffers
        # Folding a norm whose scale is huge may round too much; without it, removal alone is nearly exact.
        for fold in (True, False):
            body, folded, notes = _reduced(model, inputs, fold=fold)
            apart = max(difference(model, body, trial) for trial in trials(inputs))
            if apart <= 1:
                break
        else:
            raise ArithmeticError(_unequal(model, inputs, apart))
        chosen = choose(body, inputs) if kernels is None else kernels
        table = tabulate(model, body, folded, notes, chosen)
        body = apply_kernels(body, chosen)
        body.recompile()
        apart = max(difference(model, body, trial) for trial in trials(inputs))
        if not apart <= 1:
            raise ArithmeticError(_unequal(model, inputs, apart))
    small = Compacted(body, table, chosen, _outputs(body) if takes_tasks else tasks)
    small.tasks |= known_tasks(model)  # which of them predict maps
    return small


def _checked(model: nn.Module, example: Any) -> list[Any]:
    if not isinstance(model, nn.Module):
        raise TypeError(f"`model` must be a module. Got {type(model).__name__}.")
    inputs = [example] if isinstance(example, Tensor) else list(example) if isinstance(example, (list, tuple)) else []
    if not any(isinstance(value, Tensor) for value in inputs):
        raise TypeError(f"`example` must be a tensor, or a tuple with one in it. Got {type(example).__name__}.")
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.is_floating_point() and tensor.dtype not in TOLERANCE:
            raise TypeError(f"`model` must be in float32 or float64. Got {tensor.dtype} in `{name}`.")
    return inputs


def _reduced(
    model: nn.Module, inputs: Sequence[Any], *, fold: bool
) -> tuple[fx.GraphModule, dict[str, str], dict[str, str]]:
    """The traced module without what is dead, the norms that were folded, and what is to be said of layers."""
    body = trace(model, inputs)
    folded = fold_norms(body) if fold else {}
    notes = remove_channels(body)
    record(body, inputs)
    finish(body)
    record(body, inputs)
    return body, folded, notes


def _unequal(model: nn.Module, inputs: Sequence[Any], apart: float) -> str:
    if difference(model, model, inputs) > 0:
        return "`model` must give the same outputs for the same inputs. Got two different ones from two calls."
    tolerance = next((TOLERANCE[p.dtype] for p in model.parameters() if p.dtype in TOLERANCE), 1e-5)
    return (
        f"`model` must be such that the compacted one equals it up to {tolerance:.0e} of the largest output. "
        f"Got {apart * tolerance:.1e}: the model is kept as it was. "
        "Where all outputs of the example are near 0, give more samples."
    )


def _outputs(body: fx.GraphModule) -> list[str] | None:
    """Names of the outputs, if they are a dict."""
    (output,) = (node for node in body.graph.nodes if node.op == "output")
    return list(output.args[0]) if isinstance(output.args[0], dict) else None
