"""The pictures hold what the report says."""

import pytest

from dmtg import plots
from mtl_core import Report


@pytest.fixture
def report() -> Report:
    curves = {"a.0": [0.5, 0.8], "a.1": [0.5, 0.2], "b.0": [0.5, 0.3], "b.1": [0.5, 0.7]}
    return Report(
        {
            "phases": {"search": {"curves": curves, "steps": 20}},
            "probabilities": {"a": [0.8, 0.2], "b": [0.3, 0.7]},
            "groups": {"group0": ["a"], "group1": ["b"]},
        }
    )


def test_probabilities_over_training_has_a_panel_for_each_task_and_a_line_for_each_group(report: Report) -> None:
    """Epochs across, counted from 1."""
    first, second = plots.probabilities_over_training(report).axes
    assert (first.get_title(loc="left"), second.get_title(loc="left")) == ("a", "b")
    assert [list(line.get_ydata()) for line in first.lines] == [[0.5, 0.8], [0.5, 0.2]]
    assert list(second.lines[1].get_xdata()) == [1, 2]


def test_probabilities_of_many_tasks_have_a_place_each() -> None:
    """Forty panels; those that are left over are not shown."""
    curves = {f"t{i}.0": [1.0] for i in range(43)}
    values = {"probabilities": {f"t{i}": [1.0] for i in range(43)}, "phases": {"search": {"curves": curves}}}
    axes = plots.probabilities_over_training(Report(values)).axes
    assert sum(axis.get_visible() for axis in axes) == 43


def test_the_assignment_matrix_shows_probabilities_and_frames_the_group_of_each_task(report: Report) -> None:
    """A row for each task, a column for each group."""
    axis, *_ = plots.assignment_matrix(report).axes
    assert axis.images[0].get_array().tolist() == [[0.8, 0.2], [0.3, 0.7]]
    assert [patch.get_xy() for patch in axis.patches] == [(-0.5, -0.5), (0.5, 0.5)]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["a", "b"]


def test_norm_gain_bars_show_each_training() -> None:
    """In the order given, in percent."""
    axis, *_ = plots.norm_gain_bars({"single tasks": -8.7, "ours": 5.75}).axes
    assert [bar.get_width() for bar in axis.patches] == [-8.7, 5.75]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["single tasks", "ours"]
