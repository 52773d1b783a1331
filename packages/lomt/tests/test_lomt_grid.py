"""The grid over λ: what it measures, and which value it takes."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn

import lomt
from lomt.grid import PAPER, choose_lambda
from mtl_core import Run, SharedBackbone
from mtl_core.testing import common, watched
from mtl_core.testing.models import EXAMPLE_SHAPE, head

CONFIG = lomt.Config(epochs=1, batch_size=3)


class Residual(nn.Module):
    """Two blocks that do something, and two that do next to nothing."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1)
        self.blocks = nn.ModuleList(nn.Conv2d(6, 6, 3, padding=1) for _ in range(4))
        with torch.no_grad():
            for block in self.blocks[2:]:
                block.weight.mul_(1e-3)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        for place, block in enumerate(self.blocks):
            x = x + (1.0 if place < 2 else 1e-4) * torch.tanh(block(x))
        return x


def build(tasks):
    return SharedBackbone(Residual(), tasks, head, example=torch.zeros(EXAMPLE_SHAPE))


def rows(**losses):
    """Rows of each task at three values; None where the task has no layer left."""
    return [
        {"lambda": value, "task": task, "empty": loss is None, "loss": math.nan if loss is None else loss}
        for task, several in losses.items()
        for value, loss in zip((0.001, 0.01, 0.1), several, strict=True)
    ]


@pytest.fixture(scope="module")
def data():
    return common().select(["kind", "far"])


def test_the_papers_grid_is_ten_values_of_one_decade() -> None:
    """Equally far apart on a logarithmic scale."""
    assert (PAPER[0], PAPER[-1], len(PAPER)) == (1e-4, 1e-3, 10)
    ratios = [b / a for a, b in itertools.pairwise(PAPER)]
    assert ratios == pytest.approx([10 ** (1 / 9)] * 9, rel=1e-3)


def test_a_grid_holds_sparsity_and_metrics_of_each_task_at_each_value(data) -> None:
    """More is zero at a larger value; where every layer is empty there is none to choose."""
    report = lomt.lambda_grid(build, data, CONFIG, Run(progress=False), lambdas=(0.0, 0.003, 100.0))
    assert [(row["lambda"], row["task"]) for row in report.grid] == [
        (value, task) for task in ("kind", "far") for value in (0.0, 0.003, 100.0)
    ]
    for task in ("kind", "far"):
        mine = [row for row in report.grid if row["task"] == task]
        assert [row["layer"] for row in mine] == [None, "blocks.1", None]
        assert [row["empty"] for row in mine] == [False, False, True]
        assert mine[0]["zero weights"] == 0 < mine[1]["zero weights"] < mine[2]["zero weights"] == 1
        assert mine[1]["loss"] > 0
    assert report.grid[0]["metrics"].keys() == {"accuracy"}
    assert report.chosen == 0.003


def test_fit_takes_the_layers_of_the_chosen_value_without_training_again(data) -> None:
    """As many trainings as values and tasks, and one of the whole."""
    phases = []
    with watched(lambda phase: phases.append(phase)):
        result = lomt.fit(build, data, lomt.Config(lambdas=(0.0, 0.003), epochs=1, batch_size=3), Run(progress=False))
    assert len(set(map(id, phases))) == 5
    assert result.report["lambda"] == 0.003
    assert result.report.layers == dict.fromkeys(("kind", "far"), "blocks.1")
    assert len(result.report.grid) == 4


def test_the_largest_value_that_costs_little_is_chosen() -> None:
    """Within a twentieth of the best, tasks alike; values at which a task has no layer do not count."""
    assert choose_lambda(rows(a=(1.0, 1.04, 1.2))) == 0.01
    assert choose_lambda(rows(a=(1.0, 1.2, 1.01))) == 0.1
    assert choose_lambda(rows(a=(1.0, 1.0, 1.0), b=(1.0, 1.0, None))) == 0.01
    assert choose_lambda(rows(a=(1.0, 2.0, 3.0), b=(100.0, 100.0, 100.0))) == 0.001
    assert choose_lambda(rows(a=(2.0, 1.0, 3.0), b=(1.0, 2.0, 3.0))) == 0.01
    assert choose_lambda(rows(a=(1.0, 1.3, 1.5)), tolerance=0.4) == 0.01


def test_a_task_without_validation_labels_does_not_decide() -> None:
    """Its loss is NaN; if none has any, the largest value is taken."""
    assert choose_lambda(rows(a=(math.nan,) * 3, b=(1.0, 1.0, 2.0))) == 0.01
    assert choose_lambda(rows(a=(math.nan,) * 3)) == 0.1


def test_a_grid_that_leaves_a_task_no_layer_at_any_value_is_refused() -> None:
    """With its name."""
    with pytest.raises(
        ValueError, match=r"`lambdas` must leave each task a layer at one value at least.*\['b'\]: lower"
    ):
        choose_lambda(rows(a=(1.0, 1.0, 1.0), b=(None, None, None)))


def test_a_grid_shows_what_it_measured_even_where_nothing_can_be_chosen(data) -> None:
    """Then `chosen` is None."""
    report = lomt.lambda_grid(build, data.select(["kind"]), CONFIG, Run(progress=False), lambdas=(100.0,))
    assert (report.chosen, report.grid[0]["empty"], report.grid[0]["zero weights"]) == (None, True, 1.0)


def test_a_grid_needs_a_validation_part(data) -> None:
    """Before anything is trained."""
    bare = copy.copy(data)
    bare.validation = None
    steps = []
    with watched(steps.append), pytest.raises(ValueError, match="`data` must have a validation part"):
        lomt.lambda_grid(build, bare, CONFIG, Run(progress=False), lambdas=(0.1,))
    assert not steps
