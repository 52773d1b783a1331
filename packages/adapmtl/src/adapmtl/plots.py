"""Pictures of what AdapMTL found; each takes the report (or what it names) and gives a matplotlib figure.

Figure numbers are those of Xiang et al., *AdapMTL: Adaptive pruning framework for multitask learning model*.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from mtl_core import Report
from mtl_core.plots import canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def sparsity_over_training(report: Report) -> "Figure":
    """Share of zeros in each component over the training (Figure 3)."""
    figure, grid = canvas(width=6.0, height=3.6)
    axes = grid[0, 0]
    for name, values in _curves(report, "sparsity").items():
        style = {"color": "black", "linestyle": "--"} if name == "overall" else {}
        axes.plot(_steps(report, values), [100 * v for v in values], label=name, **style)
    axes.set(xlabel="step", ylabel="zeros, %", ylim=(0, 101))
    axes.legend(frameon=False)
    return figure


def sparsity_by_component(report: Report) -> "Figure":
    """Final share of zeros, and what each threshold has learned (u), by component."""
    figure, grid = canvas(columns=2, width=10.5, height=3.6)
    axes = grid[0]
    names = list(report.components)
    axes[0].bar(names, [100 * report.components[name]["sparsity"] for name in names], color="C0")
    axes[0].axhline(100 * report.sparsity["overall"], color="black", linestyle="--", linewidth=1)
    axes[0].set(ylabel="zeros, %", ylim=(0, 101))
    axes[1].bar(list(report.thresholds), [found["u"] for found in report.thresholds.values()], color="C1")
    axes[1].axhline(0, color="black", linewidth=1)
    axes[1].set(ylabel="u (higher: more is pruned)")
    for ax in axes:
        ax.tick_params(axis="x", rotation=30)
    return figure


def sparsity_by_layer(report: Report) -> "Figure":
    """Final share of zeros in each layer, in the order of the model."""
    figure, grid = canvas(width=6.0, height=3.6)
    axes = grid[0, 0]
    place = 0
    for color, (component, layers) in enumerate(report.layers.items()):
        positions = range(place, place + len(layers))
        axes.bar(positions, [100 * share for share in layers.values()], color=f"C{color % 10}", label=component)
        place += len(layers)
    axes.set(xlabel="layer", ylabel="zeros, %", ylim=(0, 101))
    axes.legend(frameon=False)
    return figure


def beta_over_training(report: Report) -> "Figure":
    """Weight of each task's loss over the training, Eq. (6)."""
    figure, grid = canvas(width=6.0, height=3.6)
    axes = grid[0, 0]
    for name, values in _curves(report, "beta").items():
        axes.plot(_steps(report, values), values, label=name)
    axes.set(xlabel="step", ylabel="β", yscale="log")
    axes.legend(frameon=False)
    return figure


PLOTS = (sparsity_over_training, sparsity_by_component, sparsity_by_layer, beta_over_training)
"""The pictures of a report."""


def hard_and_soft(alpha: float = 0.5) -> "Figure":
    """Hard and soft threshold of a weight (Figure 2), drawn from the package's own functions."""
    from adapmtl.threshold import soft_threshold

    figure, grid = canvas(width=6.0, height=3.6)
    axes = grid[0, 0]
    weights = torch.linspace(-1.5, 1.5, 601)
    axes.plot(weights, torch.where(weights.abs() > alpha, weights, torch.nan), label="hard", color="C1")
    axes.plot(weights, soft_threshold(weights, alpha), label="soft, Eq. (2)", color="C0")
    axes.plot(weights, weights, color="grey", linewidth=0.8, linestyle=":")
    axes.set(xlabel="W", ylabel="S(W, α)", title=f"α = {alpha}")
    axes.legend(frameon=False)
    return figure


def sensitivity_map(
    deltas: Mapping[tuple[float, float], float], backbone: Sequence[float], heads: Sequence[float]
) -> "Figure":
    """Δ after magnitude pruning of backbone and heads without retraining (Figure 5), from `adapmtl.sensitivity`."""
    figure, grid = canvas(width=6.0, height=3.6)
    axes = grid[0, 0]
    cells = [[deltas[b, h] for h in heads] for b in backbone]
    image = axes.imshow(cells, cmap="viridis", origin="lower", aspect="auto")
    axes.set_xticks(range(len(heads)), [f"{h:.0%}" for h in heads])
    axes.set_yticks(range(len(backbone)), [f"{b:.0%}" for b in backbone])
    axes.set(xlabel="zeros in the heads", ylabel="zeros in the backbone")
    for row, values in enumerate(cells):
        for column, value in enumerate(values):
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", color="white", fontsize=8)
    figure.colorbar(image, label="Δ, %")
    return figure


def _curves(report: Report, name: str) -> dict[str, list[float]]:
    curves = report.phases["prune"]["curves"]
    return {key.partition(".")[2]: values for key, values in curves.items() if key.startswith(f"{name}.")}


def _steps(report: Report, values: Sequence[float]) -> list[float]:
    steps = report.phases["prune"]["steps"]
    return [steps * (i + 1) / len(values) for i in range(len(values))]
