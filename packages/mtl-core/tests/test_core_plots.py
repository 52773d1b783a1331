"""Pictures: drawn without global state, from what is there, white where nothing is labelled."""

import sys
from typing import Any

import numpy as np
import pytest
import torch

from mtl_core.plots import COLOURS, canvas, loss_history, metrics_beside
from mtl_core.predictions import CLASS_COLOURS, _coloured, _labelled, predictions

REPORT: dict[str, Any] = {
    "tasks": {"parts": [3, True, 1.0, "nats"], "kind": [4, False, 1.0, "nats"]},
    "phases": {"search": {"history": {"parts": [3.0, 2.0]}}, "train": {"history": {"parts": [1.0], "kind": [0.5]}}},
    "baseline_phases": {"dense": {"train": {"history": {"parts": [4.0, 3.0, 2.0]}}}},
    "metrics": {"parts": {"mIoU": 0.5}, "kind": {"accuracy": float("nan")}},
    "baselines": {"dense": {"parts": {"mIoU": 0.4}, "kind": {"accuracy": 0.9}}},
    "directions": {"mIoU": True, "accuracy": True},
}


def lines(axis: Any) -> list[tuple[list[float], list[float]]]:
    return [(list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines]


def test_losses_of_phases_follow_each_other() -> None:
    """A second phase begins where the first ended; the baseline has its own line; each task has its own axes."""
    figure = loss_history(REPORT)
    parts, kind = figure.axes
    assert lines(parts) == [([1, 2], [3.0, 2.0]), ([3], [1.0]), ([1, 2, 3], [4.0, 3.0, 2.0])]
    assert lines(kind) == [([1], [0.5])]
    assert parts.get_title(loc="left") == "parts (nats)"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ours, search", "ours, train", "dense"]


def test_each_metric_has_a_bar_of_each_model() -> None:
    """Bars are the figures; what was not measured is said; the arrow gives the direction."""
    figure = metrics_beside(REPORT)
    miou, accuracy = figure.axes
    assert [bar.get_width() for bar in miou.patches] == [0.5, 0.4]
    assert [text.get_text() for text in accuracy.texts] == ["not measured", "0.9"]
    assert miou.get_title(loc="left") == "parts: mIoU ↑"
    assert [label.get_text() for label in miou.get_yticklabels()] == ["ours", "dense"]


@pytest.mark.parametrize("plot", [loss_history, metrics_beside])
def test_nothing_to_draw_gives_no_figure(plot: Any) -> None:
    """A report that lacks what a plot draws has no such picture."""
    assert plot({}) is None


def test_a_negative_figure_is_drawn_to_the_left() -> None:
    """A user's own metric may be negative, or zero everywhere."""
    (axis,) = metrics_beside({"metrics": {"a": {"score": -2.0}}}).axes
    assert axis.get_xlim()[0] < -2
    (axis,) = metrics_beside({"metrics": {"a": {"score": 0.0}}}).axes
    assert axis.get_xlim()[1] > 0


def test_no_plot_touches_pyplot() -> None:
    """Figures are made without the global state of pyplot."""
    before = "matplotlib.pyplot" in sys.modules
    canvas(2, 3)
    loss_history(REPORT)
    assert ("matplotlib.pyplot" in sys.modules) == before


def test_unlabelled_pixels_are_white() -> None:
    """255, 0 metres, the zero vector and NaN are white in the truth; a prediction covers every pixel."""
    truth = {
        "nats": np.array([[0, 255]]),
        "metres": np.array([[[2.0, 0.0]]]),
        "1 - cosine": np.array([[[0.0, 0.0]], [[0.0, 0.0]], [[1.0, 0.0]]]),
        "balanced nats": np.array([[[1.0, np.nan]]]),
        "share": np.array([[[0.0, np.nan]]]),
    }
    for kind, values in truth.items():
        known = _labelled(values, kind)
        assert known.tolist() == [[True, False]]
        picture = _coloured(values, kind, (1.0, 3.0), known)
        assert picture.shape == (1, 2, 3)
        assert picture[0, 1].tolist() == [1.0, 1.0, 1.0]
    assert _coloured(truth["share"], "share", (0, 1), np.array([[True, True]]))[0, 0].tolist() == [0.0, 0.0, 0.0]


def test_depth_shares_its_scale_between_truth_and_predictions() -> None:
    """The same depth has the same colour in both; what lies outside the truth's range has the colour of its end."""
    limits, everything = (1.0, 3.0), np.array([[True]])
    same = [_coloured(np.full((1, 1, 1), 2.0), "metres", limits, everything) for _ in range(2)]
    assert np.array_equal(*same)
    far = [_coloured(np.full((1, 1, 1), metres), "metres", limits, everything) for metres in (3.0, 30.0)]
    assert np.array_equal(*far)


def test_colours_are_different() -> None:
    """No two classes, and no two models, have one colour."""
    assert len(set(CLASS_COLOURS)) == 24
    assert len(set(COLOURS)) == len(COLOURS)


def test_predictions_have_a_picture_per_map_and_one_for_all_images() -> None:
    """Dense tasks have a figure each with input, truth and every model; image-level tasks share one."""
    maps, classes = torch.zeros(2, 4, 4, dtype=torch.uint8), torch.tensor([1, -1])
    samples = {
        "input/0": torch.rand(2, 3, 4, 4),
        "truth/0/parts": maps,
        "prediction/0/dense/parts": maps,
        "prediction/0/ours/parts": maps,
        "truth/0/kind": classes,
        "prediction/0/dense/kind": torch.tensor([2, 2]),
        "prediction/0/ours/kind": torch.tensor([1, 2]),
    }
    figures = predictions(samples, REPORT)
    assert set(figures) == {"predictions_parts", "predictions_images"}
    axes = figures["predictions_parts"].axes
    assert [axis.get_title() for axis in axes[:4]] == ["input", "truth", "ours", "dense"]
    said = [axis.get_xlabel() for axis in figures["predictions_images"].axes]
    assert said == ["truth 1\nours 1 ✓\ndense 2 ✗", "truth ?\nours 2\ndense 2"]
    assert all(figure.get_label() for figure in figures.values())


def test_several_image_level_tasks_stand_in_lines() -> None:
    """Many attributes of one image: a line each, with a mark per model."""
    tasks = {name: [1, False, 1.0, "nats"] for name in ("tall", "old")}
    samples = {"input/3": torch.rand(1, 1, 4, 4)}
    for name in tasks:
        samples[f"truth/3/{name}"] = torch.tensor([1.0])
        samples[f"prediction/3/ours/{name}"] = torch.tensor([0.2])
    (axis,) = predictions(samples, {"tasks": tasks})["predictions_images"].axes
    assert axis.get_xlabel() == "truth | ours\ntall: 1 | 0 ✗\nold: 1 | 0 ✗"


def test_inputs_that_are_no_images_have_no_picture() -> None:
    """Vectors cannot be shown."""
    samples = {"input/0": torch.rand(2, 5), "truth/0/kind": torch.tensor([0, 1])}
    assert predictions(samples, REPORT) == {}
