"""Pictures of what DMTG found; each takes the report (or what it names) and gives a matplotlib figure."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mtl_core import Report
from mtl_core.plots import COLOURS, INK, canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEW = 12
"""Up to so many tasks have panels of full size."""


def probabilities_over_training(report: Report) -> "Figure":
    """softmax(Π) of each task over the epochs: a line for each group."""
    tasks = list(report.probabilities)
    columns = min(3 if len(tasks) <= FEW else 5, len(tasks))
    figure, axes = canvas(-(-len(tasks) // columns), columns, height=1.5 if len(tasks) <= FEW else 1.1, sharey=True)
    for axis, task in zip(axes.flat, tasks, strict=False):
        for j, values in enumerate(_curves(report, task)):
            axis.plot(range(1, len(values) + 1), values, color=COLOURS[j % len(COLOURS)], label=f"group{j}")
        axis.set_title(task, color=INK, loc="left", fontsize=9)
        axis.set_ylim(0, 1)
    for axis in axes.flat[len(tasks) :]:
        axis.set_visible(False)
    for axis in axes.flat[max(0, len(tasks) - columns) : len(tasks)]:
        axis.set_xlabel("epoch")
    handles = axes[0, 0].get_lines()
    names = [line.get_label() for line in handles]
    figure.legend(handles, names, loc="outside upper right", ncols=4, frameon=False, fontsize=8)
    return figure


def assignment_matrix(report: Report) -> "Figure":
    """The final softmax(Π), a row for each task; framed is the group that the task went into."""
    from matplotlib.patches import Rectangle

    tasks = list(report.probabilities)
    rows = [report.probabilities[task] for task in tasks]
    figure, grid = canvas(width=2.2 + 0.55 * len(rows[0]), height=0.7 + 0.24 * len(tasks))
    axis = grid[0, 0]
    image = axis.imshow(rows, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for place, task in enumerate(tasks):
        group = next(name for name, members in report.groups.items() if task in members)
        corner = int(group.removeprefix("group")) - 0.5, place - 0.5
        axis.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=COLOURS[5], linewidth=1.5))
    axis.set_xticks(range(len(rows[0])), [f"group{j}" for j in range(len(rows[0]))], rotation=30)
    axis.set_yticks(range(len(tasks)), tasks)
    figure.colorbar(image, label="probability")
    return figure


def norm_gain_bars(gains: Mapping[str, float]) -> "Figure":
    """NormGain of several trainings against naive multi-task learning, which is 0.

    Args:
        gains: `dmtg.norm_gain` by the name of the training.
    """
    figure, grid = canvas(width=6.0, height=0.6 + 0.3 * len(gains))
    axis = grid[0, 0]
    axis.barh(range(len(gains)), list(gains.values()), color=[COLOURS[int(v < 0)] for v in gains.values()])
    axis.set_yticks(range(len(gains)), list(gains))
    axis.invert_yaxis()
    axis.axvline(0, color=INK, linewidth=1)
    axis.set_xlabel("NormGain, %: higher is better")
    return figure


PLOTS = (assignment_matrix, probabilities_over_training)
"""The pictures of a report."""


def _curves(report: Report, task: str) -> list[list[float]]:
    curves = report.phases["search"]["curves"]
    return [curves[f"{task}.{j}"] for j in range(len(report.probabilities[task]))]
