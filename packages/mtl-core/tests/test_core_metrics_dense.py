"""Figures of depth, normals, regressions and binary maps, against naive references, torchmetrics and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score
from torchmetrics import MeanAbsoluteError

from mtl_core.metrics import Binary, Depth, Normals, Regression

NAN = math.nan


def one_map(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).reshape(1, 1, 1, -1)


def vectors(*rows: tuple[float, float, float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64).T.reshape(1, 3, 1, -1)


def turned(*degrees: float) -> torch.Tensor:
    """Vectors at these angles to (1, 0, 0)."""
    return vectors(*((math.cos(math.radians(d)), math.sin(math.radians(d)), 0.0) for d in degrees))


def test_depth_equals_the_definition() -> None:
    """All five figures by numpy, over the labelled pixels alone."""
    g = torch.Generator().manual_seed(0)
    target = (torch.rand(4, 1, 8, 9, generator=g) * 9 + 0.5).masked_fill(torch.rand(4, 1, 8, 9, generator=g) < 0.3, 0)
    prediction = target * torch.exp(0.4 * torch.randn(target.shape, generator=g)) + 0.01
    metric = Depth()
    metric.update(prediction, target)
    valid = target.numpy() > 0
    p, d = prediction.numpy()[valid].astype(np.float64), target.numpy()[valid].astype(np.float64)
    expected = {"absolute_error": np.abs(p - d).mean(), "relative_error": (np.abs(p - d) / d).mean()}
    expected |= {f"delta_{k}": (np.maximum(p / d, d / p) < 1.25**k).mean() for k in (1, 2, 3)}
    assert metric.compute() == pytest.approx(expected, rel=1e-13)
    oracle = MeanAbsoluteError()(prediction[target > 0], target[target > 0])
    assert metric.compute()["absolute_error"] == pytest.approx(float(oracle), abs=1e-6)


def test_a_negative_depth_is_no_hit() -> None:
    """Its ratio to the truth is negative, hence below 1.25; clamped first, it is wrong in all three shares."""
    metric = Depth()
    metric.update(one_map(-2.0, 2.0), one_map(2.0, 2.0))
    found = metric.compute()
    assert [found[f"delta_{k}"] for k in (1, 2, 3)] == [0.5, 0.5, 0.5]
    assert found["absolute_error"] == pytest.approx(1.0, abs=1e-6)


def test_a_ratio_of_exactly_the_threshold_is_outside() -> None:
    """The inequality is strict, in both directions."""
    metric = Depth()
    metric.update(one_map(1.25, 4.0, 1.0), one_map(1.0, 5.0, 1.0))
    assert metric.compute()["delta_1"] == pytest.approx(1 / 3)


def test_normals_worked_by_hand() -> None:
    """Angles 0, 10, 20, 25 and 90 degrees: mean 29, median 20, shares 2/5, 3/5, 4/5."""
    metric = Normals()
    metric.update(3 * turned(0, 10, 20, 25, 90), turned(0, 0, 0, 0, 0))
    expected = {"mean_angle": 29, "median_angle": 20, "within_11": 0.4, "within_22": 0.6, "within_30": 0.8}
    assert metric.compute() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("pixels", [1, 2, 999, 1000])
def test_the_median_angle_is_exact_over_the_whole_set(pixels: int) -> None:
    """As numpy's over all angles in float64, for odd and even numbers of pixels."""
    degrees = np.random.default_rng(pixels).uniform(0, 180, pixels)
    metric = Normals()
    for part in np.array_split(degrees, min(pixels, 7)):
        metric.update(turned(*part), turned(*[0] * len(part)))
    found = metric.compute()
    assert found["median_angle"] == pytest.approx(np.median(degrees), abs=2e-5)
    assert found["mean_angle"] == pytest.approx(degrees.mean(), abs=2e-5)
    assert found["within_30"] == (degrees < 30).mean()


def test_a_tiny_angle_is_not_rounded_away() -> None:
    """A thousandth of a degree from float32 vectors of any length: a cosine in float32 would give 0 or .02."""
    metric = Normals()
    metric.update(1e-4 * turned(1e-3), turned(0))
    assert metric.compute()["mean_angle"] == pytest.approx(1e-3, rel=1e-3)


def test_a_prediction_of_length_zero_is_at_ninety_degrees() -> None:
    """It points nowhere."""
    metric = Normals()
    metric.update(vectors((0, 0, 0)), turned(0))
    assert metric.compute()["mean_angle"] == 90


def test_opposite_normals_are_at_180_degrees() -> None:
    """Rounding beyond −1 does not become NaN."""
    truth = torch.nn.functional.normalize(torch.randn(1, 3, 20, 20, generator=torch.Generator().manual_seed(2)))
    metric = Normals()
    metric.update(-7 * truth, truth)
    assert metric.compute()["mean_angle"] == pytest.approx(180, abs=1e-3)


def test_regression_is_the_mean_absolute_error_of_torchmetrics() -> None:
    """Over the labelled pixels alone."""
    g = torch.Generator().manual_seed(3)
    prediction, target = torch.rand(4, 1, 8, 9, generator=g), torch.rand(4, 1, 8, 9, generator=g)
    target[torch.rand(target.shape, generator=g) < 0.3] = NAN
    metric = Regression()
    metric.update(prediction, target)
    expected = MeanAbsoluteError()(prediction[~target.isnan()], target[~target.isnan()])
    assert metric.compute()["mean_absolute_error"] == pytest.approx(float(expected), abs=1e-6)


def test_binary_figures_are_the_best_of_scikit_learn_over_thresholds() -> None:
    """F1 and the mean of two Jaccard scores at each of the thresholds, worked out one by one."""
    g = torch.Generator().manual_seed(4)
    target = (torch.rand(3, 1, 16, 16, generator=g) < 0.2).float()
    prediction = torch.randn(target.shape, generator=g) + 2 * target - 2
    target[torch.rand(target.shape, generator=g) < 0.3] = NAN
    metric = Binary()
    metric.update(prediction, target)
    valid = ~target.isnan()
    truth, probability = target[valid].numpy(), prediction[valid].double().sigmoid().numpy()
    f_measures, means = [], []
    for threshold in np.arange(1, 100) / 100:
        predicted = probability > threshold
        f_measures.append(f1_score(truth, predicted, zero_division=0))
        means.append(np.mean([jaccard_score(truth, predicted, pos_label=side, zero_division=0) for side in (0, 1)]))
    assert metric.compute() == pytest.approx({"f_measure": max(f_measures), "mIoU_threshold": max(means)}, rel=1e-14)


def test_binary_worked_by_hand() -> None:
    """At the threshold 1/2 (logit 0): TP 1, FP 1, FN 1, TN 1: F 1/2, IoU 1/3 of both sides."""
    metric = Binary(thresholds=[0.5])
    metric.update(one_map(1, 1, -1, -1), one_map(1, 0, 1, 0))
    assert metric.compute() == pytest.approx({"f_measure": 1 / 2, "mIoU_threshold": 1 / 3})


def test_one_threshold_holds_for_the_whole_set() -> None:
    """Two images that are each separable, at different thresholds, are not separable together."""
    metric = Binary(thresholds=[0.25, 0.75])
    metric.update(one_map(3, 0), one_map(1, 0))  # separable at .75 only
    metric.update(one_map(0, -3), one_map(1, 0))  # separable at .25 only
    assert metric.compute()["f_measure"] == pytest.approx(4 / 5)


def test_without_foreground_f_is_nan_and_the_background_alone_counts() -> None:
    """Nothing to find and nothing found; with a false find, F is 0."""
    right, wrong = Binary(thresholds=[0.5]), Binary(thresholds=[0.5])
    right.update(one_map(-1, -1), one_map(0, 0))
    wrong.update(one_map(1, -1), one_map(0, 0))
    assert math.isnan(right.compute()["f_measure"])
    assert right.compute()["mIoU_threshold"] == 1
    assert wrong.compute() == {"f_measure": 0, "mIoU_threshold": 0.25}


@pytest.mark.parametrize("thresholds", [[], [0.5, 0.5], [0.6, 0.4], [-0.1, 0.5], [0.5, 1.1]])
def test_thresholds_that_do_not_rise_in_the_unit_interval_are_refused(thresholds: list[float]) -> None:
    """None, a repeated, a falling one, one below 0 or above 1."""
    with pytest.raises(ValueError, match=r"`thresholds` must rise and lie in \[0, 1\]. Got `thresholds = "):
        Binary(thresholds)
