"""Metrics that are ratios of sums: what is accumulated is a few tensors that add up.

Counts are int64, so they are exact under any split into batches and ranks; sums of errors are float64, so that the
order of the batches changes a figure by rounding alone (about 1e-15 of it).
"""

from mtl_core.metrics.metric import Metric
from mtl_core.types import Tensor


class Sums(Metric):
    """Abstract: a metric whose whole state is named tensors, to which every batch adds.

    Args:
        zeros: The tensors at the start, by name: float64 or int64.
    """

    def __init__(self, **zeros: Tensor) -> None:
        self._sums = zeros

    def state(self) -> dict[str, Tensor]:
        """Give the sums (CPU), to be merged into another object of this class."""
        return {name: value.cpu().clone() for name, value in self._sums.items()}

    def merge(self, state: dict[str, Tensor]) -> None:
        """Add what another object of this class has accumulated.

        Raises:
            ValueError: If the state is that of another metric, or of one with other settings.
        """
        ours, theirs = ({name: tuple(value.shape) for name, value in sums.items()} for sums in (self._sums, state))
        if ours != theirs:
            raise ValueError(f"`state` must hold the shapes {ours}. Got `state` with {theirs}.")
        self._add(**state)

    def _add(self, **amounts: Tensor) -> None:
        for name, amount in amounts.items():
            self._sums[name] = self._sums[name].to(amount.device) + amount


def ratio(numerator: Tensor, denominator: Tensor) -> float:
    """Divide two sums; NaN where nothing was counted."""
    return float(numerator.double() / denominator.double())
