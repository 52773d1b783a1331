"""Confusion matrix, mIoU and pixel accuracy, against the definition, torchmetrics and scikit-learn."""

import pytest
import torch
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix
from torchmetrics.classification import MulticlassJaccardIndex

from mtl_core.metrics import Segmentation, confusion_matrix


def one_hot(labels: torch.Tensor, classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(labels, classes).movedim(-1, 1).float()


@pytest.mark.parametrize("classes", [2, 13, 40, 127, 128, 200, 255])
def test_the_confusion_matrix_is_that_of_scikit_learn(classes: int) -> None:
    """On both sides of the number of classes where the counting type changes; 255 is left out."""
    g = torch.Generator().manual_seed(classes)
    labels, target = (torch.randint(0, classes, (3, 20, 30), generator=g) for _ in range(2))
    target[torch.rand(3, 20, 30, generator=g) < 0.3] = 255
    valid = target != 255
    expected = sklearn_confusion_matrix(target[valid], labels[valid], labels=range(classes))
    counts = confusion_matrix(labels, target, classes)
    assert counts.dtype == torch.int64
    assert torch.equal(counts, torch.from_numpy(expected))


@pytest.mark.parametrize("present", [13, 5, 1])
def test_mean_iou_is_the_jaccard_index_of_torchmetrics(present: int) -> None:
    """To 1e-6, the mean over classes present in truth or prediction; of 13 classes all, some or one are."""
    g = torch.Generator().manual_seed(present)
    metric, oracle = Segmentation(13), MulticlassJaccardIndex(13, average="macro", ignore_index=255)
    for _ in range(3):
        target = torch.randint(0, present, (2, 12, 16), generator=g)
        target[torch.rand(target.shape, generator=g) < 0.2] = 255
        prediction = torch.randn(2, 13, 12, 16, generator=g)
        prediction[:, present:] = -100
        metric.update(prediction, target)
        oracle.update(prediction, target)
    assert metric.compute()["mIoU"] == pytest.approx(float(oracle.compute()), abs=1e-6)


def test_equals_the_loop_over_classes() -> None:
    """IoU of each class by sets of pixels, absent classes left out of the mean; accuracy by counting."""
    g = torch.Generator().manual_seed(5)
    target = torch.randint(0, 6, (4, 9, 9), generator=g)
    labels = torch.where(torch.rand(4, 9, 9, generator=g) < 0.5, target, torch.randint(0, 7, (4, 9, 9), generator=g))
    target[0, :3] = 255
    metric = Segmentation(10)
    metric.update(one_hot(labels, 10), target)
    valid, ious = target != 255, []
    for c in range(10):
        truth, predicted = (target == c) & valid, (labels == c) & valid
        if (truth | predicted).any():
            ious.append(int((truth & predicted).sum()) / int((truth | predicted).sum()))
    found = metric.compute()
    assert len(ious) == 7
    assert found["mIoU"] == pytest.approx(sum(ious) / 7, rel=1e-14)
    assert found["pixel_accuracy"] == int(((labels == target) & valid).sum()) / int(valid.sum())


def test_worked_example() -> None:
    """Truth 0 0 1 1, prediction 0 1 1 2, fourth class absent: IoU 1/2, 1/3, 0/1; accuracy 2/4."""
    metric = Segmentation(4)
    metric.update(one_hot(torch.tensor([[[0, 1, 1, 2]]]), 4), torch.tensor([[[0, 0, 1, 1]]]))
    assert metric.compute() == {"mIoU": pytest.approx((1 / 2 + 1 / 3 + 0) / 3), "pixel_accuracy": 0.5}


def test_one_class_everywhere_and_found_is_perfect() -> None:
    """Absent classes neither help nor hurt."""
    metric = Segmentation(13)
    metric.update(one_hot(torch.full((1, 2, 2), 7), 13), torch.full((1, 2, 2), 7))
    assert metric.compute() == {"mIoU": 1.0, "pixel_accuracy": 1.0}


def test_the_mean_is_over_the_set_and_not_over_images() -> None:
    """Two images, IoU of class 1 being 1/4 over both together and 1/2 as a mean of images."""
    metric = Segmentation(2)
    metric.update(one_hot(torch.tensor([[[1, 1, 1, 1]]]), 2), torch.tensor([[[1, 0, 0, 0]]]))
    metric.update(one_hot(torch.tensor([[[0, 0, 0, 0]]]), 2), torch.tensor([[[0, 0, 0, 0]]]))
    assert metric.compute()["mIoU"] == pytest.approx((1 / 4 + 4 / 7) / 2)


@pytest.mark.parametrize(
    ("classes", "value"), [(13, 13), (13, 254), (13, 256), (13, 300), (13, -1), (13, -2000), (40, 40)]
)
def test_a_target_that_is_no_class_is_refused(classes: int, value: int) -> None:
    """Counted, it would land in another cell."""
    target = torch.tensor([0, 255, value])
    allowed = f"`target` must lie between 0 and {classes - 1}, or be 255 where not labelled. Got `target = {value}`"
    for predicted in (0, classes - 1):
        with pytest.raises(ValueError, match=allowed):
            confusion_matrix(torch.full((3,), predicted), target, classes)


@pytest.mark.parametrize("classes", [1, 256])
def test_a_number_of_classes_that_cannot_be_is_refused(classes: int) -> None:
    """One class is no choice; of 256 one would be 255, which means not labelled."""
    with pytest.raises(ValueError, match=f"`classes` must lie between 2 and 255 .* Got `classes = {classes}`"):
        Segmentation(classes)
