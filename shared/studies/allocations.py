"""Trainings that the studies of DMO compare: a network for each task, one for all, and DMO's; what they cost and what they give.

All are trained by SGD with the same learning rate, decay, cosine and number of passes; figures are of the test part. Stage 1 of
DMO is the training of a network for each task: a row of DMO has that, and what follows at each threshold and temperature.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from groupings import written
from rows import Rows, mean_and_deviation

import dmo
import mtl_core
from mtl_core import Build, MultiTaskData, Result, Run, TaskGroups
from mtl_core.model import nn
from mtl_core.plots import canvas
from mtl_core.storage import stored_bytes

KEY = ("method", "seed")
WORDS = {
    "single": "a network for each task",
    "hard": "one network (hard parameter sharing)",
    "twice": "the same, trained twice as long",
    "dmo": "DMO",
}
TAUS = (0.25, 0.5, 1.0)


@dataclass(frozen=True)
class Setting:
    """What all trainings of a study share.

    Args:
        data: Makes the data.
        build: The architecture.
        epochs: Passes of the longest source.
        batch: Samples a source and step.
        lr: Learning rate at the start.
        tau_sims: Thresholds that are compared; the last one is shown in pictures.
        taus: Temperatures beside 1, with the last threshold and the first seed.
    """

    data: Callable[[], MultiTaskData]
    build: Build
    epochs: int
    batch: int
    lr: float
    tau_sims: Sequence[float]
    taus: Sequence[float] = ()

    def row(
        self,
        folder: Path,
        *,
        method: str,
        seed: int,
        epochs: int | None = None,
        batch: int | None = None,
        tasks: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Train and measure: `hard`, `twice` as long, or `dmo` with the single networks of its stage 1; default all tasks."""
        data, run = self.data(), Run(folder, seed=seed, progress=False)
        data = data.select(tasks) if tasks else data
        epochs, batch = epochs or self.epochs, batch or self.batch
        if method != "dmo":
            sgd = partial(torch.optim.SGD, momentum=0.9)
            passes = 2 * epochs if method == "twice" else epochs
            plain = mtl_core.Config(passes, batch, self.lr, 5e-4, cosine=True, optimizer=sgd)
            return measured(method, mtl_core.fit(self.build, data, plain, run).model, data)
        config = dmo.Config(epochs=epochs, batch_size=batch, lr=self.lr)
        singles = dmo.fit_singles(self.build, data, config, run.child("singles"))
        found = measured("single", TaskGroups({name: single.model for name, single in singles.items()}), data)
        settings = [(tau_sim, 1.0) for tau_sim in self.tau_sims]
        settings += [(self.tau_sims[-1], tau) for tau in self.taus] if seed == 0 else []
        for tau_sim, tau in settings:
            asked = replace(config, tau_sim=tau_sim, tau=tau)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "The similarity of loss curves")  # in the tests' slices
                result = dmo.fit_groups(self.build, data, singles, asked, run.child(label(tau_sim, tau)))
            cells = measured("dmo", result.model, data) | described(result)
            found |= {f"{label(tau_sim, tau)} {name}": value for name, value in cells.items()}
        return found


def label(tau_sim: float, tau: float) -> str:
    """What the cells of a threshold and a temperature begin with."""
    return f"{tau_sim:g}-{tau:g}"


def described(result: Result) -> dict[str, Any]:
    """Groups, similarities, difficulties and sizes of DMO's networks."""
    report = result.report
    found = {"groups": written(list(report.groups.values())), "ratio": report.allocation["ratio"]}
    for side in ("within", "between"):
        for end, value in (report.similarity[side] or {}).items():
            found[f"S.{side}.{end}"] = value
    for name, size in report.allocation["single tasks"].items():
        found[f"d.{name}"] = report.difficulty[name]
        found[f"dmo.parameters.{name}"] = report.allocation["tasks"][name]["parameters"]
        found[f"single.parameters.{name}"] = size
    return found | {"dmo.parameters": report.allocation["in all"]}  # of the pruned weights only what survives


def measured(method: str, model: nn.Module, data: MultiTaskData) -> dict[str, Any]:
    """Accuracy by task, parameters, and bytes of the file."""
    accuracies = {name: metrics["accuracy"] for name, metrics in mtl_core.evaluate(model, data.test).items()}
    return {
        **{f"{method}.accuracy.{name}": value for name, value in accuracies.items()},
        f"{method}.accuracy": sum(accuracies.values()) / len(accuracies),
        f"{method}.parameters": sum(p.numel() for p in model.parameters()),
        f"{method}.bytes": stored_bytes(model),
    }


def trainings(seeds: Sequence[int] = (0, 1, 2)) -> list[dict[str, Any]]:
    """Hard sharing and DMO for each seed; DMO's weights are trained twice, alone and together, so one is as long as that."""
    return [{"method": method, "seed": seed} for seed in seeds for method in ("hard", "dmo", "twice")]


# What a README shows ------------------------------------------------------------------------------------------------


def cells_at(row: Mapping[str, str], tau_sim: float, tau: float = 1.0) -> dict[str, str]:
    """The cells of one threshold and temperature, those of the single tasks, and the seed; nothing where it was not trained."""
    start = f"{label(tau_sim, tau)} "
    mine = {name.removeprefix(start): cell for name, cell in row.items() if name.startswith(start) and cell}
    shared = {name: cell for name, cell in row.items() if name == "seed" or name.startswith("single.")}
    return shared | mine if mine else {}


def cells_of(rows: Rows, tau_sim: float, tau: float = 1.0) -> list[dict[str, str]]:
    """The cells of one threshold and temperature, by seed."""
    return [cells for row in rows.where(method="dmo") if (cells := cells_at(row, tau_sim, tau))]


def columns(rows: Rows, tau_sims: Sequence[float]) -> dict[str, list[tuple[str, dict[str, str]]]]:
    """The prefix of the cells, and the rows, of each method that has some."""
    found = {
        WORDS["single"]: [("single", row) for row in rows.where(method="dmo")],
        **{WORDS[kind]: [(kind, row) for row in rows.where(method=kind)] for kind in ("hard", "twice")},
    }
    for value in tau_sims:
        found[f"DMO, τ_sim = {value:g}"] = [("dmo", row) for row in cells_of(rows, value)]
    return {name: several for name, several in found.items() if several}


def tasks_of(rows: Rows) -> list[str]:
    """The tasks that the rows have accuracies of."""
    start = "hard.accuracy."
    return [name.removeprefix(start) for row in rows.where(method="hard")[:1] for name in row if name.startswith(start)]


def main_table(rows: Rows, tau_sims: Sequence[float]) -> str:
    """Accuracy by task and their mean, parameters, file, ratio: mean and deviation over the seeds."""
    found = columns(rows, tau_sims)
    lines = [f"| | {' | '.join(found)} |", "|---" * (1 + len(found)) + "|"]

    def line(name: str, cell: Callable[[str, dict[str, str]], str], scale: float, digits: int) -> str:
        cells = [
            mean_and_deviation([scale * float(cell(kind, row)) for kind, row in several], digits)
            for several in found.values()
        ]
        return f"| {name} | {' | '.join(cells)} |"

    for task in tasks_of(rows):
        lines.append(line(f"{task}, accuracy, %", lambda kind, row, task=task: row[f"{kind}.accuracy.{task}"], 100, 1))
    lines.append(line("mean accuracy, %", lambda kind, row: row[f"{kind}.accuracy"], 100, 1))
    lines.append(line("parameters, thousands", lambda kind, row: row[f"{kind}.parameters"], 1e-3, 1))
    whole = {row["seed"]: float(row["single.parameters"]) for row in rows.where(method="dmo")}

    def ratio(kind: str, row: dict[str, str]) -> str:
        return str(float(row[f"{kind}.parameters"]) / whole.get(row["seed"], float("nan")))

    lines.append(line("ratio to a network for each task", ratio, 1, 3))
    lines.append(line("file, kB", lambda kind, row: row[f"{kind}.bytes"], 1e-3, 1))
    lines.append("| seeds | " + " | ".join(str(len(several)) for several in found.values()) + " |")
    return "\n".join(lines)


def group_table(rows: Rows, tau_sims: Sequence[float]) -> str:
    """What was found at each threshold and seed: groups, S within and between."""
    lines = ["| τ_sim | seed | groups | S within | S between | ratio |", "|---|---|---|---|---|---|"]
    for value in tau_sims:
        for row in cells_of(rows, value):
            spans = [span(row, side) for side in ("within", "between")]
            groups = "; ".join(", ".join(group.split()) for group in row["groups"].split(" | "))
            lines.append(f"| {value:g} | {row['seed']} | {groups} | {' | '.join(spans)} | {float(row['ratio']):.3f} |")
    return "\n".join(lines)


def span(row: Mapping[str, str], side: str) -> str:
    """Smallest to largest similarity of a side."""
    ends = [row.get(f"S.{side}.{end}", "") for end in ("smallest", "largest")]
    return f"{float(ends[0]):.2f} to {float(ends[1]):.2f}" if all(ends) else ""


def tau_table(rows: Rows, tau_sim: float) -> str:
    """Accuracy and parameters of a training at each temperature (Figure 5's legend)."""
    lines = ["| τ | mean accuracy, % | parameters | ratio |", "|---|---|---|---|"]
    for tau in TAUS:
        for row in cells_of(rows, tau_sim, tau)[:1]:
            accuracy, size = 100 * float(row["dmo.accuracy"]), int(row["dmo.parameters"])
            lines.append(f"| {tau:g} | {accuracy:.1f} | {size:,} | {float(row['ratio']):.3f} |")
    return "\n".join(lines)


def tau_picture(rows: Rows, tau_sim: float) -> Any:
    """Pruning ratio against difficulty at each temperature, with accuracy and parameters (Figure 5)."""
    from dmo.plots import pruning_figure

    found, legend = {}, {}
    for tau in TAUS:
        for row in cells_of(rows, tau_sim, tau)[:1]:
            found[tau] = {name: float(row[f"d.{name}"]) for name in tasks_of(rows)}
            legend[tau] = f"{100 * float(row['dmo.accuracy']):.1f} %, {int(row['dmo.parameters']) / 1000:.0f} k"
    return pruning_figure(found, legend) if found else canvas()[0]


def accuracy_picture(rows: Rows, tau_sim: float, seed: int = 0) -> Any:
    """Accuracy against parameters of each task, under each method (Figures 3 and 4)."""
    from dmo.plots import accuracy_figure

    ours = next((row for row in cells_of(rows, tau_sim) if int(row["seed"]) == seed), None)
    hard = rows.find(method="hard", seed=seed)
    if ours is None or hard is None:
        return canvas()[0]
    sizes = {
        "single": {name: float(ours[f"single.parameters.{name}"]) for name in tasks_of(rows)},
        "hard": {name: float(hard["hard.parameters"]) for name in tasks_of(rows)},
        "dmo": {name: float(ours[f"dmo.parameters.{name}"]) for name in tasks_of(rows)},
    }
    return accuracy_figure(
        {
            WORDS[kind]: {
                name: (size, float((hard if kind == "hard" else ours)[f"{kind}.accuracy.{name}"]))
                for name, size in sizes[kind].items()
            }
            for kind in sizes
        }
    )
