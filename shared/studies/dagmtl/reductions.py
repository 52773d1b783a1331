"""The three reductions against sparsity (Figure 5): one search on `scripts`, M = 7, reduced to some targets and fine-tuned.

The search is the same for all; performance is Δ against the network that is not reduced, fine-tuned as long. The flow-based
reduction may stop before its target. (On `rooms` there is nothing to compare: the states that read in and read out most are
neighbours there, so that every reduction leaves the one layer between them.)
"""

from functools import partial
from pathlib import Path
from typing import Any

from rows import Rows
from study import Study
from topologies import by_task, config_of_scripts, metrics_of, scripts

import dagmtl
import mtl_core
from dagmtl import plots
from mtl_core import Run, datasets

TARGETS = (0.4, 0.3, 0.2, 0.1)
TUNE = 12


def train(folder: Path, *, seed: int, epochs: int = 0, targets: tuple[float, ...] = TARGETS) -> dict[str, Any]:
    data, run = datasets.scripts(), Run(folder, seed=seed, progress=False)
    config = config_of_scripts(7 if not epochs else 1, epochs)
    central = dagmtl.search(scripts, data, config, run.child("search"))
    weights = {task: central.matrices(task) for task in data.tasks}
    tuning = dagmtl.Config(flow=config.flow, epochs=epochs or TUNE, lr=config.lr, batch_size=config.batch_size)
    settings: dict[str, Any] = {"none": dict.fromkeys(data.tasks, dagmtl.keep_all)}
    for target in targets:
        found: dict[str, Any] = {"flow": dagmtl.reduce_flow, "threshold": dagmtl.reduce_threshold}
        for name, reduction in found.items():
            settings[f"{name} {target}"] = dict.fromkeys(data.tasks, partial(reduction, target_sparsity=target))
        # A seed of its own for each task: else all tasks would lose the same layers, and share the rest.
        settings[f"random {target}"] = {
            task: partial(dagmtl.reduce_random, seed=place, target_sparsity=target)
            for place, task in enumerate(weights)
        }
    figures: dict[str, Any] = {}
    for name, reductions in settings.items():
        graphs = {task: reductions[task](*weights[task]) for task in weights}
        result = dagmtl.finetune(central, graphs, data, tuning, run.child(name.replace(" ", "-")))
        figures[f"{name} S"] = sum(f["sparsity"] for f in result.report.topology.values()) / len(weights)
        figures |= {f"{name} {metric}": value for metric, value in metrics_of(result.model, data).items()}
    return figures


def points(row: dict[str, str]) -> dict[str, list[tuple[float, float]]]:
    """Mean sparsity of the tasks and Δ by reduction."""
    tasks = datasets.scripts().tasks
    names = [column.removesuffix(" S") for column in row if column.endswith(" S")]
    values = {
        name: by_task(
            {c.removeprefix(f"{name} "): v for c, v in row.items() if c.startswith(f"{name} ")}, " ".join(tasks)
        )
        for name in names
    }
    found: dict[str, list[tuple[float, float]]] = {}
    for name in names:
        if name != "none":
            gain = mtl_core.delta(values[name], values["none"], tasks).overall
            found.setdefault(name.partition(" ")[0], []).append((float(row[f"{name} S"]), gain))
    return found


def table(rows: Rows) -> str:
    """Δ against the network that is not reduced, with the sparsity reached."""
    lines = ["| reduction | " + " | ".join(f"target {target}" for target in TARGETS) + " |", "|---" * 5 + "|"]
    for row in rows:
        for name, several in points(row).items():
            cells = [f"{gain:.1f} at S = {S:.2f}".replace("-", "−") for S, gain in several]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


STUDY = Study(
    key=("seed",),
    trainings=[{"seed": 0}],
    train=train,
    seconds=900,
    tiny={"seed": 0, "epochs": 1, "targets": (0.1,)},
    tables={"reductions": table},
    pictures={"against_sparsity": lambda rows: plots.against_sparsity(points(next(iter(rows))))},
)
