"""What the user asks for."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch

from lomt.attach import Tap
from lomt.layers import Rule, last_layer
from mtl_core.fit import FUSED_ADAM

Group: TypeAlias = Literal["in", "out"]
"""Which weights of a convolution form a group: those that read one input channel, or those that make one output channel."""


@dataclass(frozen=True)
class Config:
    """Configuration of LOMT.

    Args:
        lambda_: Strength of the group sparsity in phase 1.
        lambdas: Several strengths to choose from on the validation part, instead of `lambda_`.
        epochs: Passes of the longest source in phase 2, the multi-task model.
        sparse_epochs: Passes in phase 1, each task alone; default as many as in phase 2.
        batch_size: Samples per source and step (and per rank).
        lr: Learning rate, in both phases.
        weight_decay: Decay of the weights, in both phases.
        min_density: A layer is active if more than this share of its groups is not zero.
        seeds: Trainings of each task in phase 1; a layer counts if it is active in all of them.
        group: What becomes zero together: the weights that read one input channel, or those that make one output channel.
        tap: Where at a layer features are taken: raw from the convolution, or after its norm and activation.
        layers: Names of the convolutions to choose from, in forward order; default those of the main branch.
        rule: Chooses the layer of the active ones: `last_layer`, `prefix_layer`, or a function of one's own.
        optimizer: Makes the optimizer of both phases: `optimizer(parameters, lr=..., weight_decay=...)`.

    Raises:
        ValueError: If a value is out of its range.
    """

    lambda_: float = 1e-3
    lambdas: tuple[float, ...] = ()
    epochs: int = 30
    sparse_epochs: int | None = None
    batch_size: int = 16
    lr: float = 1e-3
    weight_decay: float = 1e-4
    min_density: float = 0.01
    seeds: int = 1
    group: Group = "in"
    tap: Tap = "raw"
    layers: tuple[str, ...] = ()
    rule: Rule = last_layer
    optimizer: Callable[..., torch.optim.Optimizer] = FUSED_ADAM

    def __post_init__(self) -> None:
        rules: dict[str, tuple[bool, str]] = {
            "lambda_": (self.lambda_ >= 0 and math.isfinite(self.lambda_), "be >= 0 and finite"),
            "lambdas": (
                all(v >= 0 and math.isfinite(v) for v in self.lambdas) and len(set(self.lambdas)) == len(self.lambdas),
                "be different numbers >= 0",
            ),
            "lr": (self.lr > 0 and math.isfinite(self.lr), "be positive and finite"),
            "weight_decay": (self.weight_decay >= 0, "be >= 0"),
            "min_density": (0 <= self.min_density < 1, "be in [0, 1)"),
            "seeds": (self.seeds >= 1, "be at least 1"),
            "group": (self.group in ("in", "out"), 'be "in" or "out"'),
            "tap": (self.tap in ("raw", "activated"), 'be "raw" or "activated"'),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ValueError(f"`{name}` must {rule}. Got `{name} = {getattr(self, name)!r}`.")
        for name in ("epochs", "sparse_epochs", "batch_size"):
            value = getattr(self, name)
            if not (isinstance(value, int) and value >= 1) and not (name == "sparse_epochs" and value is None):
                raise ValueError(f"`{name}` must be a whole number of at least 1. Got `{name} = {value}`.")

    @staticmethod
    def paper() -> "Config":
        """The values that the paper prints: lambda 0.001, five seeds. (Its learning rate is in its code only.)"""
        return Config(lambda_=1e-3, seeds=5)
