"""Pictures of what was found; each takes the report (or what it names) and gives a matplotlib figure.

Figure numbers are those of Choi and Im, *Dynamic Neural Network for Multi-Task Learning Searching across Diverse Network
Topologies*.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dagmtl.topology import shared_layers
from dagmtl.topology import skip_lengths as count_skips
from mtl_core import Report
from mtl_core.plots import COLOURS, INK, SOFT, canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def topologies(report: Report) -> "Figure | None":
    """Each task's graph: the input left, the states, the output right; arcs are layers, dashed ends have none (Figure 3)."""
    return topology_figure(report.paths, report.states) if "paths" in report else None


def topology_figure(paths: Mapping[str, Mapping[str, Any]], states: int) -> "Figure":
    """Draw subgraphs, a row a task.

    Args:
        paths: `read_in`, `read_out` and `layers` by task; states count from 1.
        states: How many there are, N.
    """
    figure, axes = canvas(len(paths), 1, height=1.25)
    for place, (axis, (task, path)) in enumerate(zip(axes[:, 0], paths.items(), strict=True)):
        colour = COLOURS[place % len(COLOURS)]
        used = {*path["read_in"], *path["read_out"], *(state for layer in path["layers"] for state in layer)}
        for i, j in path["layers"]:
            _arc(axis, i, j, colour, upwards=True)
        for ends, dashed in (
            ([(0, j) for j in path["read_in"]], "--"),
            ([(i, states + 1) for i in path["read_out"]], ":"),
        ):
            for i, j in ends:
                _arc(axis, i, j, SOFT, upwards=False, style=dashed)
        for state in range(states + 2):
            end = state in (0, states + 1)
            shown = "black" if end else colour if state in used else "#d0d5da"
            axis.plot(state, 0, "s" if end else "o", color=shown, markersize=6, zorder=3)
        names = ["$v_0$", *map(str, range(1, states + 1)), "$v_L$"]
        axis.set_xticks(range(states + 2), names, fontsize=7)
        axis.set(xlim=(-0.6, states + 1.6), ylim=(-1.1, 1.1), yticks=[])
        axis.spines[["left", "bottom"]].set_visible(False)
        axis.set_title(task, color=INK, loc="left", fontsize=9)
    return figure


def adjacency(report: Report) -> "Figure | None":
    """Which tasks use a layer: from the row's state to the column's; grey could have been chosen (Figure 3d)."""
    return adjacency_figure(report.paths, report.states, report.flow) if "paths" in report else None


def adjacency_figure(paths: Mapping[str, Mapping[str, Any]], states: int, flow: int) -> "Figure":
    """Draw the layers of all tasks into one matrix; a layer of several tasks has a stripe of each.

    Args:
        paths: As for `topology_figure`.
        states: How many there are, N.
        flow: Flow constant M.
    """
    from matplotlib.patches import Patch, Rectangle

    figure, axes = canvas(width=4.6, height=4.0)
    axis = axes[0, 0]
    users: dict[tuple[int, int], list[int]] = {}
    for place, path in enumerate(paths.values()):
        for i, j in path["layers"]:
            users.setdefault((i, j), []).append(place)
    for i in range(1, states + 1):
        for j in range(i + 1, min(states, i + flow) + 1):
            mine = users.get((i, j), [])
            axis.add_patch(Rectangle((j - 0.45, i - 0.45), 0.9, 0.9, facecolor="#eef0f2", linewidth=0))
            for stripe, place in enumerate(mine):
                left = j - 0.45 + 0.9 * stripe / len(mine)
                colour = COLOURS[place % len(COLOURS)]
                axis.add_patch(Rectangle((left, i - 0.45), 0.9 / len(mine), 0.9, facecolor=colour, linewidth=0))
    axis.set(xlim=(0.4, states + 0.6), ylim=(states + 0.6, 0.4), aspect="equal", xlabel="to state", ylabel="from state")
    axis.set_xticks(range(1, states + 1))
    axis.set_yticks(range(1, states + 1))
    handles = [Patch(color=COLOURS[place % len(COLOURS)], label=task) for place, task in enumerate(paths)]
    axis.legend(handles=handles, frameon=False, fontsize=7, loc="lower left")
    return figure


def sharing(report: Report) -> "Figure | None":
    """Layers that each pair of tasks has in common (a task's own on the diagonal), and how far layers lead (Section 4.3)."""
    return sharing_figure({task: path["layers"] for task, path in report.paths.items()}) if "paths" in report else None


def sharing_figure(layers: Mapping[str, Sequence[Sequence[int]]]) -> "Figure":
    """Draw layers shared per pair of tasks, and a histogram of skip lengths.

    Args:
        layers: `(from, to)` by task.
    """
    names = list(layers)
    pairs = shared_layers(layers)
    pairs |= {(other, one): count for (one, other), count in pairs.items()}
    cells = [[pairs.get((a, b), len(layers[a])) for b in names] for a in names]
    figure, axes = canvas(1, 2, height=max(2.6, 0.3 * len(names) + 1.6))
    left, right = axes[0]
    left.imshow(cells, cmap="Blues", vmin=0)
    for y, row in enumerate(cells):
        for x, count in enumerate(row):
            dark = count > 0.6 * max(map(max, cells))
            left.text(x, y, str(count), ha="center", va="center", fontsize=7, color="white" if dark else INK)
    left.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    left.set_yticks(range(len(names)), names, fontsize=7)
    left.set_title("layers in common", color=INK, loc="left", fontsize=9)
    counts = count_skips(layers)
    right.bar(list(counts), list(counts.values()), color=COLOURS[0])
    right.set(xlabel="states that a layer leads on", ylabel="layers", xlim=(0.4, max([*counts, 5]) + 0.6))
    right.xaxis.get_major_locator().set_params(integer=True)
    right.yaxis.get_major_locator().set_params(integer=True)
    return figure


def layers_over_training(report: Report) -> "Figure | None":
    """What each task's layers add up to over the search, after the sigmoid; the squeeze loss pushes it down to its budget."""
    curves = report.get("phases", {}).get("search", {}).get("curves")
    if not curves:
        return None
    figure, axes = canvas(height=2.4)
    for place, (task, values) in enumerate(curves.items()):
        colour = COLOURS[place % len(COLOURS)]
        axes[0, 0].plot(range(1, len(values) + 1), values, "o-", markersize=3, color=colour, label=task)
    axes[0, 0].set(xlabel="epoch of the search", ylabel="sum of σ(γ)", ylim=(0, None))
    axes[0, 0].legend(frameon=False, fontsize=7)
    return figure


def against_flow(points: Sequence[tuple[int, float, float]]) -> "Figure":
    """Performance and parameters against the flow constant, relative to the complete graph (Figure 4).

    Args:
        points: `(M, performance against the complete graph in percent, parameters as a share of its)`.
    """
    figure, axes = canvas(height=2.6, width=5.0)
    axis, across = axes[0, 0], [M for M, _, _ in points]
    axis.plot(across, [p for _, p, _ in points], "o-", color=COLOURS[0], markersize=4)
    axis.axhline(0, color=SOFT, linewidth=0.8)
    axis.set(xlabel="flow constant M", ylabel="performance, %")
    axis.set_xticks(across)
    right = axis.twinx()
    right.plot(across, [100 * share for _, _, share in points], "s--", color=COLOURS[6], markersize=4)
    right.set_ylim(0, None)
    right.set_ylabel("parameters, %", fontsize=8, color=COLOURS[6])
    right.tick_params(labelsize=8, colors=SOFT)
    return figure


def against_sparsity(curves: Mapping[str, Sequence[tuple[float, float]]]) -> "Figure":
    """Performance against the share of layers that is kept, for several reductions (Figure 5).

    Args:
        curves: `(S, performance against the network that was not reduced, in percent)` by reduction.
    """
    figure, axes = canvas(height=2.6, width=5.0)
    axis = axes[0, 0]
    for place, (name, points) in enumerate(curves.items()):
        ordered = sorted(points)
        axis.plot(
            [s for s, _ in ordered], [p for _, p in ordered], "o-", markersize=4, color=COLOURS[place], label=name
        )
    axis.axhline(0, color=SOFT, linewidth=0.8)
    axis.invert_xaxis()
    axis.set(xlabel="share of layers kept, S", ylabel="performance, %")
    axis.legend(frameon=False, fontsize=8)
    return figure


PLOTS = (topologies, adjacency, sharing, layers_over_training)
"""The pictures of a report."""


def _arc(axis: Any, i: float, j: float, colour: str, *, upwards: bool, style: str = "-") -> None:
    """An arc from one state to another, higher the farther it leads."""
    bend = -0.16 - 0.5 / (1 + abs(j - i)) if upwards else 0.16 + 0.3 / (1 + abs(j - i))
    arrow = {"arrowstyle": "-|>", "color": colour, "linestyle": style, "connectionstyle": f"arc3,rad={bend:.3f}"}
    axis.annotate("", (j, 0), (i, 0), arrowprops={**arrow, "linewidth": 1.2, "shrinkA": 4, "shrinkB": 4})
