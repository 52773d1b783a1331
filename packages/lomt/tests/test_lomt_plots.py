"""The pictures hold what the report says; class-activation maps are those of the layer."""

import pytest
import torch
from torch import nn

from lomt import attach, grad_cam, plots
from mtl_core import Report, SharedBackbone
from mtl_core.task import attribute, classification, depth

IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def report() -> Report:
    rows = [
        {
            "lambda": v,
            "task": t,
            "zero weights": v * 100,
            "loss": 1 - v,
            "metrics": {"accuracy": v} if t == "depth" else {},
        }
        for t in ("depth", "edges")
        for v in (0.001, 0.002)
    ]
    return Report(
        {
            "layers": {"depth": "output", "edges": "b"},
            "sparsity": {
                "depth": {"pattern": {"a": 1.0, "b": 0.8, "c": 0.3}, "phase": "depth.0.0/sparse"},
                "edges": {"pattern": {"a": 1.0, "b": 0.2, "c": 0.0}, "phase": "edges.0.0/sparse"},
            },
            "phases": {f"{t}.0.0/sparse": {"curves": {"zero weights": [0.0, 0.4, 0.5]}} for t in ("depth", "edges")},
            "grid": rows,
        }
    )


def test_the_pattern_has_a_row_a_task_and_a_square_at_its_layer(report: Report) -> None:
    """Empty layers are marked by a 0; a task at the output has no square."""
    axes = plots.sparsity_pattern(report).axes[0]
    assert axes.images[0].get_array().tolist() == [[1.0, 0.8, 0.3], [1.0, 0.2, 0.0]]
    assert [patch.get_xy() for patch in axes.patches] == [(0.5, 0.5)]
    assert [(text.get_position(), text.get_text()) for text in axes.texts] == [((2, 1), "0")]


def test_sparsity_over_training_is_in_percent(report: Report) -> None:
    """A line a task, a point an epoch."""
    lines = plots.sparsity_over_training(report).axes[0].lines
    assert [line.get_label() for line in lines] == ["depth", "edges"]
    assert list(lines[0].get_ydata()) == [0.0, 40.0, 50.0]


def test_the_grid_has_a_panel_a_task_with_metric_and_zeros(report: Report) -> None:
    """The loss stands for the metric of a task without; without a grid there is no picture."""
    axes = plots.against_lambda(report).axes
    assert [ax.get_title(loc="left") for ax in axes if ax.get_title(loc="left")] == ["depth: accuracy", "edges: loss"]
    assert list(axes[0].lines[0].get_ydata()) == [0.001, 0.002]
    assert list(axes[2].lines[0].get_ydata()) == pytest.approx([10, 20])
    assert axes[0].get_xscale() == "log"
    assert plots.against_lambda(Report({})) is None
    assert plots.sparsity_pattern(Report({})) is plots.sparsity_over_training(Report({})) is None


def test_trainings_of_different_length_are_spread_over_the_same_steps() -> None:
    """Points of the shorter curve lie where as much of its training is done."""
    lines = plots.sparsity_by_size({"all": [0.1, 0.2, 0.3, 0.4], "half": [0.1, 0.2]}).axes[0].lines
    assert [list(line.get_xdata()) for line in lines] == [[1, 2, 3, 4], [2, 4]]


def test_activation_maps_lie_over_the_images() -> None:
    """A column for the input and one for each model."""
    axes = plots.activation_maps(IMAGES, {"dense": torch.rand(2, 8, 8), "LOMT": torch.rand(2, 8, 8)}).axes
    assert [len(ax.images) for ax in axes] == [1, 2, 2, 1, 2, 2]
    assert [ax.get_title() for ax in axes[:3]] == ["input", "dense", "LOMT"]


class Two(nn.Module):
    """A layer that copies the first channel, and one that copies it negated."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = nn.Conv2d(3, 2, 1, bias=False), nn.Conv2d(2, 2, 1, bias=False)
        with torch.no_grad():
            self.low.weight.zero_()[0, 0] = 1.0
            self.high.weight.zero_()[1, 0] = -1.0

    def forward(self, x):
        return self.high(self.low(x))


def head(channels, task):
    """Adds up what it is given."""
    layer = nn.Conv2d(channels, task.channels, 1, bias=False)
    nn.init.ones_(layer.weight)
    return layer if task.dense else nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def build(tasks):
    return SharedBackbone(Two(), tasks, head, example=IMAGES[:1])


def test_the_map_shows_where_the_layers_features_speak_for_the_prediction() -> None:
    """At the first layer that is the first channel itself; at the output it speaks against, so nothing is left."""
    tasks = {"far": depth("far"), "tall": attribute("tall"), "kind": classification("kind", 3)}
    low, high = attach(build, tasks, dict.fromkeys(tasks, "low")), build(tasks)
    first = IMAGES[:, 0] / IMAGES[:, 0].amax((1, 2), keepdim=True)
    low.train()
    for task in tasks:
        assert torch.allclose(grad_cam(low, IMAGES, task), first, atol=1e-6)
        assert not grad_cam(high, IMAGES, task).any()
    assert torch.allclose(grad_cam(low, IMAGES, "kind", channel=2), first, atol=1e-6)
    assert low.training
    assert all(p.grad is None for p in low.parameters())


def test_what_has_no_map_is_refused() -> None:
    """Another model, task or channel, or features without positions."""
    model = build({"far": depth("far")})
    with pytest.raises(ValueError, match=r"`task` must be among \['far'\]. Got `task = 'near'`"):
        grad_cam(model, IMAGES, "near")
    with pytest.raises(ValueError, match=r"`channel` must be from 0 to 0. Got `channel = 1`"):
        grad_cam(model, IMAGES, "far", channel=1)
    flat = SharedBackbone(nn.Flatten(), [attribute("tall")], lambda c, t: nn.Linear(c, 1), example=IMAGES[:1])
    with pytest.raises(ValueError, match=r"`task` must take a map of features. Got `tall`, whose have 2 axes"):
        grad_cam(flat, IMAGES, "tall")
    with pytest.raises(TypeError, match=r"`model` must be a `SharedBackbone`. Got `Two`"):
        grad_cam(Two(), IMAGES, "far")
