"""What is asked of any model: its parts, its tasks, its structure, and a `build` that makes it anew.

`model.components() -> {name: modules}` names what is shared and what belongs to one task: `backbone` and `head.<task>`, under
groups `<group>.backbone` and `<group>.head.<task>`, and `stem`; every parameter is in exactly one of them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeAlias
from weakref import ReferenceType, ref

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from mtl_core.task import Task

Head: TypeAlias = Callable[[int, Task], nn.Module]
"""`head(channels, task) -> Module`: the decoder of a task for features of so many channels."""


Build: TypeAlias = Callable[[dict[str, Task]], nn.Module]
"""`build(tasks) -> model`: an architecture; makes a new model for exactly these tasks at each call."""


PRUNED = 0.05
"""Share of zeros above which a model counts as pruned: trained weights are hardly ever exactly zero."""


class Builder:
    """A `build` that refuses to give a module twice.

    Args:
        build: The user's architecture.
        anew: Whether the models will be trained from scratch: then pruned ones are refused.

    Raises:
        ValueError: When called, if the model shares a parameter with one given before, or was pruned.
        TypeError: When called, if what is built is no module or has no `components()`.
    """

    def __init__(self, build: Build, *, anew: bool = False) -> None:
        self._build, self._anew = build, anew
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
        zeros = pruned_share(model) if self._anew else 0.0
        if zeros > PRUNED:
            raise ValueError(
                f"`build` must give a model to train from scratch. Got a pruned one ({100 * zeros:.0f} % of its weights are "
                "zero), and training would fill it up again: prune last."
            )
        self._seen.update({id(parameter): ref(parameter) for parameter in model.parameters()})
        return model


def pruned_share(model: nn.Module) -> float:
    """Share of zeros among the weights of tensors that hold both zeros and others: what was pruned, not what starts at zero."""
    weights = [p.detach() for p in model.parameters() if p.ndim > 1]
    counts = [(w.numel(), w.numel() - int(w.count_nonzero())) for w in weights if not is_lazy(w)]
    zeros = sum(zero for size, zero in counts if zero < size)
    return zeros / max(1, sum(size for size, _ in counts))


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


def named_tasks(model: nn.Module) -> list[str]:
    """Names of the tasks of any module: by its components, or by a mapping `tasks`; none where it has neither."""
    if hasattr(model, "components"):
        return tasks_of(model)
    tasks = getattr(model, "tasks", None)
    return list(tasks) if isinstance(tasks, Mapping) else []


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


def placed(inputs: Tensor, model: nn.Module) -> Tensor:
    """An input batch on the device of a model and, if it is floating-point, in its type."""
    like = next((p for p in model.parameters() if p.is_floating_point()), None)
    if like is None:
        return inputs
    return inputs.to(like.device, like.dtype if inputs.is_floating_point() else inputs.dtype)
