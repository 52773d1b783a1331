r"""Figures of a binary map (edges, saliency), the best over a range of thresholds.

At the threshold $t$ a pixel is foreground where its probability exceeds $t$. Over all labelled pixels of the set

$$F(t) = \frac{2\,TP}{2\,TP + FP + FN}, \qquad
\text{mIoU}(t) = \operatorname{mean}\Big(\frac{TP}{TP + FP + FN}, \frac{TN}{TN + FP + FN}\Big)$$

and each figure is its maximum over $t$: one threshold for the whole set, not one for each image.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch

from mtl_core.metrics.sums import Sums
from mtl_core.resize import resize
from mtl_core.types import Float, Tensor

HUNDREDTHS = tuple(k / 100 for k in range(1, 100))


class Binary(Sums):
    """F-measure and mean IoU of foreground and background, each at its best threshold.

    `f_measure` and `mIoU_threshold`: in [0, 1], higher is better; NaN where nothing was labelled (NaN). A side,
    foreground or background, that is at this threshold neither in the truth nor in the prediction is left out of the
    mean IoU; F is NaN where the foreground is so at every threshold. No matching within a tolerance: an edge beside the
    true edge is wrong. Logits are resized to the target first.

    Args:
        thresholds: Probabilities to try, rising, in [0, 1]: more of them cost next to nothing.

    Raises:
        ValueError: If the thresholds are not rising or lie outside [0, 1].

    Examples:
        >>> metric = Binary(thresholds=[0.25, 0.5])
        >>> logits = torch.tensor([[[[9.0, -0.1, -9.0, -9.0]]]])  # probabilities 1, .475, 0, 0
        >>> metric.update(logits, torch.tensor([[[[1.0, 1.0, 0.0, float("nan")]]]]))
        >>> metric.compute()
        {'f_measure': 1.0, 'mIoU_threshold': 1.0}
    """

    higher_is_better: ClassVar[dict[str, bool]] = {"f_measure": True, "mIoU_threshold": True}

    def __init__(self, thresholds: Sequence[float] = HUNDREDTHS) -> None:
        levels = list(thresholds)
        if not levels or levels != sorted(set(levels)) or not 0 <= levels[0] <= levels[-1] <= 1:
            raise ValueError(f"`thresholds` must rise and lie in [0, 1]. Got `thresholds = {levels}`.")
        super().__init__(histogram=torch.zeros(2, len(levels) + 1, dtype=torch.int64))
        self._thresholds = torch.tensor(levels, dtype=torch.float64)

    def update(self, prediction: Float[Tensor, "batch 1 _ _"], target: Float[Tensor, "batch 1 h w"]) -> None:
        """Add a batch of logits and maps of 0 and 1."""
        valid = ~target.isnan()
        probability = resize(prediction.detach(), target.shape[-2:])[valid].double().sigmoid()
        # Bin i holds the pixels that are foreground at the first i thresholds, and at no other.
        bins = torch.bucketize(probability, self._thresholds.to(probability.device))
        width = len(self._thresholds) + 1
        cells = (target[valid] > 0.5) * width + bins
        self._add(histogram=torch.bincount(cells, minlength=2 * width).reshape(2, width))

    def compute(self) -> dict[str, float]:
        """Give the figures over everything added so far."""
        negative, positive = self._sums["histogram"].cpu().double()
        FP, TP = (side.sum() - side.cumsum(0)[:-1] for side in (negative, positive))
        TN, FN = negative.sum() - FP, positive.sum() - TP
        f_measure = 2 * TP / (2 * TP + FP + FN)
        foreground, background = TP / (TP + FP + FN), TN / (TN + FP + FN)
        mean_iou = torch.stack([foreground, background]).nanmean(dim=0)  # 0 / 0: the side is absent
        return {"f_measure": _best(f_measure), "mIoU_threshold": _best(mean_iou)}


def _best(figures: Tensor) -> float:
    """Give the largest of the figures that are defined."""
    defined = figures[~figures.isnan()]
    return float(defined.max()) if len(defined) else float("nan")
