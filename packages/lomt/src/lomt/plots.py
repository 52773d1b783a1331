"""Pictures of what LOMT found; each takes the report (or what it names) and gives a matplotlib figure.

Figure numbers are those of Upadhyay et al., *Giving each task what it needs*.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mtl_core import Report
from mtl_core.plots import COLOURS, INK, SOFT, canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def sparsity_pattern(report: Report) -> "Figure | None":
    """Channels left in each layer of each task's own network; squares are the layers that decoders take (Figure 2)."""
    if "sparsity" not in report:
        return None
    patterns = {task: found["pattern"] for task, found in report.sparsity.items()}
    return pattern_figure(patterns, report.layers)


def pattern_figure(patterns: Mapping[str, Mapping[str, float]], layers: Mapping[str, str]) -> "Figure":
    """Draw sparsity patterns: a row a task, a column a layer.

    Args:
        patterns: Share of groups left by layer, by task.
        layers: The chosen layer by task.
    """
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle

    names = list(next(iter(patterns.values())))
    tall = 1.0 + 0.24 * len(patterns) + 0.06 * max(len(name) for name in names)
    figure, grid = canvas(width=max(4.0, min(11.0, 1.6 + 0.36 * len(names))), height=tall)
    axes = grid[0, 0]
    cells = [[pattern.get(name, math.nan) for name in names] for pattern in patterns.values()]
    colours = LinearSegmentedColormap.from_list("left", ["#ffffff", COLOURS[4], COLOURS[0]])
    image = axes.imshow(cells, cmap=colours, vmin=0, vmax=1, aspect="auto")
    for row, task in enumerate(patterns):
        if layers.get(task) in names:
            place = names.index(layers[task])
            axes.add_patch(Rectangle((place - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=COLOURS[1], linewidth=2.5))
        for column, value in enumerate(cells[row]):
            if value == 0:
                axes.text(column, row, "0", ha="center", va="center", color=SOFT, fontsize=7)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.set_yticks(range(len(patterns)), list(patterns))
    figure.colorbar(image, ax=axes, label="channels left", shrink=0.8)
    return figure


def sparsity_over_training(report: Report) -> "Figure | None":
    """Share of zero weights in each task's own backbone over phase 1."""
    if "sparsity" not in report:
        return None
    figure, grid = canvas(height=2.6)
    axes = grid[0, 0]
    for place, task in enumerate(report.layers):
        values = report.phases[report.sparsity[task]["phase"]]["curves"]["zero weights"]
        axes.plot(range(1, len(values) + 1), [100 * v for v in values], label=task, color=COLOURS[place % len(COLOURS)])
    _finish(axes, "epoch")
    return figure


def sparsity_by_size(curves: Mapping[str, Sequence[float]], across: str = "epoch") -> "Figure":
    """Share of zero weights over training, for several sizes of the training set (Figure 4).

    Args:
        curves: Shares, one an epoch, by what the legend says; points of all curves are spread over the same length.
        across: What goes across.
    """
    figure, grid = canvas(height=2.6)
    axes = grid[0, 0]
    longest = max(len(values) for values in curves.values())
    for place, (name, values) in enumerate(curves.items()):
        steps = [longest * (i + 1) / len(values) for i in range(len(values))]
        axes.plot(steps, [100 * v for v in values], label=name, color=COLOURS[place % len(COLOURS)])
    _finish(axes, across)
    return figure


def against_lambda(report: Report) -> "Figure | None":
    """Share of zero weights (dashed, right) and validation metric (left) of each task's network against λ (Figure 5)."""
    rows = report.get("grid")
    return lambda_figure(rows) if rows else None


def lambda_figure(rows: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draw the rows of a grid: a panel a task.

    Args:
        rows: As in the report of `lambda_grid`; the first metric of each task is drawn, or its loss where it has none.
    """
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    figure, grid = canvas(1, len(tasks), width=max(4.0, 3.2 * len(tasks)), height=2.6)
    for axes, task in zip(grid[0], tasks, strict=True):
        mine = sorted((row for row in rows if row["task"] == task), key=lambda row: row["lambda"])
        metric = next(iter(mine[0]["metrics"]), None)
        values = [row["metrics"][metric] if metric else row["loss"] for row in mine]
        axes.plot([row["lambda"] for row in mine], values, "o-", color=COLOURS[0], markersize=4)
        if all(row["lambda"] > 0 for row in mine):
            axes.set_xscale("log")
        axes.set_title(f"{task}: {(metric or 'loss').replace('_', ' ')}", color=INK, loc="left", fontsize=9)
        axes.set_xlabel("λ")
        right = axes.twinx()
        zeros = [100 * row["zero weights"] for row in mine]
        right.plot([row["lambda"] for row in mine], zeros, "s--", color=COLOURS[1], markersize=4)
        right.set_ylim(0, 101)
        right.set_ylabel("zero weights, %", fontsize=8, color=COLOURS[1])
        right.tick_params(labelsize=8, colors=SOFT)
    return figure


def activation_maps(images: Tensor, maps: Mapping[str, Tensor]) -> "Figure":
    """Draw class-activation maps over images: a row an image, a column a model (Figure 3).

    Args:
        images: `[images, channels, h, w]`, in [0, 1].
        maps: `[images, h, w]`, from 0 to 1, by what the column is called.
    """
    columns = 1 + len(maps)
    height = 6.4 / columns * images.shape[2] / images.shape[3] + 0.08
    figure, axes = canvas(len(images), columns, height=height)
    for row, image in enumerate(images):
        shown = image.permute(1, 2, 0) if len(image) == 3 else image[0]
        for place in range(columns):
            axes[row, place].imshow(shown.numpy(), cmap="gray", vmin=0, vmax=1)
            axes[row, place].set_xticks([])
            axes[row, place].set_yticks([])
        for place, values in enumerate(maps.values(), 1):
            axes[row, place].imshow(values[row].numpy(), cmap="inferno", vmin=0, vmax=1, alpha=0.6)
    for place, name in enumerate(["input", *maps]):
        axes[0, place].set_title(name, color=INK, fontsize=9)
    return figure


PLOTS = (sparsity_pattern, sparsity_over_training, against_lambda)
"""The pictures of a report."""


def _finish(axes: Any, across: str) -> None:
    axes.set(xlabel=across, ylabel="zero weights, %", ylim=(0, 101))
    axes.legend(frameon=False, fontsize=8)
