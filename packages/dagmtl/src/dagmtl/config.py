"""What the user asks for."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor

from dagmtl.reduction import Subgraph, keep_all, reduce_flow

Reduction: TypeAlias = Callable[[Tensor, Tensor, Tensor], Subgraph]
"""`reduction(gamma, alpha, beta) -> Subgraph`, of values after the sigmoid: `reduce_flow`, `partial(reduce_random, seed=0)`."""

ABLATIONS: dict[str, dict[str, Any]] = {
    "flow restriction": {"flow": None},
    "read-in/out": {"read_in_out": False},
    "reduction": {"reduction": keep_all},
    "squeeze loss": {"lambda_sq": 0.0},
}
"""The parts that the paper's Table 6 leaves out one by one, and what that means here."""


@dataclass(frozen=True)
class Config:
    """Configuration of DAG-MTL.

    Args:
        flow: Flow constant M: a layer leads at most so many states on; none: wherever it likes.
        kappa: Budget of each task in layers; default one less than there are states, which is a chain.
        lambda_sq: Strength of the squeeze loss.
        warmup_epochs: Passes of the longest source with the weights of connections frozen; 0 leaves the stage out.
        search_epochs: Passes in which layers and the weights of connections are trained together.
        epochs: Passes of fine-tuning, with the network that was found.
        batch_size: Samples per source and step (and per rank).
        lr: Learning rate of layers and heads.
        upper_lr: Learning rate of the weights of connections.
        weight_decay: L2 decay of layers and heads.
        reinitialise: Fine-tune from new weights instead of those of the search.
        read_in_out: Every state reads the input and is read out; else only the first and the last.
        reduction: Makes a task's subgraph of its weights after the sigmoid.

    Raises:
        ValueError: If a value is out of its range.
    """

    flow: int | None = 7
    kappa: float | None = None
    lambda_sq: float = 0.05
    warmup_epochs: int = 4
    search_epochs: int = 16
    epochs: int = 20
    batch_size: int = 16
    lr: float = 1e-3
    upper_lr: float = 1e-2
    weight_decay: float = 1e-4
    reinitialise: bool = False
    read_in_out: bool = True
    reduction: Reduction = reduce_flow

    def __post_init__(self) -> None:
        rules: dict[str, tuple[bool, str]] = {
            "flow": (self.flow is None or (isinstance(self.flow, int) and self.flow >= 1), "be at least 1, or None"),
            "kappa": (self.kappa is None or 0 <= self.kappa < math.inf, "be >= 0 and finite, or None"),
            "lambda_sq": (0 <= self.lambda_sq < math.inf, "be >= 0 and finite"),
            "warmup_epochs": (self.warmup_epochs >= 0, "be >= 0"),
            "lr": (0 < self.lr < math.inf, "be positive and finite"),
            "upper_lr": (0 <= self.upper_lr < math.inf, "be >= 0 and finite"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "be >= 0 and finite"),
        }
        for name in ("search_epochs", "epochs", "batch_size"):
            rules[name] = (isinstance(getattr(self, name), int) and getattr(self, name) >= 1, "be at least 1")
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ValueError(f"`{name}` must {rule}. Got `{name} = {getattr(self, name)}`.")

    def without(self, part: str) -> "Config":
        """This configuration without a part of the method: the ablations of the paper's Table 6.

        Args:
            part: "flow restriction", "read-in/out", "reduction" or "squeeze loss".

        Raises:
            ValueError: If it is another word.

        Examples:
            >>> Config().without("squeeze loss").lambda_sq
            0.0
        """
        if part not in ABLATIONS:
            raise ValueError(f"`part` must be one of {', '.join(ABLATIONS)}. Got `part = {part!r}`.")
        return dataclasses.replace(self, **ABLATIONS[part])
