"""The pictures hold what the report says."""

import pytest

from dagmtl import plots
from mtl_core import Report

PATHS = {
    "a": {"read_in": [1], "read_out": [3], "layers": [[1, 2], [2, 3]]},
    "b": {"read_in": [1, 2], "read_out": [4], "layers": [[2, 3], [3, 4], [2, 4]]},
}


@pytest.fixture
def report() -> Report:
    curves = {"a": [4.0, 3.0], "b": [4.5, 2.0]}
    return Report({"paths": PATHS, "states": 4, "flow": 2, "phases": {"search": {"curves": curves}}})


def test_topologies_have_a_row_for_each_task_an_arc_for_each_connection_and_a_mark_for_each_state(
    report: Report,
) -> None:
    """Input and output are marks, too."""
    axes = plots.topologies(report).axes
    assert [axis.get_title(loc="left") for axis in axes] == ["a", "b"]
    assert [len(axis.texts) for axis in axes] == [4, 6]
    assert [len(axis.lines) for axis in axes] == [6, 6]
    ends = {(text.xyann, text.xy) for text in axes[0].texts}
    assert ends == {((1, 0), (2, 0)), ((2, 0), (3, 0)), ((0, 0), (1, 0)), ((3, 0), (5, 0))}


def test_the_matrix_has_a_cell_for_each_layer_of_the_space_and_a_stripe_for_each_task_that_uses_it(
    report: Report,
) -> None:
    """5 cells with M = 2, 5 stripes; the layer of both tasks is divided."""
    axis, *_ = plots.adjacency(report).axes
    grey = [p for p in axis.patches if p.get_width() == pytest.approx(0.9) and min(p.get_facecolor()) > 0.9]
    assert len(grey) == 5
    assert len(axis.patches) == 5 + 5
    halves = [p.get_xy() for p in axis.patches if p.get_width() == pytest.approx(0.45)]
    assert halves == [pytest.approx((2.55, 1.55)), pytest.approx((3.0, 1.55))]


def test_sharing_shows_pairs_and_skip_lengths(report: Report) -> None:
    """A task's own number on the diagonal; each layer once in the histogram."""
    left, right = plots.sharing(report).axes
    assert [text.get_text() for text in left.texts] == ["2", "1", "1", "3"]
    assert [(bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in right.patches] == [(1, 3), (2, 1)]


def test_layers_over_training_has_a_line_for_each_task(report: Report) -> None:
    """Epochs count from 1."""
    axis, *_ = plots.layers_over_training(report).axes
    assert [list(line.get_ydata()) for line in axis.lines] == [[4.0, 3.0], [4.5, 2.0]]
    assert list(axis.lines[0].get_xdata()) == [1, 2]


@pytest.mark.parametrize("plot", plots.PLOTS)
def test_a_report_without_graphs_has_no_such_picture(plot) -> None:
    """As that of the plain model."""
    assert plot(Report({})) is None


def test_against_flow_shows_performance_and_parameters() -> None:
    """Two axes over M."""
    left, right = plots.against_flow([(1, -3.0, 0.2), (3, -1.0, 0.5), (7, 0.0, 1.0)]).axes
    assert list(left.lines[0].get_ydata()) == [-3.0, -1.0, 0.0]
    assert list(right.lines[0].get_ydata()) == [20.0, 50.0, 100.0]


def test_against_sparsity_has_a_line_for_each_reduction() -> None:
    """From dense to sparse, points in order."""
    axis, *_ = plots.against_sparsity({"flow": [(0.1, -2.0), (0.5, -1.0)], "random": [(0.5, -4.0)]}).axes
    assert list(axis.lines[0].get_xdata()) == [0.1, 0.5]
    assert axis.xaxis_inverted()
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["flow", "random"]
