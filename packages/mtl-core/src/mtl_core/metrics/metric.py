"""What every metric is: sums over the whole set first, the ratio last.

A metric object accumulates over batches and gives its figures at the end, so that a figure is exact under any split
into batches and ranks. `state` and `merge` carry it between ranks.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

from mtl_core.types import Tensor


class Metric(ABC):
    """Accumulates predictions of one task over a set and gives its figures."""

    higher_is_better: ClassVar[dict[str, bool]]
    """Direction of each figure by name; also the order in which figures are printed."""

    @abstractmethod
    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add one batch; what is not labelled in `target` does not count."""

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """Give all figures over everything added so far; NaN where nothing was labelled."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Give the accumulated tensors (CPU), to be merged into another object of this class."""

    @abstractmethod
    def merge(self, state: dict[str, Tensor]) -> None:
        """Add what another object of this class has accumulated."""
