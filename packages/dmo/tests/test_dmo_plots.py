"""The pictures hold what the report says."""

import math
import sys

import pytest

import dmo
from mtl_core import Report

plots = sys.modules["dmo.plots"]


@pytest.fixture
def report() -> Report:
    return Report(
        {
            "config": {"tau_sim": 0.5, "tau": 2.0},
            "groups": {"group0": ["a", "c"], "group1": ["b"]},
            "similarity": {
                "tasks": ["a", "b", "c"],
                "S_W": [[1, 0.1, 0.2], [0.1, 1, 0.3], [0.2, 0.3, 1]],
                "S_L": [[1, 0.5, 0.9], [0.5, 1, 0.95], [0.9, 0.95, 1]],
                "S": [[1, 0.3, 0.55], [0.3, 1, 0.625], [0.55, 0.625, 1]],
            },
            "difficulty": {"a": 0.0, "b": 0.5, "c": 1.0},
            "allocation": {
                "tasks": {n: {"weights": 10, "parameters": p} for n, p in (("a", 10), ("b", 20), ("c", 30))}
            },
            "metrics": {n: {"accuracy": v} for n, v in (("a", 0.9), ("b", 0.8), ("c", 0.7))},
            "baselines": {"dense": {n: {"accuracy": 0.5} for n in "abc"}},
            "parameters": {"dense": {"parameters": 400}},
        }
    )


def test_three_matrices_stand_side_by_side(report: Report) -> None:
    """Weights, losses, both; with the values written in."""
    axes = plots.similarity_matrices(report).axes
    assert [ax.get_title(loc="left") for ax in axes[:3]] == ["weights", "losses", "S"]
    assert axes[2].images[0].get_array().tolist() == report.similarity["S"]
    assert [text.get_text() for text in axes[1].texts[:3]] == ["1.00", ".50", ".90"]


def test_edges_are_above_the_threshold_and_thick_within_groups(report: Report) -> None:
    """a-c joins a group, b-c does not, a-b is no edge; the groups' colours differ."""
    axes = plots.task_graph(report).axes[0]
    lines = [line for line in axes.lines if len(line.get_xdata()) == 2]
    assert sorted(line.get_linewidth() for line in lines) == [0.8, 2.0]
    points = [line for line in axes.lines if len(line.get_xdata()) == 1]
    colours = dict(zip([text.get_text() for text in axes.texts], [p.get_color() for p in points], strict=True))
    assert colours["a"] == colours["c"] != colours["b"]


def test_accuracies_stand_over_the_parameters_of_each_task(report: Report) -> None:
    """DMO's own, and those of the whole network for the baseline; nothing without measured accuracies."""
    axes = plots.accuracy_against_parameters(report).axes[0]
    points = [(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if len(line.get_xdata())]
    assert points == [(10, 90), (20, 80), (30, 70), (400, 50), (400, 50), (400, 50)]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["DMO", "dense", "a", "b", "c"]
    assert axes.get_xscale() == "log"
    bare = Report({name: report[name] for name in report if name != "metrics"})
    assert plots.accuracy_against_parameters(bare) is None


def test_pruning_falls_with_difficulty_faster_at_lower_temperatures(report: Report) -> None:
    """A curve for each temperature, the configured one included, and a point for each task on it."""
    axes = plots.pruning_against_difficulty(report).axes[0]
    curves = [line for line in axes.lines if len(line.get_xdata()) > 1]
    assert [curve.get_label() for curve in curves] == ["τ = 0.25", "τ = 0.5", "τ = 1", "τ = 2"]
    assert [curve.get_ydata()[-1] for curve in curves] == pytest.approx(
        [100 * math.exp(-1 / tau) for tau in (0.25, 0.5, 1, 2)]
    )
    points = [line for line in axes.lines if len(line.get_xdata()) == 1]
    assert len(points) == 12
    assert points[1].get_ydata()[0] == pytest.approx(100 * (1 - dmo.keep_ratio(0.5, tau=0.25)))
    labelled = plots.pruning_figure({1.0: {"a": 0.5}}, {1.0: "80 %, 1,000 parameters"})
    assert labelled.axes[0].lines[0].get_label() == "τ = 1: 80 %, 1,000 parameters"


def test_without_findings_there_is_no_picture() -> None:
    """A report of something else."""
    assert [plot(Report({})) for plot in plots.PLOTS] == [None] * 4
