"""Accuracy and F1, against scikit-learn and torchmetrics."""

import math

import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score
from torchmetrics.classification import BinaryF1Score, MulticlassAccuracy

from mtl_core.metrics import Accuracy, Attribute


def test_accuracy_is_that_of_scikit_learn_and_torchmetrics() -> None:
    """Over the labelled samples alone."""
    g = torch.Generator().manual_seed(0)
    prediction, target = torch.randn(500, 6, generator=g), torch.randint(-1, 6, (500,), generator=g)
    metric = Accuracy()
    metric.update(prediction, target)
    labelled = target != -1
    expected = accuracy_score(target[labelled].numpy(), prediction[labelled].argmax(1).numpy())
    oracle = MulticlassAccuracy(6, average="micro", ignore_index=-1)
    assert metric.compute()["accuracy"] == pytest.approx(expected, rel=1e-15)
    assert metric.compute()["accuracy"] == pytest.approx(float(oracle(prediction, target)), abs=1e-6)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_attribute_figures_are_those_of_scikit_learn_and_torchmetrics(share: float) -> None:
    """At rare, even and frequent ones."""
    g = torch.Generator().manual_seed(1)
    target = (torch.rand(800, generator=g) < share).float()
    prediction = torch.randn(800, 1, generator=g) + 2 * target[:, None] - 1
    target[::7] = math.nan
    metric = Attribute()
    metric.update(prediction, target)
    labelled = ~target.isnan()
    truth, predicted = target[labelled].numpy(), (prediction[labelled, 0] > 0).numpy()
    found = metric.compute()
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, predicted), rel=1e-15)
    assert found["f1"] == pytest.approx(f1_score(truth, predicted), rel=1e-15)
    assert found["f1"] == pytest.approx(
        float(BinaryF1Score()(prediction[labelled, 0], target[labelled].long())), abs=1e-6
    )


def test_f1_worked_by_hand() -> None:
    """TP 2, FP 1, FN 3, TN 4: accuracy 6 / 10, F1 4 / 8."""
    target = torch.tensor([1.0, 1, 0, 1, 1, 1, 0, 0, 0, 0])
    prediction = torch.tensor([1.0, 1, 1, -1, -1, -1, -1, -1, -1, -1])
    metric = Attribute()
    metric.update(prediction, target)
    assert metric.compute() == {"accuracy": 0.6, "f1": 0.5}


def test_f1_is_zero_where_ones_are_missed_and_nan_where_there_are_none() -> None:
    """A model that never says 1 has F1 = 0 if there are ones, and no F1 if there are none."""
    missed, none = Attribute(), Attribute()
    missed.update(torch.tensor([-1.0, -1.0]), torch.tensor([1.0, 0.0]))
    none.update(torch.tensor([-1.0, -1.0]), torch.tensor([0.0, 0.0]))
    assert missed.compute()["f1"] == 0
    assert math.isnan(none.compute()["f1"])
    assert none.compute()["accuracy"] == 1


def test_a_probability_of_one_half_is_not_above_it() -> None:
    """A logit of exactly 0 predicts 0."""
    metric = Attribute()
    metric.update(torch.zeros(2), torch.tensor([0.0, 1.0]))
    assert metric.compute()["accuracy"] == 0.5
