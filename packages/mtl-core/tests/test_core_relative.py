"""The relative gain Δ: the formula, printed sums, directions, what is refused."""

import math

import pytest

from mtl_core.losses import depth_l1
from mtl_core.metrics import delta
from mtl_core.task import Task, classification, depth, normals, segmentation

TASKS = [segmentation("seg", 40), normals("sn"), depth("depth")]
# AdapMTL's table of NYU-v2, MobileNetV2 at 90 %: dense, then pruned. Angles and errors fall, shares rise.
DENSE = {
    "seg": {"mIoU": 19.94, "pixel_accuracy": 48.71},
    "sn": {"mean_angle": 17.85, "median_angle": 16.21, "within_11": 29.77, "within_22": 72.19, "within_30": 86.19},
    "depth": {"absolute_error": 0.64, "relative_error": 0.24, "delta_1": 58.93, "delta_2": 86.27, "delta_3": 96.16},
}
PRUNED = {
    "seg": {"mIoU": 20.16, "pixel_accuracy": 49.14},
    "sn": {"mean_angle": 17.53, "median_angle": 15.96, "within_11": 30.16, "within_22": 72.36, "within_30": 86.51},
    "depth": {"absolute_error": 0.64, "relative_error": 0.24, "delta_1": 59.03, "delta_2": 86.57, "delta_3": 96.38},
}


def test_printed_gains_are_sums_over_metrics() -> None:
    """AdapMTL, ResNet-34, segmentation: (.74 / 25.54 + .38 / 57.91) · 100 = 3.55 as a sum, half of it as the mean."""
    dense = {"seg": {"mIoU": 25.54, "pixel_accuracy": 57.91}}
    pruned = {"seg": {"mIoU": 25.54 + 0.74, "pixel_accuracy": 57.91 + 0.38}}
    total = delta(pruned, dense, TASKS[:1], reduction="sum")
    assert round(total.tasks["seg"], 2) == 3.55
    assert total.overall == total.tasks["seg"]
    assert delta(pruned, dense, TASKS[:1]).tasks["seg"] == pytest.approx(total.tasks["seg"] / 2)


def test_a_whole_printed_row_comes_out() -> None:
    """AdapMTL, MobileNetV2: 1.99, 5.25, .75 and 2.66 over all, from the printed figures, to their rounding."""
    found = delta(PRUNED, DENSE, TASKS, reduction="sum")
    assert found.tasks == pytest.approx({"seg": 1.99, "sn": 5.25, "depth": 0.75}, abs=0.011)
    assert found.overall == pytest.approx(2.66, abs=0.011)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_equals_the_loop_of_the_formula(reduction: str) -> None:
    """Eq. (7) and the mean over tasks, term by term, with the directions written out."""
    lower = {"mean_angle", "median_angle", "absolute_error", "relative_error"}
    gains = []
    for task in DENSE:
        terms = [(-1) ** (j in lower) * (PRUNED[task][j] - b) / b for j, b in DENSE[task].items()]
        gains.append(100 * sum(terms) / (len(terms) if reduction == "mean" else 1))
    found = delta(PRUNED, DENSE, TASKS, reduction=reduction)  # type: ignore[arg-type]
    assert list(found.tasks.values()) == pytest.approx(gains, rel=1e-13)
    assert found.overall == pytest.approx(sum(gains) / 3, rel=1e-13)


def test_a_model_gains_nothing_over_itself() -> None:
    """Δ = 0, of each task and in all."""
    found = delta(DENSE, DENSE, TASKS)
    assert found.overall == 0
    assert set(found.tasks.values()) == {0}


def test_better_is_positive_in_both_directions() -> None:
    """Every figure 10 % better, whichever way that is: +10 everywhere."""
    better = {
        task.name: {
            figure: DENSE[task.name][figure] * (1.1 if higher else 0.9)
            for metric in task.metrics()
            for figure, higher in metric.higher_is_better.items()
        }
        for task in TASKS
    }
    assert delta(better, DENSE, TASKS).tasks == pytest.approx({"seg": 10, "sn": 10, "depth": 10})
    assert delta(better, DENSE, TASKS).overall == pytest.approx(10)


def test_tasks_may_be_a_mapping_and_fewer_than_were_measured() -> None:
    """As `data.tasks` gives them; what is not asked for does not enter."""
    found = delta(PRUNED, DENSE, {"depth": TASKS[2]})
    assert list(found.tasks) == ["depth"]


def test_a_figure_that_is_nan_makes_its_gain_nan() -> None:
    """Nothing was labelled: no number is invented, and other tasks keep theirs."""
    found = delta(PRUNED | {"seg": {"mIoU": math.nan, "pixel_accuracy": 50.0}}, DENSE, TASKS)
    assert math.isnan(found.tasks["seg"])
    assert math.isnan(found.overall)
    assert math.isfinite(found.tasks["depth"])


def test_a_baseline_of_zero_is_refused_with_the_metric() -> None:
    """A first epoch may well have an F1 of 0."""
    zero = DENSE | {"seg": {"mIoU": 0.0, "pixel_accuracy": 48.0}}
    with pytest.raises(ValueError, match=r"`baseline` must not be 0: .* Got `mIoU = 0` of task `seg`"):
        delta(PRUNED, zero, TASKS)


@pytest.mark.parametrize("side", ["metrics", "baseline"])
def test_a_missing_task_or_metric_is_refused_by_name(side: str) -> None:
    """On either side."""
    no_task = {name: figures for name, figures in DENSE.items() if name != "sn"}
    no_metric = DENSE | {"seg": {"mIoU": 19.94}}
    for wrong, message in (
        (no_task, rf"`{side}` must hold the task `sn`. Got `{side}` with only \['depth', 'seg'\]"),
        (
            no_metric,
            rf"`{side}` must hold the metric `pixel_accuracy` of task `seg`. Got `{side}` with only \['mIoU'\]",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            delta(wrong if side == "metrics" else PRUNED, wrong if side == "baseline" else DENSE, TASKS)


def test_a_task_without_metrics_is_refused() -> None:
    """There is nothing to compare."""
    with pytest.raises(ValueError, match=r"`tasks` must have metrics to be compared. Got `tasks` with task `mine`"):
        delta({"mine": {}}, {"mine": {}}, [Task("mine", 1, depth_l1)])


def test_no_task_at_all_is_refused() -> None:
    """A mean over nothing."""
    with pytest.raises(ValueError, match=r"`tasks` must hold at least one task"):
        delta({}, {}, [])


def test_another_reduction_is_refused() -> None:
    """There are two."""
    figures = {"c": {"accuracy": 0.5}}
    with pytest.raises(ValueError, match=r'`reduction` must be "mean" or "sum". Got `reduction = .median'):
        delta(figures, figures, [classification("c", 2)], reduction="median")  # type: ignore[arg-type]
