"""The paper's Tables 1 to 4 and Figures 3 to 5 in small: two backbones of a quarter's width on `rooms`.

ResNet-34 and MobileNetV2 (with `adapmtl.start_alike`), output stride 8, 608 steps; three seeds, the five dense tasks one.
Parameters and operations are counted by core's `measure`; the map of sensitivity is that of the first dense model, on validation
data.
"""

import json
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from paper import lines_of
from pruned import FIVE, THREE, adaptive, dense, figures_of, gain, gain_cell, pairs, sample, zeros_cells
from rows import Rows, mean_and_deviation
from study import Study

import adapmtl
import mtl_core
from adapmtl import plots
from mtl_core import Report, SharedBackbone, backbones, datasets, heads, measure
from mtl_core.plots import canvas

SEEDS = (0, 1, 2)
EPOCHS = 38
BACKBONES = {
    "ResNet-34": lambda: backbones.resnet34(width=0.25, output_stride=8),
    "MobileNetV2": lambda: backbones.mobilenet_v2(width=0.25, output_stride=8),
}
SETS = {"three": THREE, "five": FIVE}
HEADS = (0.9, 0.93, 0.95, 0.97, 0.99)
SHARED = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
STEPS = 608


def train(
    folder: Path, *, backbone: str, tasks: str, sparsity: float, seed: int, epochs: int = EPOCHS
) -> dict[str, Any]:
    data, same = datasets.rooms(SETS[tasks]), {"seed": seed, "epochs": epochs}

    def build(tasks: dict[str, mtl_core.Task]) -> SharedBackbone:
        model = SharedBackbone(BACKBONES[backbone](), tasks, heads.aspp(width=64, rates=(2, 4, 6)))
        return adapmtl.start_alike(model) if backbone == "MobileNetV2" else model

    trained = (
        adaptive(folder, build, data, sparsity=sparsity, **same) if sparsity else dense(folder, build, data, **same)
    )
    found, example = dict(trained.found), next(data.test.views(1)).inputs
    if seed or tasks == "five":
        found.pop("curves", None)
    whole = measure(trained.model, example, repeats=2).whole
    found |= {"parameters": whole.parameters, "survivors": whole.survivors}
    found |= {"flops": whole.flops, "nonzero_flops": whole.nonzero_flops}
    if not (sparsity or seed) and tasks == "three":
        deltas = adapmtl.sensitivity(trained.model, data, SHARED, HEADS)
        found["sensitivity"] = json.dumps(sample(deltas.values(), 1))
    return found


def rows_of(rows: Rows, backbone: str, sparsity: float, tasks: str = "three") -> list[Any]:
    """Rows of a model, each beside the dense one of its seed."""
    same = {"backbone": backbone, "tasks": tasks}
    return pairs(rows, SEEDS, lambda seed: {**same, "sparsity": sparsity}, {**same, "sparsity": 0.0})


DIGITS = {"mIoU": 3, "pixel_accuracy": 3, "mean_angle": 1, "median_angle": 1}


def metrics(rows: Rows) -> str:
    """Tables 1 and 2: a line for each metric."""
    columns = [(backbone, sparsity) for backbone in BACKBONES for sparsity in (0.0, 0.9)]
    found = {column: rows_of(rows, *column) for column in columns}
    header = " | ".join(f"{b}, {'90 %' if p else 'dense'}" for b, p in columns)
    lines = [f"| | {header} |", "|---" * (len(columns) + 1) + "|"]
    first = next((several[0][0] for several in found.values() if several), None)
    for task, values in figures_of(first).items() if first else ():
        for metric in values:
            cells = [
                mean_and_deviation([float(mine[f"{task}.{metric}"]) for mine, _ in several], DIGITS.get(metric, 3))
                if several
                else ""
                for several in found.values()
            ]
            lines.append(f"| {task}: {metric.replace('_', ' ')} | {' | '.join(cells)} |")
    for name, options in (("Δ, %", {}), ("Δ summed over metrics, as the paper's columns", {"reduction": "sum"})):
        cells = [gain_cell(found[column], **options) if column[1] else "0" for column in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    names = ["backbone", *(f"head.{task}" for task in THREE), "overall"]
    for place, name in enumerate(names):
        cells = [zeros_cells(found[column], names)[place] if column[1] else "0" for column in columns]
        lines.append(f"| zeros, % (u): {name.removeprefix('head.')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def five(rows: Rows) -> str:
    """Table 3: Δ by task, five tasks, one seed; the paper's line of Taskonomy below."""
    lines = [f"| 90 %, five tasks | {' | '.join(FIVE)} | Δ |", "|---" * (len(FIVE) + 2) + "|"]
    for mine, other in rows_of(rows, "ResNet-34", 0.9, "five"):
        found = gain(mine, other, FIVE)
        cells = [mean_and_deviation([found.tasks[task]]) for task in FIVE]
        lines.append(f"| ours | {' | '.join(cells)} | {mean_and_deviation([found.overall])} |")
    paper = {line["column"]: line["value"] for line in lines_of("adapmtl_table3") if line["row"] == "AdapMTL (ours)"}
    order = ("Δ_T1", "Δ_T3", "Δ_T2", "Δ_T4", "Δ_T5", "Δ_T")  # the paper's second task is normals
    lines.append(f"| the paper, Taskonomy | {' | '.join(paper[name] for name in order)} |")
    return "\n".join(lines)


def millions(found: list[Any], column: str) -> float:
    """A column's mean over the seeds, in millions."""
    return fmean(float(mine[column]) for mine, _ in found) / 1e6


def sizes(rows: Rows) -> str:
    """Table 4: Δ, weights that are left, operations."""
    lines = ["| | asked | Δ, % | parameters, M | MFLOP |", "|---|---|---|---|---|"]
    for backbone in BACKBONES:
        for sparsity in (0.0, 0.8, 0.85, 0.9):
            found = rows_of(rows, backbone, sparsity)
            if not found:
                continue
            left, work = ("survivors", "nonzero_flops") if sparsity else ("parameters", "flops")
            cells = [f"{sparsity:.0%}" if sparsity else "dense", gain_cell(found) if sparsity else "0"]
            cells += [f"{millions(found, left):.2f}", f"{millions(found, work):.0f}"]
            lines.append(f"| {backbone} | {' | '.join(cells)} |")
    return "\n".join(lines)


def components_over_training(backbone: str) -> Any:
    """A picture of the sparsity of each component over the training (Figure 3)."""

    def make(rows: Rows) -> Any:
        row = rows.find(backbone=backbone, tasks="three", sparsity=0.9, seed=0)
        curves = json.loads(row["curves"]) if row else {}
        return plots.sparsity_over_training(Report({"phases": {"prune": {"curves": curves, "steps": STEPS}}}))

    return make


def sensitivity_of(backbone: str) -> Any:
    """A picture of Δ after magnitude pruning without retraining (Figure 5)."""

    def make(rows: Rows) -> Any:
        row = rows.find(backbone=backbone, tasks="three", sparsity=0.0, seed=0)
        if not row:
            return canvas()[0]
        keys = [(b, h) for b in SHARED for h in HEADS]
        return plots.sensitivity_map(dict(zip(keys, json.loads(row["sensitivity"]), strict=True)), SHARED, HEADS)

    return make


def against_size(rows: Rows) -> Any:
    """Δ against the parameters and the operations that are left (Figure 4)."""
    figure, axes = canvas(columns=2, width=9.0, height=3.4)
    for backbone in BACKBONES:
        found = [several for p in (0.8, 0.85, 0.9) if (several := rows_of(rows, backbone, p))]
        deltas = [[gain(mine, other).overall for mine, other in several] for several in found]
        means, spreads = [fmean(each) for each in deltas], [stdev(each) if each[1:] else 0.0 for each in deltas]
        for axis, column in zip(axes[0], ("survivors", "nonzero_flops"), strict=True):
            left = [millions(several, column) for several in found]
            axis.errorbar(left, means, spreads, marker="o", capsize=3, label=backbone)
    axes[0, 0].set(xlabel="parameters left, M", ylabel="Δ, %")
    axes[0, 1].set(xlabel="MFLOP left")
    axes[0, 0].legend(frameon=False)
    return figure


STUDY = Study(
    key=("backbone", "tasks", "sparsity", "seed"),
    trainings=[
        *(
            {"backbone": backbone, "tasks": "three", "sparsity": sparsity, "seed": seed}
            for seed in SEEDS
            for backbone in BACKBONES
            for sparsity in (0.0, 0.8, 0.85, 0.9)
        ),
        *({"backbone": "ResNet-34", "tasks": "five", "sparsity": sparsity, "seed": 0} for sparsity in (0.0, 0.9)),
    ],
    train=train,
    seconds=130,
    tiny={"backbone": "MobileNetV2", "tasks": "five", "sparsity": 0.8, "seed": 0, "epochs": 1},
    tables={"metrics": metrics, "five": five, "sizes-and-gain": sizes},
    pictures={
        "components_resnet34": components_over_training("ResNet-34"),
        "components_mobilenet_v2": components_over_training("MobileNetV2"),
        "sensitivity_resnet34": sensitivity_of("ResNet-34"),
        "gain_against_size": against_size,
    },
)
