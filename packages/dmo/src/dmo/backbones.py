"""What of a network is shared, all but the heads, and what of that is pruned: weights of convolutions and linear layers."""

from torch import nn

from mtl_core.components import components_of
from mtl_core.sparsity import prunable_weights


def backbone_of(model: nn.Module) -> nn.ModuleList:
    """The modules of a network that belong to no head; they are the network's own, not copies.

    Args:
        model: A network with `components()`.
    """
    parts = components_of(model)
    return nn.ModuleList(
        module for name, several in parts.items() if "head" not in name.split(".") for module in several
    )


def prunable_parts(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of the backbone's convolutions and linear layers, by name; the name is the same in equal architectures.

    Args:
        model: A network with `components()`.
    """
    return prunable_weights(backbone_of(model))


def copy_backbone(source: nn.Module, target: nn.Module) -> None:
    """Give a network the backbone of another one: weights, norms and their running statistics; its heads stay.

    Args:
        source: The network whose backbone is copied.
        target: Changed in place.

    Raises:
        ValueError: If the backbones differ.
    """
    state, own = backbone_of(source).state_dict(), backbone_of(target).state_dict()
    shapes = [{name: tuple(tensor.shape) for name, tensor in each.items()} for each in (state, own)]
    different = sorted(name for name in {*state, *own} if shapes[0].get(name) != shapes[1].get(name))
    if different:
        name = different[0]
        raise ValueError(
            "`build` must give one and the same backbone whatever the tasks are: DMO compares and merges their weights. Got "
            f"`{name}` of shape {shapes[0].get(name)} and {shapes[1].get(name)}."
        )
    backbone_of(target).load_state_dict(state)


def head_parameters(model: nn.Module) -> dict[str, int]:
    """Parameters of each task's head, by task."""
    found: dict[str, int] = {}
    for name, modules in components_of(model).items():
        path = name.split(".")
        if "head" in path:
            found[path[-1]] = found.get(path[-1], 0) + count(modules)
    return found


def dense_parameters(model: nn.Module) -> int:
    """Parameters of the backbone that are not pruned: norms, biases, and whatever belongs to no prunable layer."""
    backbone = backbone_of(model)
    return count(backbone) - sum(weight.numel() for weight in prunable_parts(model).values())


def count(modules: nn.Module | list[nn.Module]) -> int:
    """Parameters, each once."""
    several = [modules] if isinstance(modules, nn.Module) else modules
    return sum(p.numel() for p in {p for module in several for p in module.parameters()})
