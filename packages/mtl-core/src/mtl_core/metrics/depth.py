r"""Figures of a depth estimation, over all labelled pixels of the set.

$$\operatorname{mean} |\hat d - d|, \qquad \operatorname{mean} \frac{|\hat d - d|}{d}, \qquad
\delta_k = \text{share with } \max\Big(\frac{\hat d}{d}, \frac{d}{\hat d}\Big) < 1.25^k$$

The prediction is clamped to at least 1e-6 m first: a negative depth would have a negative ratio, which counts as a hit.
"""

from typing import ClassVar

import torch

from mtl_core.metrics.sums import Sums, ratio
from mtl_core.resize import resize
from mtl_core.types import Float, Tensor

SHALLOWEST = 1e-6
"""Metres; predictions are clamped to it, so that every ratio is positive."""


class Depth(Sums):
    """Absolute error, relative error and the shares of pixels within a factor 1.25, 1.25² and 1.25³ of the truth.

    `absolute_error` (metres) and `relative_error`: lower is better. `delta_1`, `delta_2`, `delta_3`: in [0, 1], higher
    is better. NaN where nothing was labelled (0). Predictions are resized to the target first.

    Examples:
        >>> metric = Depth()
        >>> metric.update(torch.tensor([[[[1.0, 3.0, 7.0]]]]), torch.tensor([[[[1.0, 2.0, 0.0]]]]))
        >>> metric.compute()
        {'absolute_error': 0.5, 'relative_error': 0.25, 'delta_1': 0.5, 'delta_2': 1.0, 'delta_3': 1.0}
    """

    higher_is_better: ClassVar[dict[str, bool]] = {
        "absolute_error": False,
        "relative_error": False,
        "delta_1": True,
        "delta_2": True,
        "delta_3": True,
    }

    def __init__(self) -> None:
        super().__init__(
            absolute=torch.zeros((), dtype=torch.float64),
            relative=torch.zeros((), dtype=torch.float64),
            within=torch.zeros(3, dtype=torch.int64),
            labelled=torch.zeros((), dtype=torch.int64),
        )

    def update(self, prediction: Float[Tensor, "batch 1 _ _"], target: Float[Tensor, "batch 1 h w"]) -> None:
        """Add a batch of depths in metres."""
        valid = target > 0
        truth = target[valid].double()
        predicted = resize(prediction.detach(), target.shape[-2:])[valid].double().clamp(min=SHALLOWEST)
        error = (predicted - truth).abs()
        factor = torch.maximum(predicted / truth, truth / predicted)
        self._add(
            absolute=error.sum(),
            relative=(error / truth).sum(),
            within=torch.stack([(factor < 1.25**k).sum() for k in (1, 2, 3)]),
            labelled=valid.sum(),
        )

    def compute(self) -> dict[str, float]:
        """Give the figures over everything added so far."""
        sums = self._sums
        figures = {
            "absolute_error": ratio(sums["absolute"], sums["labelled"]),
            "relative_error": ratio(sums["relative"], sums["labelled"]),
        }
        return figures | {f"delta_{k}": ratio(sums["within"][k - 1], sums["labelled"]) for k in (1, 2, 3)}
