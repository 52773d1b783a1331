r"""Figures of an estimation of surface normals: the angle to the true normal, over all labelled pixels of the set.

$$\varphi = \arccos \frac{\langle \hat n, n \rangle}{\|\hat n\|\,\|n\|} \cdot \frac{180}{\pi}$$
"""

from typing import ClassVar

import numpy as np
import torch

from mtl_core.metrics.metric import Metric
from mtl_core.resize import resize
from mtl_core.types import Float, Tensor


class Normals(Metric):
    """Mean and median angle in degrees, and the shares of pixels within 11.25, 22.5 and 30 degrees of the truth.

    `mean_angle` and `median_angle`: in [0, 180], lower is better. `within_11`, `within_22`, `within_30`: in [0, 1],
    higher is better. NaN where nothing was labelled (the zero vector). A prediction of length 0 points nowhere and
    counts as 90 degrees. Predictions are resized to the target first, then normalised.

    A median has no sum: the angles are kept, on the CPU and as float32 (290 MB for NYU-v2's 654 test images of 288 x
    384), and sorted at the end, so that all figures are exact, the same to the last bit under any split.

    Examples:
        >>> up, right = [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]
        >>> metric = Normals()
        >>> truth = torch.tensor([up, up, up]).reshape(3, 3, 1, 1)
        >>> metric.update(torch.tensor([up, up, right]).reshape(3, 3, 1, 1), truth)
        >>> {name: round(value, 4) for name, value in metric.compute().items()}
        {'mean_angle': 30.0, 'median_angle': 0.0, 'within_11': 0.6667, 'within_22': 0.6667, 'within_30': 0.6667}
    """

    higher_is_better: ClassVar[dict[str, bool]] = {
        "mean_angle": False,
        "median_angle": False,
        "within_11": True,
        "within_22": True,
        "within_30": True,
    }

    def __init__(self) -> None:
        self._angles: list[Tensor] = []

    def update(self, prediction: Float[Tensor, "batch 3 _ _"], target: Float[Tensor, "batch 3 h w"]) -> None:
        """Add a batch of normals."""
        valid = (target != 0).any(dim=1)
        # float64: near 0 degrees, a cosine in float32 is off by up to .02 degrees.
        truth = target.movedim(1, -1)[valid].double()
        predicted = resize(prediction.detach(), target.shape[-2:]).movedim(1, -1)[valid].double()
        cosine = torch.nn.functional.cosine_similarity(predicted, truth, dim=1, eps=torch.finfo(torch.float64).tiny)
        self._angles.append(cosine.clamp(-1, 1).arccos().rad2deg().float().cpu())

    def compute(self) -> dict[str, float]:
        """Give the figures over everything added so far."""
        angles = np.sort(self.state()["angles"].numpy())
        n = len(angles)
        if n == 0:
            return dict.fromkeys(self.higher_is_better, float("nan"))
        limits = {"within_11": 11.25, "within_22": 22.5, "within_30": 30.0}
        return {
            "mean_angle": float(angles.mean(dtype=np.float64)),
            "median_angle": (float(angles[(n - 1) // 2]) + float(angles[n // 2])) / 2,
        } | {name: float(np.searchsorted(angles, np.float32(limit)) / n) for name, limit in limits.items()}

    def state(self) -> dict[str, Tensor]:
        """Give all angles (CPU), to be merged into another object of this class."""
        return {"angles": torch.cat([torch.empty(0), *self._angles])}

    def merge(self, state: dict[str, Tensor]) -> None:
        """Add what another object of this class has accumulated."""
        self._angles.append(state["angles"])
