"""The configuration of DMO."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """Configuration of DMO.

    Args:
        alpha: Share of the weights' similarity in S, the rest being that of the losses; in [0, 1].
        tau_sim: Tasks are similar where S is larger than this. It has no absolute meaning: look at the report's S.
        tau_clique: A group counts only if its smallest S reaches this; default: every clique of similar tasks.
        tau: Temperature of the allocation: smaller values leave every task more weights.
        min_keep: The smallest share of its weights that a task keeps, however easy it is.
        epochs: Passes of the longest source, of each task alone and of each group; at least 3, better 10.
        batch_size: Samples per source and step (and per rank).
        lr: Learning rate at the start; it falls to 0 along half a cosine.
        momentum: Of SGD.
        weight_decay: L2 decay of the weights: Eq. (5)'s regulariser.

    Raises:
        ValueError: If a value is out of its range.
    """

    alpha: float = 0.5
    tau_sim: float = 0.45
    tau_clique: float | None = None
    tau: float = 1.0
    min_keep: float = 0.01
    epochs: int = 25
    batch_size: int = 64
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        whole = isinstance(self.epochs, int) and self.epochs >= 3
        rules: dict[str, tuple[bool, str]] = {
            "alpha": (0 <= self.alpha <= 1, "be in [0, 1]"),
            "tau_sim": (math.isfinite(self.tau_sim), "be finite"),
            "tau_clique": (self.tau_clique is None or math.isfinite(self.tau_clique), "be finite"),
            "tau": (0 < self.tau < math.inf, "be positive and finite"),
            "min_keep": (0 <= self.min_keep <= 1, "be a share from 0 to 1"),
            "epochs": (whole, "be a whole number of at least 3: two losses of a curve always correlate by 1 or -1"),
            "batch_size": (
                isinstance(self.batch_size, int) and self.batch_size >= 1,
                "be a whole number of at least 1",
            ),
            "lr": (0 < self.lr < math.inf, "be positive and finite"),
            "momentum": (0 <= self.momentum < 1, "be in [0, 1)"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "be >= 0 and finite"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ValueError(f"`{name}` must {rule}. Got `{name} = {getattr(self, name)}`.")

    @staticmethod
    def paper(scenario: int) -> "Config":
        r"""The paper's values for one of its scenarios.

        It prints neither $\alpha$ nor a $\tau_{sim}$, only a threshold of .8, there called $\tau_{BK}$. With it, any
        $\alpha$ from .080 to .177 gives the groups of the released code on its own similarities; .1 is one of them.

        Args:
            scenario: 1 (four data sets), 2 (CIFAR-100 as 20 tasks) or 3 (Visual Decathlon, from a pre-trained network).

        Raises:
            ValueError: If there is no such scenario.

        Examples:
            >>> Config.paper(scenario=2).epochs
            200
        """
        if scenario not in (1, 2, 3):
            raise ValueError(f"`scenario` must be 1, 2 or 3. Got `scenario = {scenario}`.")
        epochs, batch_size, lr = {1: (25, 64, 0.1), 2: (200, 64, 0.1), 3: (25, 128, 0.01)}[scenario]
        return Config(alpha=0.1, tau_sim=0.8, min_keep=0.0, epochs=epochs, batch_size=batch_size, lr=lr)
