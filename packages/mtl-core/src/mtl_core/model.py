"""Models map inputs to predictions by task, and say which parts are shared.

`model(inputs, tasks=None) -> {task: prediction}` and `model.components() -> {name: modules}` are all that a method needs:
keys `backbone` and `head.<task>`, under a `TaskGroups` `<group>.backbone`, `<group>.head.<task>` and, where there is one,
`stem`; every parameter is in exactly one component. `model.structure()` (JSON) and `model.restructure(structure)`, called on
what `build` gives, are all that loading needs.

Two final classes: `SharedBackbone` (single tasks, hard parameter sharing, decoders at different layers) and `TaskGroups`
(any set of models, each for some tasks). A plain `nn.Module` with `forward(inputs, tasks=None)` and `components()` is a
model like any other.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from mtl_core.components import (
    Build,
    Head,
    check_names,
    chosen,
    components_of,
    evaluating,
    known_tasks,
    structure_of,
    tasks_of,
)
from mtl_core.cut import OUTPUT, cut, gives_output, split
from mtl_core.task import Task


class SharedBackbone(nn.Module):
    """One backbone, a head per task; each head may take its features from a layer of its own.

    Args:
        backbone: Gives `[batch, channels, h, w]` or `[batch, channels]`.
        tasks: Tasks by name (or an iterable of tasks).
        head: Makes the head of a task for a number of channels; called once per task.
        taps: Layer of the backbone from which a task's head takes its features, by task; tasks that are not named take
            the backbone's output. Everything past the deepest layer used is cut (torch.fx). A backbone that cannot be
            traced must itself return `{layer: features}` and name them in an attribute `layers`; one named `output` is
            what tasks without a tap take.
        example: One input batch, from which channels are found; without it `backbone.channels` is read.

    Raises:
        ValueError: If a tap names no layer that is called exactly once, or a task that is not there, or a task cannot be
            named so.
        TypeError: If the number of channels cannot be known, or the backbone gives no tensor.

    Examples:
        >>> import torch
        >>> from mtl_core.task import attribute
        >>> backbone = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> model = SharedBackbone(backbone, [attribute("tall")], lambda c, t: nn.Linear(c, t.channels),
        ...                        example=torch.zeros(1, 1, 8, 8))
        >>> {name: tuple(p.shape) for name, p in model(torch.zeros(2, 1, 8, 8)).items()}
        {'tall': (2, 1)}
    """

    def __init__(
        self,
        backbone: nn.Module,
        tasks: Mapping[str, Task] | Iterable[Task],
        head: Head,
        taps: Mapping[str, str] | None = None,
        example: Tensor | None = None,
    ) -> None:
        super().__init__()
        self._tasks = dict(tasks) if isinstance(tasks, Mapping) else {task.name: task for task in tasks}
        check_names("tasks", self._tasks)
        self._head, self._example = head, example
        self.taps = dict(taps or {})
        for name in self.taps:
            if name not in self._tasks:
                raise ValueError(f"`taps` must name tasks of the model {list(self._tasks)}. Got `{name}`.")
        layers = list(dict.fromkeys(self.taps.get(name, OUTPUT) for name in self._tasks))
        self._layered = layers != [OUTPUT] or gives_output(backbone)
        self.backbone = cut(backbone, layers) if self._layered else backbone
        channels = self._channels(layers)
        self.heads = nn.ModuleDict({n: head(channels[self.taps.get(n, OUTPUT)], t) for n, t in self._tasks.items()})

    @property
    def tasks(self) -> dict[str, Task]:
        """Tasks by name."""
        return dict(self._tasks)

    def forward(self, inputs: Tensor, tasks: Sequence[str] | None = None) -> dict[str, Any]:
        """Give the predictions of `tasks` (default: all)."""
        names = chosen(self._tasks, tasks)
        features = self.backbone(inputs)
        return {n: self.heads[n](features[self.taps.get(n, OUTPUT)] if self._layered else features) for n in names}

    def components(self) -> dict[str, list[nn.Module]]:
        """The backbone and each task's head."""
        return {"backbone": [self.backbone], **{f"head.{name}": [head] for name, head in self.heads.items()}}

    def structure(self) -> dict[str, Any]:
        """What `restructure` needs to make this model of a newly built one."""
        return {"taps": self.taps}

    def restructure(self, structure: Mapping[str, Any], example: Tensor | None = None) -> "SharedBackbone":
        """The same architecture with the taps of `structure`; weights are those of this model where layers remain.

        Args:
            structure: What `structure()` gives: `{"taps": {task: layer}}`.
            example: One input batch, for a model that was made without.

        Raises:
            ValueError: If this model has taps already and other ones are asked for.
            TypeError: If there is no example, neither here nor of the model.
        """
        taps = dict(structure.get("taps", {}))
        if taps == self.taps:
            return self
        if self.taps:
            raise ValueError(f"`restructure` must be called on a model without taps. Got one with {self.taps}.")
        known = self._example if self._example is not None else example
        return SharedBackbone(self.backbone, self._tasks, self._head, taps, known)

    def split(self, layer: str) -> tuple["Stem", "SharedBackbone"]:
        """The backbone up to a layer, and a model of what follows; weights are those of this model.

        Args:
            layer: A layer of the backbone, called exactly once, past which nothing before it is used.

        Raises:
            ValueError: If it is no such layer, or this model has taps.
            TypeError: If the model was made without `example`.
        """
        if self.taps:
            raise ValueError(f"`split` must be called on a model without taps. Got one with {self.taps}.")
        if self._example is None:
            raise TypeError("`example` (one input batch) must be given to split a model: it tells the layer's shape.")
        before, after = split(self.backbone, layer)
        stem = Stem(layer, before)
        parameter = next((p for p in before.parameters() if p.is_floating_point()), self._example)
        with evaluating(stem):
            features = stem(self._example.to(parameter.device, parameter.dtype))
        rest = SharedBackbone(after, self._tasks, self._head, example=features)
        rest.heads = self.heads
        return stem, rest

    def _channels(self, layers: Sequence[str]) -> dict[str, int]:
        if self._example is None:
            if self._layered:
                raise TypeError("`example` (one input batch) must be given with `taps`: it tells the layers' channels.")
            channels = getattr(self.backbone, "channels", None)
            if not isinstance(channels, int):
                raise TypeError("`example` (one input batch) must be given for a backbone without an int `channels`.")
            return {OUTPUT: channels}
        parameter = next((p for p in self.backbone.parameters() if p.is_floating_point()), self._example)
        dtype = parameter.dtype if self._example.is_floating_point() else self._example.dtype
        with evaluating(self.backbone):
            features = self.backbone(self._example.to(parameter.device, dtype))
        found = features if self._layered else {OUTPUT: features}
        missing = [layer for layer in layers if layer not in found]
        if missing:
            raise ValueError(f"`taps` must name layers that the backbone gives, {sorted(found)}. Got {missing}.")
        for layer in layers:
            if not isinstance(found[layer], Tensor) or found[layer].ndim not in (2, 4):
                raise TypeError(
                    "`backbone` must give [batch, channels, h, w] or [batch, channels]. "
                    f"Got {_kind(found[layer])} as `{layer}`."
                )
        return {layer: found[layer].shape[1] for layer in layers}


class Stem(nn.Module):
    """The first part of a backbone, which several models share; made by `SharedBackbone.split`.

    Args:
        layer: Its last layer.
        module: What computes it.
    """

    def __init__(self, layer: str, module: nn.Module) -> None:
        super().__init__()
        self.layer, self.module = layer, module

    def forward(self, inputs: Tensor) -> Tensor:
        """The layer's features."""
        features: Tensor = self.module(inputs)[self.layer]
        return features


class TaskGroups(nn.Module):
    """Several models, each for some of the tasks; a shared stem runs once.

    Args:
        groups: Models by group name; each task belongs to one of them.
        stem: Optional module that every group's model takes its inputs from.

    Raises:
        ValueError: If a name is not usable, two groups hold one task, or a module is in two groups.

    Examples:
        >>> import torch
        >>> from mtl_core.task import attribute
        >>> def build(name):
        ...     return SharedBackbone(nn.Flatten(), [attribute(name)], lambda c, t: nn.Linear(c, 1),
        ...                           example=torch.zeros(1, 4))
        >>> model = TaskGroups({"one": build("a"), "two": build("b")})
        >>> sorted(model(torch.zeros(2, 4))), sorted(model.components())
        (['a', 'b'], ['one.backbone', 'one.head.a', 'two.backbone', 'two.head.b'])
    """

    def __init__(self, groups: Mapping[str, nn.Module], stem: nn.Module | None = None) -> None:
        super().__init__()
        if not groups:
            raise ValueError("`groups` must hold at least one model. Got none.")
        check_names("groups", groups, "head", "stem")
        self.groups = nn.ModuleDict(dict(groups))
        self.stem = stem
        self._group_of: dict[str, str] = {}
        for group, model in groups.items():
            for task in tasks_of(model):
                if task in self._group_of:
                    raise ValueError(f"`groups` must hold each task once. Got `{task}` in two groups.")
                self._group_of[task] = group
        parameters = [p for group in self.groups.values() for p in {id(p) for p in group.parameters()}]
        if len(set(parameters)) < len(parameters):
            raise ValueError("`groups` must not share parameters: `build` must make a new model at each call.")
        if not any(module.training for module in (*groups.values(), *([stem] if stem else []))):
            self.eval()  # of trained models: it can be measured and compacted at once

    @property
    def tasks(self) -> dict[str, Task]:
        """Tasks by name, of the groups that know theirs."""
        return {name: task for model in self.groups.values() for name, task in known_tasks(model).items()}

    def forward(self, inputs: Tensor, tasks: Sequence[str] | None = None) -> dict[str, Any]:
        """Give the predictions of `tasks` (default: all); only the groups that hold them are computed."""
        names = chosen(self._group_of, tasks)
        features = inputs if self.stem is None else self.stem(inputs)
        found: dict[str, Any] = {}
        for group, model in self.groups.items():
            mine = [name for name in names if self._group_of[name] == group]
            if mine:
                found.update(model(features, mine))
        return {name: found[name] for name in names}

    def components(self) -> dict[str, list[nn.Module]]:
        """The groups' components under `<group>.`, and the stem where there is one."""
        parts = {} if self.stem is None else {"stem": [self.stem]}
        for group, model in self.groups.items():
            parts.update({f"{group}.{name}": list(modules) for name, modules in components_of(model).items()})
        return parts

    def structure(self) -> dict[str, Any]:
        """Tasks and structure of each group, in order."""
        groups = {g: {"tasks": tasks_of(m), "structure": structure_of(m)} for g, m in self.groups.items()}
        return {"groups": groups, **({} if self.stem is None else {"stem": getattr(self.stem, "layer", True)})}


def rebuild(structure: Mapping[str, Any], build: Build, tasks: Mapping[str, Task]) -> nn.Module:
    """Make a model of a stored structure from what `build` gives; its weights are still to be loaded.

    Raises:
        ValueError: If the structure has a stem, and `build` does not give it.
    """
    model: Any = build(dict(tasks))
    if structure_of(model) == dict(structure):
        return model
    if "groups" not in structure:
        return model.restructure(structure) if hasattr(model, "restructure") else model
    at = structure.get("stem")
    if at and not (isinstance(at, str) and isinstance(model, SharedBackbone)):
        raise ValueError("`build` must give the groups and their stem. Got a model of another structure.")

    def rest(some: dict[str, Task]) -> nn.Module:
        part: Any = build(some)
        return part.split(at)[1] if at else part

    groups = {
        group: rebuild(part["structure"], rest, {name: tasks[name] for name in part["tasks"]})
        for group, part in structure["groups"].items()
    }
    return TaskGroups(groups, model.split(at)[0] if at else None)


def _kind(value: Any) -> str:
    return str(list(value.shape)) if isinstance(value, Tensor) else type(value).__name__
