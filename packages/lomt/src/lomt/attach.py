r"""Decoders at chosen layers, and what that saves.

A decoder takes its features where the task's layer is; what lies past the deepest layer used is gone. With $n_t$ parameters of
the backbone up to the layer of task $t$, $N$ in all and $T$ tasks:

$$\frac{T N}{\max_t n_t}, \qquad \frac{N}{\max_t n_t}, \qquad \frac{T N}{\sum_t n_t}$$

are the compression of the layer-optimized model against $T$ single-task models and against a dense multi-task model, and that
of the sparse single-task models, each cut at its layer, against $T$ dense ones.

Upadhyay et al., *Giving each task what it needs*, Section 3, "Phase -2", and Table 5.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from torch import Tensor, nn

from lomt.branch import after_activation
from mtl_core import Build, SharedBackbone, Task
from mtl_core.cut import OUTPUT, cut

Tap: TypeAlias = Literal["raw", "activated"]
"""Where at a layer features are taken: what the convolution gives, or what its norm and activation make of it."""


def attach(
    build: Build,
    tasks: Mapping[str, Task],
    taps: Mapping[str, str | None],
    example: Tensor | None = None,
    *,
    tap: Tap = "raw",
) -> SharedBackbone:
    """Build the multi-task model with each decoder at its layer; layers past the deepest one are left out.

    Args:
        build: Gives a `SharedBackbone`.
        tasks: Tasks by name.
        taps: Layer by task: any named module of the backbone that is called once. Tasks with None, or not named, take the
            backbone's own output.
        example: One input batch, for a model that was made without one.
        tap: `"raw"`: the module's own output. `"activated"`: what a norm and an activation that follow it make of it.

    Raises:
        TypeError: If `build` gives another model, or there is no example.
        ValueError: If a tap names a task that is not there or a layer that is not called exactly once, or the backbone can
            neither be traced nor gives its layers.

    Examples:
        >>> import torch
        >>> from mtl_core.task import attribute
        >>> def build(tasks):
        ...     backbone = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3))
        ...     return SharedBackbone(backbone, tasks, lambda c, t: nn.Conv2d(c, 1, 1), example=torch.zeros(1, 1, 8, 8))
        >>> model = attach(build, {"tall": attribute("tall")}, {"tall": "0"})
        >>> sum(p.numel() for p in model.backbone.parameters()), model.heads["tall"].in_channels
        (40, 4)
    """
    if tap not in ("raw", "activated"):
        raise ValueError(f'`tap` must be "raw" or "activated". Got `tap = {tap!r}`.')
    model = shared(build(dict(tasks)))
    layers = {task: layer for task, layer in taps.items() if layer is not None}
    if tap == "activated":
        layers = {task: after_activation(model.backbone, layer) for task, layer in layers.items()}
    return model.restructure({"taps": {**model.taps, **layers}}, example)


def shared(model: nn.Module) -> SharedBackbone:
    """Give a model back if decoders can be moved in it.

    Raises:
        TypeError: If it is no `SharedBackbone`.
    """
    if not isinstance(model, SharedBackbone):
        raise TypeError(
            "`build` must give a `SharedBackbone`: a single path of layers, and heads that can be made anew for another number "
            f"of channels. Got `{type(model).__name__}`."
        )
    return model


def with_layers(backbone: nn.Module, names: Sequence[str]) -> nn.Module:
    """Let a backbone that torch.fx cannot trace give the output of some of its modules.

    Hooks keep what the modules give; the backbone then returns `{name: features}`, its own output as `output`. Names and
    weights are as before. Nothing is cut: what lies past the deepest layer is computed, too.

    Args:
        backbone: Changed in place.
        names: Modules of it that are called once in a forward pass, convolutions in forward order: a task's layer is chosen
            among them.

    Returns:
        The backbone.

    Raises:
        ValueError: If there is no module of a name.

    Examples:
        >>> import torch
        >>> net = with_layers(nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 2, 1)), ["0"])
        >>> {name: tuple(features.shape) for name, features in net(torch.zeros(1, 1, 5, 5)).items()}
        {'0': (1, 4, 5, 5), 'output': (1, 2, 5, 5)}
    """
    known = dict(backbone.named_modules())
    unknown = [name for name in names if name not in known or not name]
    if unknown or not names:
        raise ValueError(
            f"`names` must be names of modules of the backbone, at least one. Got `names = {list(names)}`."
        )
    kept: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda module, inputs, features: kept.__setitem__(name, features)

    def give(module: nn.Module, inputs: Any, output: Tensor) -> dict[str, Tensor]:
        found = {name: kept[name] for name in names} | {OUTPUT: output}
        kept.clear()  # features hold their graph, and with it a batch's memory
        return found

    for name in names:
        known[name].register_forward_hook(keep(name))
    backbone.register_forward_hook(give)
    backbone.layers = (*names, OUTPUT)  # type: ignore[assignment]
    return backbone


def prefix_parameters(backbone: nn.Module, layer: str | None) -> int:
    """Parameters of a backbone up to and including a layer, norms included; of all of it for None.

    A backbone that cannot be traced is not cut, so that all its parameters count.

    Args:
        backbone: The whole backbone.
        layer: A module that is called once.

    Raises:
        ValueError: If the layer is not called exactly once, or the backbone can neither be traced nor gives its layers.

    Examples:
        >>> prefix_parameters(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 8, 3)), "0")
        40
    """
    return sum(p.numel() for p in (backbone if layer is None else cut(backbone, [layer])).parameters())


def compression(sizes: Mapping[str, int], total: int) -> dict[str, float]:
    """The paper's Table 5 for one set of tasks.

    Args:
        sizes: Parameters of the backbone up to each task's layer.
        total: Parameters of the whole backbone.

    Returns:
        `parameters` of the layer-optimized model's backbone, and the ratios `against single-task`, `against multi-task` and
        `sparse against dense single-task`.

    Raises:
        ValueError: If there is no task.

    Examples:
        >>> list(compression({"depth": 40, "edges": 10}, total=100).values())
        [40, 5.0, 2.5, 4.0]
    """
    if not sizes:
        raise ValueError("`sizes` must hold at least one task. Got none.")
    lomt = max(sizes.values())
    return {
        "parameters": lomt,
        "against single-task": len(sizes) * total / lomt,
        "against multi-task": total / lomt,
        "sparse against dense single-task": len(sizes) * total / sum(sizes.values()),
    }
