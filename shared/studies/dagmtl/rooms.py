"""Segmentation, depth and normals of `rooms` over the twelve states of VGG-16, widths / 4 (Tables 2, 5 and 6, Figures 3 and 4).

M = 7 with three seeds; M = 5 and 9, flow constants from 1 to N - 1, the ablations, and all five maps with one. Baselines are
a network for each task and one for all, of the same stem and chain of states, with as many steps as the three stages together;
with norms, too.

These are small runs: they show whether the pieces do what they should here, not what NYU-v2 gives.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from paper import printed
from rows import Rows, mean_and_deviation
from study import Study
from topologies import (
    PARTS,
    THREE,
    baseline,
    by_task,
    config_of,
    figures_of,
    metrics_of,
    paths_of,
    rooms,
    topology_table,
)

import dagmtl
import mtl_core
from dagmtl import plots
from mtl_core import Run, datasets
from mtl_core.plots import canvas

FIVE = f"{THREE} edges keypoints"
N = 12
KEY = ("method", "tasks", "flow", "seed")
BASELINES = {
    "single": "a network for each task",
    "shared": "one network (shared bottom)",
    "single, norm": "a network for each task, with group norms",
    "shared, norm": "one network, with group norms",
}
"""A plain chain of twelve layers learns slowly without norms; so there is one with them, too."""


def train(folder: Path, *, method: str, tasks: str, flow: int, seed: int, epochs: int = 0) -> dict[str, Any]:
    data, run = datasets.rooms(tasks.split()), Run(folder, seed=seed, progress=False)
    config = config_of(method, flow, epochs)
    if method in BASELINES:
        space = partial(rooms, norm=dagmtl.group_norm) if method.endswith("norm") else rooms
        model, found = baseline(space, data, config, run, single=method.startswith("single"))
    else:
        result = dagmtl.fit(rooms, data, config, run)
        model, found = result.model, figures_of(result)
    return {**found, **metrics_of(model, data)}


# What the README shows ----------------------------------------------------------------------------------------------


def gains(rows: Rows, row: Mapping[str, str]) -> mtl_core.metrics.Delta | None:
    """Δ against the single tasks of the same seed; None while they are missing."""
    tasks = row["tasks"]
    single = rows.find(method="single", tasks=tasks, flow=0, seed=row["seed"])
    if single is None:
        return None
    made = datasets.rooms(tasks.split()).tasks
    return mtl_core.delta(by_task(row, tasks), by_task(single, tasks), made)


def line(rows: Rows, name: str, where: Mapping[str, Any], theirs: str = "") -> str:
    """A line of a table: Δ of each task and of all, parameters, layers computed."""
    mine = [(row, gains(rows, row)) for row in rows.where(**where)]
    known = [(row, gain) for row, gain in mine if gain is not None]
    if not known:
        return ""
    cells = [mean_and_deviation([gain.tasks[task] for _, gain in known]) for task in where["tasks"].split()]
    cells.append(mean_and_deviation([gain.overall for _, gain in known]))
    cells.append(mean_and_deviation([float(row["relative"]) for row, _ in known], 2))
    shown = [f"{row['together']} of {row['alone']}" for row, _ in known if row.get("together")]
    return f"| {name} | {' | '.join(cells)} | {', '.join(shown)} | {len(known)} | {theirs} |"


def lines(rows: Rows, tasks: str, several: list[tuple[str, dict[str, Any], str]]) -> str:
    """A table of trainings on the same tasks."""
    names = " | ".join(f"Δ {task}" for task in tasks.split())
    header = f"| | {names} | Δ, % ↑ | parameters | layers computed, of those alone | seeds | paper: Δ, parameters |"
    made = [line(rows, name, {"tasks": tasks, **where}, theirs) for name, where, theirs in several]
    return "\n".join([header, "|---" * (len(tasks.split()) + 6) + "|", *filter(None, made)])


def paper(table: str, row: str) -> str:
    """The paper's Δ and parameters."""
    return ", ".join(printed(table, row, column) for column in ("Δ_T", "# of Param"))


def main_table(rows: Rows) -> str:
    """Table 2."""
    theirs = {"single": paper("dagmtl_table2", "Single-Task"), "shared": paper("dagmtl_table2", "Shared Bottom")}
    several = [(word, {"method": m, "flow": 0}, theirs.get(m, "")) for m, word in BASELINES.items()]
    for M in (5, 7, 9):
        several.append(
            (f"DAG-MTL, M = {M}", {"method": "dagmtl", "flow": M}, paper("dagmtl_table2", f"Ours (M = {M})"))
        )
    return lines(rows, THREE, several)


def five_table(rows: Rows) -> str:
    """All five maps."""
    several = [(word, {"method": method, "flow": 0}, "") for method, word in BASELINES.items()]
    return lines(rows, FIVE, [*several, ("DAG-MTL, M = 7", {"method": "dagmtl", "flow": 7}, "")])


def ablation_table(rows: Rows) -> str:
    """Table 6, seed 0."""
    ours = ("whole", {"method": "dagmtl", "flow": 7, "seed": 0}, paper("dagmtl_table6", "Ours (M=7)"))
    free = {"method": "dagmtl", "flow": N - 1, "seed": 0}
    several = [ours, ("without flow restriction", free, paper("dagmtl_table6", "w/o flow-restriction"))]
    theirs = ("w/o read-in/out", "w/o flow-based reduction", "w/o L_sq")
    for part, their in zip(PARTS, theirs, strict=True):
        where = {"method": f"without {part}", "flow": 7, "seed": 0}
        several.append((f"without {part}", where, paper("dagmtl_table6", their)))
    return lines(rows, THREE, several)


def flow_picture(rows: Rows) -> Any:
    """Figure 4: performance and parameters against M, relative to the complete graph."""
    found = {M: rows.find(method="dagmtl", tasks=THREE, flow=M, seed=0) for M in (1, 3, 5, 7, N - 1)}
    whole = found[N - 1]
    if whole is None:
        return canvas()[0]
    made = datasets.rooms(THREE.split()).tasks
    points = []
    for M, row in found.items():
        if row is not None:
            gain = mtl_core.delta(by_task(row, THREE), by_task(whole, THREE), made).overall
            points.append((M, gain, float(row["relative"]) / float(whole["relative"])))
    return plots.against_flow(points)


def of_seed_0(draw: Any) -> Any:
    """A picture of the graphs with M = 7 and seed 0."""

    def make(rows: Rows) -> Any:
        row = rows.find(method="dagmtl", tasks=THREE, flow=7, seed=0)
        return draw(paths_of(row)) if row else canvas()[0]

    return make


STUDY = Study(
    key=KEY,
    trainings=[
        *({"method": m, "tasks": THREE, "flow": 0, "seed": s} for s in (0, 1, 2) for m in BASELINES),
        *({"method": "dagmtl", "tasks": THREE, "flow": 7, "seed": s} for s in (0, 1, 2)),
        *({"method": "dagmtl", "tasks": THREE, "flow": M, "seed": 0} for M in (5, 9, 1, 3, N - 1)),
        *({"method": f"without {part}", "tasks": THREE, "flow": 7, "seed": 0} for part in PARTS),
        *({"method": m, "tasks": FIVE, "flow": 0, "seed": 0} for m in BASELINES),
        {"method": "dagmtl", "tasks": FIVE, "flow": 7, "seed": 0},
    ],
    train=train,
    seconds=150,
    tiny={"method": "dagmtl", "tasks": THREE, "flow": 1, "seed": 0, "epochs": 1},
    tables={
        "rooms": main_table,
        "rooms-five": five_table,
        "rooms-topology": lambda rows: topology_table(rows.where(method="dagmtl", tasks=THREE, flow=7)),
        "ablation": ablation_table,
    },
    pictures={
        "topologies": of_seed_0(lambda paths: plots.topology_figure(paths, N)),
        "adjacency": of_seed_0(lambda paths: plots.adjacency_figure(paths, N, 7)),
        "sharing": of_seed_0(lambda paths: plots.sharing_figure({t: p["layers"] for t, p in paths.items()})),
        "against_flow": flow_picture,
    },
)
