r"""Figures of a semantic segmentation, from one confusion matrix over the whole set.

$$\text{IoU}_c = \frac{TP_c}{TP_c + FP_c + FN_c}, \qquad
\text{mIoU} = \operatorname{mean}_{c:\, TP_c + FP_c + FN_c > 0} \text{IoU}_c, \qquad
\text{pixel accuracy} = \frac{\sum_c TP_c}{\text{labelled}}$$

The mean is over the classes present in the truth or in the prediction. A mean over images, or over the classes that
were hit at least once, is another (and higher) figure.
"""

from typing import ClassVar

import torch

from mtl_core.metrics.sums import Sums, ratio
from mtl_core.resize import resize
from mtl_core.types import Float, Int, Tensor

MISSING = 255


def confusion_matrix(
    labels: Int[Tensor, "*pixels"], target: Int[Tensor, "*pixels"], classes: int
) -> Int[Tensor, "classes classes"]:
    """Count the labelled pixels by true class (row) and predicted class (column).

    Args:
        labels: Predicted classes, 0 to `classes - 1`.
        target: True classes, 0 to `classes - 1`; 255 where not labelled.
        classes: Number of classes.

    Raises:
        ValueError: If a target is neither a class nor 255.

    Examples:
        >>> confusion_matrix(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 0, 1, 255]), 2)
        tensor([[1, 1],
                [0, 1]])
    """
    # The whole cost is memory traffic: the narrowest type that holds 255 * classes + labels, and no pass for the mask:
    # unlabelled pixels fall into rows of their own, behind the others.
    narrow = torch.int16 if 256 * classes <= torch.iinfo(torch.int16).max else torch.int32
    cells = target.to(narrow).mul(classes).add_(labels.to(narrow)).flatten()
    try:
        counts = torch.bincount(cells, minlength=256 * classes)
    except RuntimeError as error:
        low = int(target.min()) if target.numel() else 0
        if low >= 0:
            raise
        raise ValueError(_range(classes, low)) from error
    if counts.numel() > 256 * classes or counts[classes * classes : MISSING * classes].any():
        wrong = target[(target >= classes) & (target != MISSING)]
        raise ValueError(_range(classes, int(wrong[0])))
    return counts[: classes * classes].reshape(classes, classes)


class Segmentation(Sums):
    """Mean intersection over union, and pixel accuracy.

    `mIoU` and `pixel_accuracy`: in [0, 1], higher is better; NaN where nothing was labelled (255). Classes that are
    neither in the truth nor in the prediction, over the whole set, are left out of the mean; a class that is predicted
    somewhere and true nowhere counts with 0. Logits are resized to the target first.

    Args:
        classes: Number of classes, 2 to 255.

    Raises:
        ValueError: If the number of classes is not usable.

    Examples:
        >>> metric = Segmentation(classes=3)
        >>> logits = torch.tensor([[[[9.0, 0.0, 0.0]], [[0.0, 9.0, 9.0]], [[0.0, 0.0, 0.0]]]])
        >>> metric.update(logits, torch.tensor([[[0, 1, 0]]]))  # class 2 is absent
        >>> metric.compute()["mIoU"]
        0.5
    """

    higher_is_better: ClassVar[dict[str, bool]] = {"mIoU": True, "pixel_accuracy": True}

    def __init__(self, classes: int) -> None:
        if not 2 <= classes <= MISSING:
            raise ValueError(f"`classes` must lie between 2 and 255 (255 is not labelled). Got `classes = {classes}`.")
        super().__init__(confusion=torch.zeros(classes, classes, dtype=torch.int64))
        self._classes = classes

    def update(self, prediction: Float[Tensor, "batch channels _ _"], target: Int[Tensor, "batch h w"]) -> None:
        """Add a batch of logits and label maps."""
        # Not argmax: on a CPU, max gives the same indices four times faster.
        labels = resize(prediction.detach(), target.shape[-2:]).max(dim=1).indices
        self._add(confusion=confusion_matrix(labels, target, self._classes))

    def compute(self) -> dict[str, float]:
        """Give the figures over everything added so far."""
        confusion = self._sums["confusion"]
        intersection = confusion.diag()
        union = confusion.sum(dim=0) + confusion.sum(dim=1) - intersection
        return {
            "mIoU": float((intersection.double() / union).nanmean()),  # 0 / 0: the class is absent
            "pixel_accuracy": ratio(intersection.sum(), confusion.sum()),
        }


def _range(classes: int, value: int) -> str:
    return f"`target` must lie between 0 and {classes - 1}, or be 255 where not labelled. Got `target = {value}`."
