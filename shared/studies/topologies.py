"""What the studies of searched graphs share: the baselines' architecture, graphs in cells, tables of them."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rows import mean_and_deviation

import mtl_core
from dagmtl.fit import Space
from mtl_core import MultiTaskData, Result, Task
from mtl_core.model import nn


def shared_bottom(space: Space) -> Callable[[dict[str, Task]], nn.Module]:
    """The architecture of the baselines: the stem and the chain of the states, for one task or for all."""
    return lambda tasks: space(tasks, 1).shared_bottom()


def figures_of(result: Result) -> dict[str, Any]:
    """Parameters, evaluations, and each task's graph, as cells."""
    report = result.report
    found: dict[str, Any] = {
        "relative": report.size["relative"],
        "together": report.evaluations["together"],
        "alone": sum(report.evaluations["alone"].values()),
        "states": report.states,
        "M": report.flow,
        "paths": json.dumps(report.paths),
    }
    for task, measures in report.topology.items():
        found |= {f"{name}.{task}": value for name, value in measures.items()}
    return found


def topology_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Depth, width and sparsity of each task's graph over the seeds, as the paper's Table 5."""
    lines = ["| task | depth D | width W | sparsity S | S of the complete graph |", "|---" * 5 + "|"]
    tasks = [name.removeprefix("depth.") for name in (rows[0] if rows else {}) if name.startswith("depth.")]
    for task in tasks:
        cells = []
        for measure, digits in (("depth", 1), ("width", 1), ("sparsity", 3), ("of complete", 3)):
            cells.append(mean_and_deviation([float(row[f"{measure}.{task}"]) for row in rows], digits))
        lines.append(f"| {task.replace('_', ' ')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def paths_of(row: Mapping[str, str]) -> dict[str, Any]:
    """The graphs of a row."""
    found: dict[str, Any] = json.loads(row["paths"])
    return found


def metrics_of(model: nn.Module, data: MultiTaskData) -> dict[str, float]:
    """Every test metric as `task.metric`."""
    measured = mtl_core.evaluate(model, data.test)
    return {f"{task}.{name}": value for task, figures in measured.items() for name, value in figures.items()}
