"""The figure of a regression by pixel (edge strength, keypoints): the mean absolute error over all labelled pixels."""

from typing import ClassVar

import torch

from mtl_core.metrics.sums import Sums, ratio
from mtl_core.resize import resize
from mtl_core.types import Float, Tensor


class Regression(Sums):
    """Mean absolute error.

    `mean_absolute_error`: in the target's unit, lower is better; NaN where nothing was labelled (NaN). Predictions are
    resized to the target first.

    Examples:
        >>> metric = Regression()
        >>> metric.update(torch.tensor([[[[0.5, 1.0, 7.0]]]]), torch.tensor([[[[0.0, 1.0, float("nan")]]]]))
        >>> metric.compute()
        {'mean_absolute_error': 0.25}
    """

    higher_is_better: ClassVar[dict[str, bool]] = {"mean_absolute_error": False}

    def __init__(self) -> None:
        super().__init__(error=torch.zeros((), dtype=torch.float64), labelled=torch.zeros((), dtype=torch.int64))

    def update(self, prediction: Float[Tensor, "batch 1 _ _"], target: Float[Tensor, "batch 1 h w"]) -> None:
        """Add a batch of values."""
        valid = ~target.isnan()
        predicted = resize(prediction.detach(), target.shape[-2:])[valid].double()
        self._add(error=(predicted - target[valid].double()).abs().sum(), labelled=valid.sum())

    def compute(self) -> dict[str, float]:
        """Give the figure over everything added so far."""
        return {"mean_absolute_error": ratio(self._sums["error"], self._sums["labelled"])}
