"""What the studies of searched graphs share: the baselines' architecture, graphs in cells, tables of them."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from rows import mean_and_deviation

import dagmtl
import mtl_core
from dagmtl import CentralNetwork
from dagmtl.fit import Space
from mtl_core import MultiTaskData, Result, Run, Task, heads
from mtl_core.backbones.layers import Norm
from mtl_core.model import nn

THREE = "segmentation depth normals"
PARTS = ("read-in/out", "reduction", "squeeze loss")


def rooms(tasks: dict[str, Task], flow: int | None, norm: Norm | None = None) -> CentralNetwork:
    """For maps: the twelve states of VGG-16, widths / 4; DAG-MTL's layers have no norm."""
    head = heads.deeplab_v2(width=32, rates=(1, 2, 3, 4), dropout=0.1)
    states = dagmtl.vgg16_states(width=0.25, output_stride=4)
    layer = partial(dagmtl.layer, norm=norm)
    return CentralNetwork(dagmtl.stem(3, 16, stride=2), states, flow, tasks, head, layer=layer)


def config_of(method: str, flow: int, epochs: int = 0) -> dagmtl.Config:
    """Of a training on `rooms`; `epochs` shortens all three stages."""
    warm, search, tune = (epochs, epochs, epochs) if epochs else (2, 6, 12)
    config = dagmtl.Config(
        flow=flow or None, warmup_epochs=warm, search_epochs=search, epochs=tune, lr=1e-3, upper_lr=0.02, batch_size=16
    )
    part = method.removeprefix("without ")
    return config.without(part) if part in PARTS else config


def scripts(tasks: dict[str, Task], flow: int | None) -> CentralNetwork:
    """For drawings of characters: eight states of 24 channels."""
    states = dagmtl.omniglot_states(24, output_stride=8)
    return CentralNetwork(dagmtl.stem(1, 24), states, flow, tasks, heads.linear())


def config_of_scripts(flow: int, epochs: int = 0) -> dagmtl.Config:
    """Of a training on `scripts`; `epochs` shortens all three stages."""
    warm, search, tune = (epochs, epochs, epochs) if epochs else (3, 24, 24)
    return dagmtl.Config(
        flow=flow or None,
        warmup_epochs=warm,
        search_epochs=search,
        epochs=tune,
        lr=3e-3,
        upper_lr=0.04,
        batch_size=16,
    )


def shared_bottom(space: Space) -> Callable[[dict[str, Task]], nn.Module]:
    """The architecture of the baselines: the stem and the chain of the states, for one task or for all."""
    return lambda tasks: space(tasks, 1).shared_bottom()


def baseline(
    space: Space, data: MultiTaskData, config: dagmtl.Config, run: Run, *, single: bool
) -> tuple[nn.Module, dict[str, Any]]:
    """A network for each task, or one for all, trained as long as the three stages together; and its size."""
    epochs = config.warmup_epochs + config.search_epochs + config.epochs
    fit = mtl_core.fit_single_tasks if single else mtl_core.fit
    model = fit(shared_bottom(space), data, mtl_core.Config(epochs=epochs, lr=config.lr), run).model
    return model, {"relative": float(len(data.tasks)) if single else 1.0}


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
        found |= {f"graph {name}.{task}": value for name, value in measures.items()}
    return found


def topology_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Depth, width and sparsity of each task's graph over the seeds, as the paper's Table 5."""
    lines = ["| task | depth D | width W | sparsity S | S of the complete graph |", "|---" * 5 + "|"]
    cells_of_one = rows[0] if rows else {}
    tasks = [name.partition(".")[2] for name, cell in cells_of_one.items() if name.startswith("graph depth.") and cell]
    for task in tasks:
        cells = []
        for measure, digits in (("depth", 1), ("width", 1), ("sparsity", 3), ("of complete", 3)):
            cells.append(mean_and_deviation([float(row[f"graph {measure}.{task}"]) for row in rows], digits))
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


def by_task(row: Mapping[str, str], tasks: str) -> dict[str, dict[str, float]]:
    """The metrics of a row by task, as `mtl_core.evaluate` gave them."""
    return {
        task: {k.partition(".")[2]: float(v) for k, v in row.items() if k.startswith(f"{task}.") and v}
        for task in tasks.split()
    }
