"""The pictures hold what the report says."""

import pytest
import torch

from adapmtl import plots
from mtl_core import Report


@pytest.fixture
def report() -> Report:
    curves = {"sparsity.backbone": [0.0, 0.4, 0.8], "sparsity.overall": [0.0, 0.45, 0.9], "beta.a": [5.0, 4.0, 3.0]}
    return Report(
        {
            "phases": {"prune": {"curves": curves, "steps": 300}},
            "sparsity": {"backbone": 0.8, "head.a": 0.95, "overall": 0.9},
            "components": {"backbone": {"weights": 10, "sparsity": 0.8}, "head.a": {"weights": 20, "sparsity": 0.95}},
            "thresholds": {"backbone": {"u": -0.1, "alpha": 0.01}, "head.a": {"u": 0.05, "alpha": 0.02}},
            "layers": {"backbone": {"conv": 0.8}, "head.a": {"0": 0.9, "1": 1.0}},
        }
    )


def test_sparsity_over_training_shows_each_component_in_percent(report: Report) -> None:
    """Steps across, percent up, the whole model dashed."""
    lines = {line.get_label(): line for line in plots.sparsity_over_training(report).axes[0].lines}
    assert list(lines["backbone"].get_ydata()) == [0.0, 40.0, 80.0]
    assert list(lines["overall"].get_xdata()) == [100.0, 200.0, 300.0]
    assert lines["overall"].get_linestyle() == "--"


def test_sparsity_by_component_shows_shares_and_u(report: Report) -> None:
    """Two bar charts beside each other."""
    shares, learned = plots.sparsity_by_component(report).axes
    assert [bar.get_height() for bar in shares.patches] == [80.0, 95.0]
    assert [bar.get_height() for bar in learned.patches] == [-0.1, 0.05]


def test_sparsity_by_layer_has_a_bar_for_each_layer(report: Report) -> None:
    """In the order of the model."""
    assert [bar.get_height() for bar in plots.sparsity_by_layer(report).axes[0].patches] == [80.0, 90.0, 100.0]


def test_beta_over_training_shows_each_task(report: Report) -> None:
    """The weights of Eq. (6) as they were."""
    (line,) = plots.beta_over_training(report).axes[0].lines
    assert list(line.get_ydata()) == [5.0, 4.0, 3.0]


def test_the_soft_threshold_shrinks_and_the_hard_one_does_not() -> None:
    """Figure 2: at W = 1.5 and alpha = .5 soft gives 1, hard 1.5."""
    lines = {line.get_label(): line.get_ydata() for line in plots.hard_and_soft(0.5).axes[0].lines}
    assert lines["soft, Eq. (2)"][-1] == torch.tensor(1.0)
    assert lines["hard"][-1] == torch.tensor(1.5)
