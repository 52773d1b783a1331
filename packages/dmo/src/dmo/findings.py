"""What a report of DMO holds: groups, similarities, difficulties, and how many parameters whom they cost."""

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from dmo.allocation import Allocation
from dmo.backbones import count, dense_parameters, head_parameters
from dmo.config import Config
from dmo.grouping import extremes, nearest_change
from dmo.single import Single


def findings(
    found: Allocation, singles: Mapping[str, Single], models: Mapping[str, nn.Module], config: Config
) -> dict[str, Any]:
    """The entries of the report.

    Args:
        found: What was decided.
        singles: The tasks' own networks.
        models: Each group's network.
        config: The configuration.
    """
    allocation = parameters(found, singles, models)
    places = {name: place for place, name in enumerate(found.names)}
    grouped = [[places[name] for name in members] for members in found.groups.values()]
    sides = extremes(found.S, grouped)
    degenerate = len(grouped) == 1 or len(grouped) == len(found.names)
    change = nearest_change(found.S, config.tau_sim, config.tau_clique) if degenerate else None
    group_of = {name: group for group, members in found.groups.items() for name in members}
    weights = sum(mask.numel() for mask in next(iter(found.masks.values())).values())
    return {
        "groups": found.groups,
        "similarity": {"tasks": found.names, "S_W": found.S_W, "S_L": found.S_L, "S": found.S, **sides},
        "change": change,
        "mu": found.mu,
        "difficulty": found.difficulty,
        "keep": found.keep,
        "allocation": allocation,
        "components": {
            name: {
                "group": group_of[name],
                "difficulty": found.difficulty[name],
                "weights kept": allocation["tasks"][name]["weights"] / weights,
                "parameters": allocation["tasks"][name]["parameters"],
            }
            for name in found.names
        },
        "headline": _headline(found, allocation, sides, change, config),
    }


def parameters(found: Allocation, singles: Mapping[str, Single], models: Mapping[str, nn.Module]) -> dict[str, Any]:
    """Parameters per task, per group and in all, and the ratio to a network for each task.

    Of a task count the weights that survive for it, its head, and the norms and biases of its group; of a group the union
    of its tasks' weights, norms and biases, and all heads.

    Args:
        found: What was decided.
        singles: The tasks' own networks.
        models: Each group's network.
    """
    tasks: dict[str, dict[str, int]] = {}
    groups: dict[str, dict[str, int]] = {}
    for group, members in found.groups.items():
        heads, dense = head_parameters(models[group]), dense_parameters(models[group])
        union = sum(int(mask.sum()) for mask in found.merged[group].mask.values())
        groups[group] = {"weights": union, "parameters": union + dense + sum(heads.values())}
        for name in members:
            mine = sum(int(mask.sum()) for mask in found.masks[name].values())
            tasks[name] = {"weights": mine, "parameters": mine + dense + heads[name]}
    alone = {name: count(single.model) for name, single in singles.items()}
    whole = sum(group["parameters"] for group in groups.values())
    return {
        "tasks": {name: tasks[name] for name in found.names},
        "groups": groups,
        "in all": whole,
        "single tasks": alone,
        "ratio": whole / sum(alone.values()),
    }


def _headline(
    found: Allocation, allocation: Mapping[str, Any], sides: Mapping[str, Any], change: float | None, config: Config
) -> list[str]:
    """What was found, in sentences."""
    tasks, groups = len(found.names), len(found.groups)
    members = "; ".join(", ".join(group) for group in found.groups.values())
    said = [f"{tasks} task{'s' * (tasks > 1)} in {groups} group{'s' * (groups > 1)}: {members}."]
    spans = [f"{name} the groups {_span(side)}" for name, side in sides.items() if side]
    if spans:
        said.append(f"S of two tasks is {' and '.join(spans)}; edges are above tau_sim = {config.tau_sim:g}.")
    if tasks > 1 and groups == 1:
        said.append("One group only: all tasks are alike by S, and this is hard parameter sharing, pruned.")
    elif tasks > 1 and groups == tasks:
        said.append("Only groups of one task: no two tasks are alike by S, and nothing is shared.")
    if change is not None:
        said.append(f"Groups change {_threshold(change, config.tau_sim)}.")
    kept = ", ".join(f"{n} {100 * share:.3g} % (d = {found.difficulty[n]:.3g})" for n, share in found.keep.items())
    said.append(f"Weights kept by difficulty: {kept}; at least {100 * config.min_keep:g} %.")
    said.append(
        f"{allocation['in all']:,} parameters in all, {100 * allocation['ratio']:.1f} % of those of a network for each task."
    )
    return said


def _span(side: Mapping[str, float]) -> str:
    low, high = f"{side['smallest']:.3f}", f"{side['largest']:.3f}"
    return low if low == high else f"{low} to {high}"


def _threshold(change: float, tau_sim: float) -> str:
    """A threshold in words, rounded away from the one in force, so that what is said holds for the number shown."""
    if change > tau_sim:
        return f"from tau_sim = {math.ceil(1e4 * change) / 1e4:.4f} on"
    return f"at tau_sim = {math.floor(1e4 * change) / 1e4:.4f} and below"
