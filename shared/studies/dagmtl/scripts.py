"""Eight writing systems, a task and a data set each (rendered fonts with distortion): the paper's Omniglot set-up in small.

Eight states of 24 channels, M = 3, 5, 7, three seeds (the paper's Table 1), against a network for each task and one for all, both
of the same stem and chain of states. The baselines have as many steps as the three stages together.
"""

from pathlib import Path
from typing import Any

from paper import printed
from rows import Rows, mean_and_deviation
from study import Study
from topologies import baseline, config_of_scripts, figures_of, scripts, topology_table

import dagmtl
import mtl_core
from mtl_core import Run, datasets

SEEDS, FLOWS = (0, 1, 2), (3, 5, 7)
WORDS = {"single": "a network for each task", "shared": "one network (shared bottom)"}


def train(folder: Path, *, method: str, flow: int, seed: int, epochs: int = 0) -> dict[str, Any]:
    data, run = datasets.scripts(), Run(folder, seed=seed, progress=False)
    config = config_of_scripts(flow, epochs)
    if method == "dagmtl":
        result = dagmtl.fit(scripts, data, config, run)
        model, found = result.model, figures_of(result)
    else:
        model, found = baseline(scripts, data, config, run, single=method == "single")
    measured = mtl_core.evaluate(model, data.test)
    return {**found, **{f"accuracy.{task}": figures["accuracy"] for task, figures in measured.items()}}


def table(rows: Rows) -> str:
    """Mean accuracy, by seed, too, and parameters, ours beside the paper's on Omniglot (another data set)."""
    columns = ("accuracy, %", "by seed", "parameters", "layers computed, of those alone")
    lines = [f"| | {' | '.join(columns)} | paper: accuracy | paper: parameters |", "|---" * 7 + "|"]
    theirs = {"single": "Single Task", "shared": "Shared Bottom"}
    for method, flow in [("single", 0), ("shared", 0), *(("dagmtl", M) for M in FLOWS)]:
        mine = rows.where(method=method, flow=flow)
        if not mine:
            continue
        means = []
        for row in mine:
            values = [float(cell) for name, cell in row.items() if name.startswith("accuracy.")]
            means.append(100 * sum(values) / len(values))
        sizes = mean_and_deviation([float(row["relative"]) for row in mine], 2)
        paper = theirs.get(method, f"Ours (M = {flow})")
        cells = [printed("dagmtl_table1", paper, column) for column in ("Test Acc.", "# of Param")]
        name = WORDS.get(method, f"DAG-MTL, M = {flow}")
        seeds = ", ".join(f"{mean:.1f}" for mean in means)
        layers = ", ".join(f"{row['together']} of {row['alone']}" for row in mine if row.get("together"))
        lines.append(f"| {name} | {mean_and_deviation(means)} | {seeds} | {sizes} | {layers} | {' | '.join(cells)} |")
    return "\n".join(lines)


STUDY = Study(
    key=("method", "flow", "seed"),
    trainings=[
        *({"method": method, "flow": 0, "seed": seed} for seed in SEEDS for method in ("single", "shared")),
        *({"method": "dagmtl", "flow": flow, "seed": seed} for seed in SEEDS for flow in FLOWS),
    ],
    train=train,
    seconds=150,
    tiny={"method": "dagmtl", "flow": 2, "seed": 0, "epochs": 1},
    tables={
        "scripts": table,
        "scripts-topology": lambda rows: topology_table(rows.where(method="dagmtl", flow=7)),
    },
)
