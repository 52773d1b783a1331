"""What a phase notes while it trains: mean losses by task and epoch, and named curves."""

import math
from collections.abc import Mapping
from typing import Any

import torch

REPORTED = 500
"""Values of a curve that a report keeps; a picture shows no more."""


class History:
    """Losses by task and epoch, and curves with one value a step.

    Attributes:
        latest: The last loss of each task.
        curves: What `record` was given, by name.
    """

    def __init__(self) -> None:
        self.latest: dict[str, float] = {}
        self.curves: dict[str, list[float]] = {}
        self._sums: dict[str, list[list[float]]] = {}  # task -> one [sum of losses, number of steps] an epoch

    def book(self, task: str, epoch: int, loss: float, counts: bool) -> None:
        """Note the loss of a step; one without a label (`counts` false) only opens the epoch."""
        epochs = self._sums.setdefault(task, [])
        while len(epochs) <= epoch:
            epochs.append([0.0, 0])
        if counts:
            epochs[-1][0] += loss
            epochs[-1][1] += 1
            self.latest[task] = loss

    def record(self, values: Mapping[str, float]) -> None:
        """Add one value to each named curve."""
        for name, value in values.items():
            self.curves.setdefault(name, []).append(float(value))

    def means(self) -> dict[str, list[float]]:
        """Mean loss by task, one value an epoch; NaN for an epoch without a label."""
        return {task: [s / n if n else math.nan for s, n in epochs] for task, epochs in self._sums.items()}

    def reported(self) -> dict[str, Any]:
        """Means, and at most `REPORTED` evenly spaced values of each curve, the last among them."""
        widths = {name: -(-len(values) // REPORTED) for name, values in self.curves.items()}
        curves = {name: values[::-1][:: widths[name]][::-1] for name, values in self.curves.items()}
        return {"history": self.means(), "curves": curves}

    def state_dict(self) -> dict[str, Any]:
        """Everything, as tensors and JSON values."""
        curves = {name: torch.tensor(values, dtype=torch.float64) for name, values in self.curves.items()}
        return {"sums": self._sums, "curves": curves}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state_dict`.

        Raises:
            ValueError: If it is none.
        """
        sums = {task: [[float(s), int(n)] for s, n in epochs] for task, epochs in state["sums"].items()}
        curves = {name: values.tolist() for name, values in state["curves"].items()}
        if any(values.dtype != torch.float64 or values.ndim != 1 for values in state["curves"].values()):
            raise ValueError("`curves` must be one row of float64 each")
        self._sums, self.curves = sums, curves
