"""Several processes: what is reduced, gathered and waited for. With one process everything here does nothing."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.distributed as dist
from torch import Tensor

_alone: ContextVar[bool] = ContextVar("_alone", default=False)


class RankLostError(ConnectionError):
    """Another process of this training has ended, so this one cannot go on; the message says what to do."""


@contextmanager
def together() -> Iterator[None]:
    """Within it this process waits for the others.

    Raises:
        RankLostError: If one of them has gone.
    """
    try:
        yield
    except RuntimeError as error:  # torch has no type of its own for it: gloo's are plain, the others subclasses
        said = " ".join(str(error).split())[:200]
        raise RankLostError(
            f"Another process of this training has gone ({said}). See what it said last, and give the same command "
            "again: it continues from the last checkpoint."
        ) from error


def connect() -> tuple[int, int]:
    """Join the other processes if `torchrun` started this one; give (rank, number of ranks)."""
    if _alone.get() or not dist.is_available():
        return 0, 1
    if not dist.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        with together():
            dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


@contextmanager
def alone() -> Iterator[None]:
    """Within it this process works for itself: `connect` gives (0, 1), so nothing waits for the other ranks."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def device_index() -> int:
    """The GPU of this process on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def total(tensor: Tensor, world: int) -> Tensor:
    """The sum over ranks, in place."""
    if world > 1:
        with together():
            dist.all_reduce(tensor)
    return tensor


def largest(tensor: Tensor, world: int) -> Tensor:
    """The largest value over ranks, element by element, in place."""
    if world > 1:
        with together():
            dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return tensor


def copy_first(tensors: Sequence[Tensor], world: int) -> None:
    """Overwrite the tensors with those of rank 0; one message for each type."""
    if world == 1:
        return
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        same = [tensor for tensor in tensors if tensor.dtype == dtype]
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in same])
        with together():
            dist.broadcast(flat, 0)
        for tensor, part in zip(same, flat.split([tensor.numel() for tensor in same]), strict=True):
            tensor.detach().copy_(part.view(tensor.shape))


def average_gradients(parameters: Sequence[Tensor], world: int) -> None:
    """Average gradients over ranks, one message for each type; what no rank has a gradient of keeps none."""
    if world == 1:
        return
    used = largest(torch.tensor([int(parameter.grad is not None) for parameter in parameters]), world).tolist()
    parameters = [parameter for parameter, anywhere in zip(parameters, used, strict=True) if anywhere]
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for dtype in dict.fromkeys(parameter.dtype for parameter in parameters):
        same = [p.grad for p in parameters if p.dtype == dtype and p.grad is not None]
        flat = total(torch.cat([gradient.reshape(-1) for gradient in same]), world).div_(world)
        for gradient, part in zip(same, flat.split([gradient.numel() for gradient in same]), strict=True):
            gradient.copy_(part.view(gradient.shape))


def wait(world: int) -> None:
    """Wait for all ranks."""
    if world > 1:
        with together():
            dist.barrier()


def gather(tensor: Tensor, world: int) -> Sequence[Tensor]:
    """The tensors of all ranks; the first axis may differ in length."""
    if world == 1:
        return [tensor]
    lengths = torch.zeros(world, dtype=torch.int64)
    lengths[dist.get_rank()] = len(tensor)
    total(lengths, world)
    longest = int(lengths.max())
    padded = torch.zeros((longest, *tensor.shape[1:]), dtype=tensor.dtype)
    padded[: len(tensor)] = tensor
    parts = [torch.empty_like(padded) for _ in range(world)]
    with together():
        dist.all_gather(parts, padded)
    return [part[:length] for part, length in zip(parts, lengths.tolist(), strict=True)]
