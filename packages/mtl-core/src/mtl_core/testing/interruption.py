"""Watching and stopping a training from within its process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from torch import Tensor, nn

from mtl_core.data import Batch
from mtl_core.phase import Phase


class Stopped(BaseException):
    """Ends a training as a kill does: no method catches it, and nothing more is written."""


@contextmanager
def watched(before: Callable[[Phase], None]) -> Iterator[None]:
    """Call a function before each `Phase.losses`."""
    original = Phase.losses

    def losses(phase: Phase, model: nn.Module, batch: Batch, *rest: Any, **named: Any) -> dict[str, Tensor]:
        before(phase)
        return original(phase, model, batch, *rest, **named)

    with patch.object(Phase, "losses", losses):
        yield


@contextmanager
def stopped_at(count: int) -> Iterator[None]:
    """Stop a training at its `count`-th call of `Phase.losses`, counted from 1 over all phases."""
    calls = [0]

    def stop(phase: Phase) -> None:
        calls[0] += 1
        if calls[0] == count:
            raise Stopped

    with watched(stop):
        yield


@contextmanager
def poisoned(value: float) -> Iterator[None]:
    """Add a number to the loss of each task that has no label in a step; who leaves such tasks out does not notice."""
    original = Phase.losses

    def losses(phase: Phase, *rest: Any, **named: Any) -> dict[str, Tensor]:
        found = original(phase, *rest, **named)
        return {task: loss if phase.labelled[task] else loss + value for task, loss in found.items()}

    with patch.object(Phase, "losses", losses):
        yield
