"""One optimizer step that either happens or changes nothing: backward, average over ranks, check, clip, step."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mtl_core import ranks
from mtl_core.checkpoint import StorageError


class Stepper:
    """Makes the steps of a phase and takes back what a refused one has done.

    Args:
        model: Its buffers (running means of norms) change in the forward pass already.
        world: Number of ranks.
        scaler: Scales float16 losses; does nothing where it is not enabled.
    """

    def __init__(self, model: nn.Module, world: int, scaler: torch.amp.GradScaler) -> None:
        self._world, self._scaler = world, scaler
        self.buffers = [b for b in model.buffers() if b.is_floating_point() or b.dtype == torch.int64]
        self._before = [b.clone() for b in self.buffers]
        self._names = {id(p): name for name, p in model.named_parameters()}
        self._fresh = True  # no loss of this step was asked for yet
        self._source: object = None

    def begin(self) -> None:
        """A new step begins."""
        self._fresh = True

    def remember(self) -> None:
        """Keep the buffers as they are, at the first loss of a step: what a refused step goes back to."""
        if self._fresh:
            self._fresh = False
            for kept, buffer in zip(self._before, self.buffers, strict=True):
                kept.copy_(buffer)

    @torch.no_grad()
    def restore(self) -> None:
        """Put the buffers back."""
        for kept, buffer in zip(self._before, self.buffers, strict=True):
            buffer.copy_(kept)

    def step(self, loss: Tensor, optimizer: Any, clip: float | None, where: str) -> None:
        """Backward, average over ranks, (unscale, clip,) step, zero.

        Args:
            loss: One number; without a gradient where this rank has no label in this step.
            optimizer: Has `step`, `zero_grad` and `param_groups`.
            clip: Largest norm of the gradient; None does not clip.
            where: Names the step in messages.

        Raises:
            FloatingPointError: If the loss or a gradient is NaN or infinite; nothing has changed then.
        """
        self.begin()
        if not torch.isfinite(loss.detach()):
            self.restore()
            raise FloatingPointError(f"The loss of {where} must be finite. Got {loss.item()}; no step was made.")
        if loss.requires_grad:
            self._scaler.scale(loss).backward()
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        ranks.average_gradients(parameters, self._world)
        # Running means of norms: backward still needed this rank's own.
        ranks.copy_first(self.buffers, self._world)
        gradients = [p.grad for p in parameters if p.grad is not None]
        scaled = self._scaler.is_enabled() and bool(gradients)
        if scaled:
            self._scaler.unscale_(optimizer)
        elif not torch.isfinite(torch.nn.utils.get_total_norm(gradients)) and not all(map(_finite, gradients)):
            self.restore()
            sick = [self._names.get(id(p), "a loss weight") for p in parameters if not _finite(p.grad)]
            optimizer.zero_grad(set_to_none=True)
            raise FloatingPointError(
                f"The gradient of {where} must be finite. Got NaN or Inf; no step was made. "
                f"Look at the task whose head is among {', '.join(f'`{name}`' for name in sick[:-9:-1])}."
            )
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, clip)
        if scaled:
            self._scaler.step(optimizer)
            self._scaler.update()
        else:
            self._optimize(optimizer)
        optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """The scale of float16 losses."""
        return self._scaler.state_dict() if self._scaler.is_enabled() else {}

    def load_state_dict(self, state: Mapping[str, Any], source: object) -> None:
        """Go on from a `state_dict`.

        Args:
            state: The state.
            source: Where it is from, for the message should the optimizer not be able to use its own state from there.
        """
        self._source = source
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(dict(state))

    def _optimize(self, optimizer: Any) -> None:
        """Only the first step after a stop tells whether an optimizer can use the state that it has taken."""
        try:
            optimizer.step()
        except Exception as error:
            if self._source is None:
                raise
            raise StorageError(
                f"`{self._source}` does not fit the optimizer ({type(error).__name__}: {error}). "
                "Delete it to continue from the checkpoint before it (or start again)."
            ) from error
        self._source = None


def _finite(tensor: Tensor | None) -> bool:
    return tensor is None or bool(torch.isfinite(tensor).all())
