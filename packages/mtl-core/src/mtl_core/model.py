"""Models map inputs to predictions by task, and say which parts are shared.

`model(inputs, tasks=None) -> {task: prediction}` and `model.components() -> {name: modules}` are all that a method needs:
keys `backbone` and `head.<task>`, under a `TaskGroups` `<group>.backbone`, `<group>.head.<task>` and, where there is one,
`stem`; every parameter is in exactly one component. `model.structure()` (JSON) and `model.restructure(structure)`, called on
what `build` gives, are all that loading needs.

Two final classes: `SharedBackbone` (single tasks, hard parameter sharing, decoders at different layers) and `TaskGroups`
(any set of models, each for some tasks). A plain `nn.Module` with `forward(inputs, tasks=None)` and `components()` is a
model like any other.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeAlias
from weakref import ReferenceType, ref

import torch
from torch import Tensor, nn

from mtl_core.task import Task

Head: TypeAlias = Callable[[int, Task], nn.Module]
"""`head(channels, task) -> Module`: the decoder of a task for features of so many channels."""

Build: TypeAlias = Callable[[dict[str, Task]], nn.Module]
"""`build(tasks) -> model`: an architecture; makes a new model for exactly these tasks at each call."""


class SharedBackbone(nn.Module):
    """One backbone, a head per task; each head may take its features from a layer of its own.

    Args:
        backbone: Gives `[batch, channels, h, w]` or `[batch, channels]`.
        tasks: Tasks by name (or an iterable of tasks).
        head: Makes the head of a task for a number of channels; called once per task.
        taps: Layer of the backbone from which a task's head takes its features, by task; tasks that are not named take
            the backbone's output. Everything past the deepest layer used is cut (torch.fx). A backbone that cannot be
            traced must itself return `{layer: features}`.
        example: One input batch, from which channels are found; without it `backbone.channels` is read.

    Raises:
        ValueError: If a tap names no layer that is called exactly once, or a task that is not there, or a task cannot be
            named so.
        TypeError: If the number of channels cannot be known, or the backbone gives no tensor.

    Examples:
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
        self._layered = layers != [OUTPUT]
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

    def restructure(self, structure: Mapping[str, Any]) -> "SharedBackbone":
        """The same architecture with the taps of `structure`; weights are those of this model where layers remain.

        Raises:
            ValueError: If this model has taps already and other ones are asked for.
        """
        taps = dict(structure.get("taps", {}))
        if taps == self.taps:
            return self
        if self.taps:
            raise ValueError(f"`restructure` must be called on a model without taps. Got one with {self.taps}.")
        return SharedBackbone(self.backbone, self._tasks, self._head, taps, self._example)

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


OUTPUT = "output"
"""The name under which a tapped backbone gives its own output."""


def cut(backbone: nn.Module, layers: Sequence[str]) -> nn.Module:
    """A module with the same weights that gives `{layer: features}` and computes nothing past the deepest layer.

    Args:
        backbone: Traceable by torch.fx, or already giving a dict (then it is returned as it is).
        layers: Names of submodules that are called exactly once, or `OUTPUT`.

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
    nodes = {path: [v.node if isinstance(v, fx.Proxy) else v for v in values] for path, values in calls.items()}
    nodes.setdefault(OUTPUT, [given])
    for layer in layers:
        if len(nodes.get(layer, [])) != 1 or not isinstance(nodes[layer][0], fx.Node):
            once = [path for path, values in nodes.items() if len(values) == 1]
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


def chosen(available: Mapping[str, Any], tasks: Sequence[str] | None) -> list[str]:
    """Check the tasks asked for; all of them for None.

    Raises:
        ValueError: If one is not there.
    """
    if tasks is None:
        return list(available)
    unknown = [name for name in tasks if name not in available]
    if unknown:
        raise ValueError(f"`tasks` must be among {list(available)}. Got {unknown}.")
    return list(tasks)


def tasks_of(model: nn.Module) -> list[str]:
    """Names of the tasks of a model, read off its components.

    Raises:
        TypeError: If it has no `components()`.
    """
    paths = [key.split(".") for key in components_of(model)]
    return list(dict.fromkeys(path[-1] for path in paths if path[-2:-1] == ["head"]))


def components_of(model: nn.Module) -> dict[str, list[nn.Module]]:
    """`model.components()`, checked: every parameter is in exactly one component.

    Raises:
        TypeError: If the model has no `components()`.
        ValueError: If a parameter is in none or in two of them.
    """
    if not hasattr(model, "components"):
        raise TypeError(
            f"A model must have `components() -> {{name: modules}}`. Got {type(model).__name__} without it."
        )
    components: Any = model.components
    parts: dict[str, list[nn.Module]] = {name: list(modules) for name, modules in components().items()}
    owner: dict[int, str] = {}
    for name, modules in parts.items():
        for parameter in {p for module in modules for p in module.parameters()}:
            if owner.setdefault(id(parameter), name) != name:
                raise ValueError(
                    f"`components()` must name each parameter once. Got one in `{owner[id(parameter)]}` and `{name}`."
                )
    for path, parameter in model.named_parameters():
        if id(parameter) not in owner:
            raise ValueError(f"`components()` must name every parameter. Got `{path}` in none of {list(parts)}.")
    return parts


def known_tasks(model: nn.Module) -> dict[str, Task]:
    """The tasks that a model itself knows (an attribute `tasks`); a plain module may know none."""
    tasks = getattr(model, "tasks", None)
    return {k: v for k, v in tasks.items() if isinstance(v, Task)} if isinstance(tasks, Mapping) else {}


def check_names(what: str, names: Iterable[str], *reserved: str) -> None:
    """Refuse names that cannot name a part of a module.

    Args:
        what: The argument, for the message.
        names: The names.
        reserved: Names that have another meaning here.

    Raises:
        ValueError: If a name is empty, reserved, has a dot, or is an attribute of torch's modules.
    """
    parts = nn.ModuleDict()
    for name in names:
        if not name or "." in name or name in reserved or hasattr(parts, name):
            raise ValueError(
                f"`{what}` must have names without a dot that are no attribute of torch's modules"
                f"{''.join(f', nor `{r}`' for r in reserved)}. Got `{name}`."
            )


def structure_of(model: nn.Module) -> dict[str, Any]:
    """`model.structure()`, or nothing for a plain module."""
    structure: Any = getattr(model, "structure", dict)
    return dict(structure())


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


class Builder:
    """A `build` that refuses to give a module twice.

    Args:
        build: The user's architecture.

    Raises:
        ValueError: When called, if the model shares a parameter with one given before.
        TypeError: When called, if what is built is no module or has no `components()`.
    """

    def __init__(self, build: Build) -> None:
        self._build = build
        self._seen: dict[int, ReferenceType[nn.Parameter]] = {}

    def __call__(self, tasks: Mapping[str, Task]) -> nn.Module:
        """Build for exactly these tasks and check what came."""
        model = self._build(dict(tasks))
        if not isinstance(model, nn.Module):
            raise TypeError(f"`build` must give a module. Got {type(model).__name__}.")
        for parameter in model.parameters():
            before = self._seen.get(id(parameter))
            if before is not None and before() is parameter:  # an id alone may belong to something that is gone
                raise ValueError("`build` must make a new model at each call. Got a parameter that was given before.")
        components_of(model)
        self._seen.update({id(parameter): ref(parameter) for parameter in model.parameters()})
        return model


def prepared(model: nn.Module) -> AbstractContextManager[Any]:
    """What the model wants to be entered once around several forward passes (`model.prepared()`), if anything."""
    enter: Any = getattr(model, "prepared", nullcontext)
    return enter()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every module is in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def _kind(value: Any) -> str:
    return str(list(value.shape)) if isinstance(value, Tensor) else type(value).__name__


def _overwrites(node: Any, backbone: nn.Module) -> bool:
    """Whether a step of a graph works in place: `ReLU(inplace=True)`, `x.relu_()`, `x += y`."""
    if node.op == "call_module":
        return bool(getattr(backbone.get_submodule(node.target), "inplace", False))
    name = node.target if node.op == "call_method" else getattr(node.target, "__name__", "")
    in_place = name.endswith("_") and not name.endswith("__")
    return bool(node.kwargs.get("inplace")) or in_place or name in ("iadd", "isub", "imul", "itruediv")


def _gives_layers(backbone: nn.Module) -> bool:
    return bool(getattr(backbone, "layers", None)) and not isinstance(backbone.layers, nn.Module)
