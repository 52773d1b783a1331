r"""Whether two modules compute the same, on the example and on random inputs.

$$\max|a - b| \le \epsilon \max|a| \quad \text{for every output}$$
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mtl_core.compaction.tracing import leaves

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
"""Largest difference, as a share of the largest output: some hundred roundings of the type."""


def trials(inputs: Sequence[Any], seed: int = 0) -> list[list[Any]]:
    """The example, and inputs of its shape that are drawn at random with its mean and spread.

    What is not floating point (labels, tokens) is put in another order instead: any other value may not be allowed.
    """
    generator = torch.Generator().manual_seed(seed)

    def other(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if not value.is_floating_point():
            return value.flatten()[torch.randperm(value.numel(), generator=generator).to(value.device)].view(
                value.shape
            )
        drawn = torch.randn(value.shape, generator=generator, dtype=value.dtype).to(value.device)
        spread = value.std() if value.numel() > 1 else value.abs().sum()
        return drawn * (spread if spread.isfinite() and spread > 0 else 1.0) + value.mean().nan_to_num(0.0, 0.0, 0.0)

    return [list(inputs), [other(value) for value in inputs]]


def difference(before: Callable[..., Any], after: Callable[..., Any], inputs: Sequence[Any]) -> float:
    """The largest difference of an output as a share of the tolerance: at most 1 is equal.

    Both are run on copies: neither may change the inputs. NaN and infinities must be the same ones in the same places.
    """
    expected, given = (leaves(function(*_copies(inputs))) for function in (before, after))
    if len(expected) != len(given):
        return math.inf
    return max((_share(a, b) for a, b in zip(expected, given, strict=True)), default=0.0)


def _copies(inputs: Sequence[Any]) -> list[Any]:
    return [value.clone() if isinstance(value, Tensor) else value for value in inputs]


def _share(a: Any, b: Any) -> float:
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return 0.0 if type(a) is type(b) and a == b else math.inf
    if a.shape != b.shape or a.dtype != b.dtype:
        return math.inf
    if a.dtype not in TOLERANCE:
        return 0.0 if torch.equal(a, b) else math.inf
    usual = a.isfinite()
    if not torch.equal(a[~usual].nan_to_num(), b[~usual].nan_to_num()) or not bool(b[usual].isfinite().all()):
        return math.inf
    if not torch.equal(a.isnan(), b.isnan()):
        return math.inf
    apart = float((a[usual] - b[usual]).abs().max()) if usual.any() else 0.0
    allowed = TOLERANCE[a.dtype] * (float(a[usual].abs().max()) if usual.any() else 0.0)
    return 0.0 if apart == 0 else apart / allowed if allowed > 0 else math.inf
