"""The pictures of every report: losses, figures beside those of the baselines, predictions beside the truth.

Functions `report -> matplotlib figure` (None where the report lacks what they draw); the name and the first line of the
docstring become file name and caption. `canvas` gives the shared style to methods' own plots. Figures are made without pyplot, so
that no global state is touched, and in colours that colour-blind readers tell apart.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#5B5B5B", "#F0E442")
"""Okabe and Ito's colours, the first for the model that a report is about."""

INK, SOFT = "#1b1f24", "#6a737d"
COLUMNS = 3


def canvas(
    rows: int = 1, columns: int = 1, *, width: float = 6.4, height: float = 1.7, **options: Any
) -> tuple[Any, Any]:
    """Make a figure in the shared style.

    Args:
        rows: Rows of axes.
        columns: Columns of axes.
        width: Inches in all.
        height: Inches per row.
        options: Passed to `Figure.subplots`, for example `sharex`.

    Returns:
        The figure and its axes, `[rows, columns]`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, max(1.3, height * rows)), layout="constrained", facecolor="white")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(SOFT)
        axis.tick_params(colors=SOFT, labelcolor=INK, labelsize=8)
        axis.title.set_fontsize(9)
        axis.xaxis.label.set_fontsize(8)
        axis.yaxis.label.set_fontsize(8)
    return figure, axes


def loss_history(report: Mapping[str, Any]) -> Any:
    """Mean training loss of each task, epoch by epoch; each task in the unit of its own loss."""
    curves = _curves(report)
    tasks = list(dict.fromkeys(task for _, task, _, _ in curves))
    if not tasks:
        return None
    rows, columns = _grid(len(tasks))
    figure, axes = canvas(rows, columns)
    labels = list(dict.fromkeys(label for label, _, _, _ in curves))
    handles: dict[str, Any] = {}
    for axis, task in zip(axes.flat, tasks, strict=False):
        for label, name, start, values in curves:
            if name == task:
                epochs = range(start + 1, start + len(values) + 1)
                style = "o" if len(values) == 1 else "-"
                colour = COLOURS[labels.index(label) % len(COLOURS)]
                (handles[label],) = axis.plot(epochs, values, style, color=colour, markersize=4, linewidth=1.5)
        axis.set_title(_with_unit(task, _fact(report, task, 3, "")), color=INK, loc="left", fontsize=9)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(axis="y", color="#e8eaed", linewidth=0.8)
    _finish(figure, axes, len(tasks), "epoch")
    if len(labels) > 1:
        figure.legend(handles.values(), handles.keys(), loc="outside upper right", ncols=4, frameon=False, fontsize=8)
    return figure


def metrics_beside(report: Mapping[str, Any]) -> Any:
    """Every metric of every task, this model's beside the baselines'; the arrow says which direction is better."""
    ours: Mapping[str, Mapping[str, float]] = report.get("metrics", {})
    models = {"ours": ours, **report.get("baselines", {})}
    panels = [(task, metric) for task, figures in ours.items() for metric in figures]
    if not panels:
        return None
    rows, columns = _grid(len(panels))
    figure, axes = canvas(rows, columns, height=0.42 + 0.22 * len(models))
    for axis, (task, metric) in zip(axes.flat, panels, strict=False):
        values = [figures.get(task, {}).get(metric, math.nan) for figures in models.values()]
        lengths = np.nan_to_num(values)
        # A list: matplotlib 3.8 takes a tuple of two for a colour and its opacity.
        axis.barh(range(len(values)), lengths, color=list(COLOURS[: len(values)]), height=0.72)
        axis.invert_yaxis()
        reach = max(float(np.abs(lengths).max()), 1e-12)
        axis.set_xlim(min(0.0, 1.35 * float(lengths.min())), 1.35 * reach)
        for place, (value, length) in enumerate(zip(values, lengths, strict=True)):
            text = "not measured" if math.isnan(value) else f"{value:.3g}"
            axis.text(max(length, 0) + 0.03 * reach, place, text, va="center", fontsize=8, color=INK)
        axis.set_yticks(range(len(values)), list(models))
        axis.set_xticks([])
        axis.spines["bottom"].set_visible(False)
        axis.tick_params(axis="y", length=0)
        arrow = {True: " ↑", False: " ↓"}.get(report.get("directions", {}).get(metric), "")
        axis.set_title(f"{task}: {metric.replace('_', ' ')}{arrow}", color=INK, loc="left", fontsize=8.5)
    _finish(figure, axes, len(panels), "")
    return figure


def _curves(report: Mapping[str, Any]) -> list[tuple[str, str, int, list[float]]]:
    """`(label, task, epochs before, losses)` of each phase and task; phases of one model follow each other."""
    found = []
    runs = {"ours": report.get("phases", {}), **report.get("baseline_phases", {})}
    for run, phases in runs.items():
        before: dict[str, int] = {}
        several = sum(bool(facts.get("history")) for facts in phases.values()) > 1
        for phase, facts in phases.items():
            for task, values in facts.get("history", {}).items():
                label = run if task == phase or not several else f"{run}, {phase}"
                found.append((label, task, before.get(task, 0), values))
                before[task] = before.get(task, 0) + len(values)
    return found


def _grid(panels: int) -> tuple[int, int]:
    columns = 2 if panels == 4 else min(COLUMNS, panels)
    return -(-panels // columns), columns


def _finish(figure: Any, axes: Any, used: int, label: str) -> None:
    for axis in axes.flat[used:]:
        axis.set_visible(False)
    for axis in axes.flat[max(0, used - axes.shape[1]) : used]:
        axis.set_xlabel(label, color=SOFT)


def _fact(report: Mapping[str, Any], task: str, place: int, default: Any) -> Any:
    facts = report.get("tasks", {}).get(task, ())
    return facts[place] if len(facts) > place else default


def _with_unit(task: str, unit: str) -> str:
    return f"{task} ({unit})" if unit else task
