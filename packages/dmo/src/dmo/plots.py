"""Pictures of what DMO found; each takes the report (or what it names) and gives a matplotlib figure.

Figure numbers are those of Choi, Jin, Kim, *Task-Aware Dynamic Model Optimization for Multi-Task Learning*.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dmo.allocation import keep_ratio
from mtl_core import Report
from mtl_core.plots import COLOURS, INK, SOFT, canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKS = "osD^vPX*<>"
"""A mark for each model, or for each task."""


def similarity_matrices(report: Report) -> "Figure | None":
    """Similarity of the tasks: of their weights, of their losses, and both together."""
    if "similarity" not in report:
        return None
    from matplotlib.colors import LinearSegmentedColormap

    found, names = report.similarity, report.similarity["tasks"]
    figure, grid = canvas(1, 3, width=max(6.4, 1.5 + 1.2 * len(names)), height=1.6 + 0.28 * len(names))
    colours = LinearSegmentedColormap.from_list("alike", [COLOURS[1], "#ffffff", COLOURS[0]])
    for axes, key, title in zip(grid[0], ("S_W", "S_L", "S"), ("weights", "losses", "S"), strict=True):
        image = axes.imshow(found[key], cmap=colours, vmin=-1, vmax=1)
        axes.set_title(title, color=INK, loc="left", fontsize=9)
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
        axes.set_yticks(range(len(names)), names if key == "S_W" else [""] * len(names), fontsize=7)
        if len(names) <= 8:
            for i, row in enumerate(found[key]):
                for j, value in enumerate(row):
                    axes.text(j, i, f"{value:.2f}".replace("0.", "."), ha="center", va="center", fontsize=6, color=INK)
    figure.colorbar(image, ax=grid[0].tolist(), shrink=0.7)
    return figure


def task_graph(report: Report) -> "Figure | None":
    """Tasks with an edge where S is larger than the threshold; one colour a group (Eq. 4)."""
    if "similarity" not in report:
        return None
    names, S = report.similarity["tasks"], report.similarity["S"]
    order = [name for members in report.groups.values() for name in members]
    at = {name: 2 * math.pi * place / len(order) for place, name in enumerate(order)}
    points = {name: (math.cos(angle), math.sin(angle)) for name, angle in at.items()}
    colour = {n: COLOURS[g % len(COLOURS)] for g, members in enumerate(report.groups.values()) for n in members}
    figure, grid = canvas(width=4.6, height=3.6)
    axes = grid[0, 0]
    threshold = report.get("config", {}).get("tau_sim", -math.inf)
    for i, one in enumerate(names):
        for j, other in enumerate(names[:i]):
            if S[i][j] > threshold:
                joined = colour[one] == colour[other]
                ends = zip(points[one], points[other], strict=True)
                axes.plot(*ends, "-", color=colour[one] if joined else SOFT, linewidth=2.0 if joined else 0.8, zorder=1)
    for name, (x, y) in points.items():
        axes.plot(x, y, "o", color=colour[name], markersize=11, zorder=2)
        side = "center" if abs(x) < 0.3 else ("left" if x > 0 else "right")
        axes.text(1.14 * x, 1.14 * y, name, ha=side, va="center", fontsize=8, color=INK)
    axes.set(xlim=(-1.9, 1.9), ylim=(-1.35, 1.35))
    axes.axis("off")
    return figure


def accuracy_against_parameters(report: Report) -> "Figure | None":
    """Accuracy of each task against the parameters that it takes, beside the baseline's (Figure 3)."""
    if "allocation" not in report:
        return None
    ours = {n: part["parameters"] for n, part in report.allocation["tasks"].items()}
    points = {"DMO": _points(report.get("metrics", {}), ours)}
    for name, metrics in report.get("baselines", {}).items():
        size = report.get("parameters", {}).get(name, {}).get("parameters")
        points[name] = _points(metrics, dict.fromkeys(ours, size)) if size else {}
    points = {name: tasks for name, tasks in points.items() if tasks}
    return accuracy_figure(points) if "DMO" in points else None


def accuracy_figure(points: Mapping[str, Mapping[str, tuple[float, float]]]) -> "Figure":
    """Draw accuracies against parameters: a colour a task, a mark a model (Figures 3 and 4).

    Args:
        points: `(parameters, accuracy)` by task, by model.
    """
    tasks = list(dict.fromkeys(task for several in points.values() for task in several))
    figure, grid = canvas(height=3.2)
    axes = grid[0, 0]
    for place, (model, several) in enumerate(points.items()):
        for task, (size, accuracy) in several.items():
            colour = COLOURS[tasks.index(task) % len(COLOURS)]
            axes.plot(size, 100 * accuracy, MARKS[place % len(MARKS)], color=colour, markersize=6)
        axes.plot([], [], MARKS[place % len(MARKS)], color=SOFT, label=model)
    for place, task in enumerate(tasks):
        axes.plot([], [], "-", color=COLOURS[place % len(COLOURS)], linewidth=4, label=task)
    axes.set_xscale("log")
    axes.set(xlabel="parameters of the task", ylabel="accuracy, %")
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def pruning_against_difficulty(report: Report) -> "Figure | None":
    r"""Share of weights that each task loses by its difficulty, at $\tau$ = .25, .5 and 1 (Figure 5)."""
    if "difficulty" not in report:
        return None
    tau = report.get("config", {}).get("tau", 1.0)
    return pruning_figure(dict.fromkeys(sorted({0.25, 0.5, 1.0, tau}), report.difficulty))


def pruning_figure(
    difficulties: Mapping[float, Mapping[str, float]], legend: Mapping[float, str] | None = None
) -> "Figure":
    r"""Draw $e^{-d/\tau}$, and where the tasks lie on it (Figure 5).

    Args:
        difficulties: Difficulty by task, for each $\tau$.
        legend: What the legend says besides of each $\tau$: accuracy and parameters of a training with it.
    """
    figure, grid = canvas(height=3.0)
    axes = grid[0, 0]
    tasks: Sequence[str] = list(next(iter(difficulties.values()), {}))
    line = [i / 200 for i in range(201)]
    for place, (tau, found) in enumerate(difficulties.items()):
        colour, said = COLOURS[place % len(COLOURS)], (legend or {}).get(tau, "")
        label = f"τ = {tau:g}" + (f": {said}" if said else "")
        axes.plot(line, [100 * _pruned(d, tau) for d in line], "-", color=colour, linewidth=1.2, label=label)
        for task, d in found.items():
            mark = MARKS[tasks.index(task) % len(MARKS)]
            axes.plot(d, 100 * _pruned(d, tau), mark, color=colour, markersize=5)
    for place, task in enumerate(tasks):
        axes.plot([], [], MARKS[place % len(MARKS)], color=SOFT, label=task)
    axes.set(xlabel="difficulty d", ylabel="weights pruned, %", xlim=(-0.02, 1.02), ylim=(0, 102))
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


PLOTS = (similarity_matrices, task_graph, accuracy_against_parameters, pruning_against_difficulty)
"""The pictures of a report."""


def _pruned(d: float, tau: float) -> float:
    return 1 - keep_ratio(d, tau)


def _points(metrics: Mapping[str, Mapping[str, Any]], sizes: Mapping[str, int]) -> dict[str, tuple[float, float]]:
    return {n: (sizes[n], m["accuracy"]) for n, m in metrics.items() if "accuracy" in m and n in sizes}
