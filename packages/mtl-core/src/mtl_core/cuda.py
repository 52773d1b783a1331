"""What is special to CUDA; importable and harmless without a device."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def best_device(index: int = 0) -> torch.device:
    """The GPU `index` where there is one, else the CPU."""
    return torch.device("cuda", index) if torch.cuda.is_available() else torch.device("cpu")


def move(tensor: Tensor, device: torch.device) -> Tensor:
    """Move a batch's tensor to the device; to a GPU through pinned memory, without waiting."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@contextmanager
def tensor_float_32(enabled: bool) -> Iterator[None]:
    """Matrix products and convolutions in TF32 within the context (faster on Ampere and later, about three digits)."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = enabled
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def peak_memory(device: torch.device) -> int | None:
    """Largest memory that tensors took on a GPU since the start, in bytes; None on a CPU."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def seconds(function: Callable[[], object], device: torch.device) -> float:
    """Time one call: on a GPU by events, so that waiting work is neither missed nor counted twice."""
    if device.type != "cuda":
        start = time.perf_counter()
        function()
        return time.perf_counter() - start
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize(device)
    begin.record()
    function()
    end.record()
    torch.cuda.synchronize(device)
    return begin.elapsed_time(end) / 1e3
