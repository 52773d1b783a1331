"""What is special to a GPU is harmless without one."""

import pytest
import torch

from mtl_core import cuda


def test_the_best_device_is_a_gpu_where_there_is_one() -> None:
    """Of the number asked for."""
    assert cuda.best_device(0) == torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


def test_moving_to_the_cpu_copies_nothing() -> None:
    """The tensor itself comes back."""
    x = torch.rand(3)
    assert cuda.move(x, torch.device("cpu")) is x


@pytest.mark.parametrize("enabled", [True, False])
def test_tensor_float_32_is_set_back(enabled: bool) -> None:
    """Also after an error, for matrix products and for convolutions."""

    def flags() -> tuple[bool, bool]:
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    before = flags()
    with cuda.tensor_float_32(enabled):
        assert flags() == (enabled, enabled)
    assert flags() == before


def test_time_and_memory_are_measured_on_a_cpu_too() -> None:
    """Seconds of one call; no statistics of a memory that is not there."""
    calls = []
    assert 0 <= cuda.seconds(lambda: calls.append(1), torch.device("cpu")) < 1
    assert calls == [1]
    assert cuda.peak_memory(torch.device("cpu")) is None


@pytest.mark.cuda
def test_a_gpu_is_used_where_there_is_one() -> None:
    """Moved through pinned memory, timed by events, with a peak."""
    device = torch.device("cuda")
    x = torch.rand(1000)
    assert torch.equal(cuda.move(x, device).cpu(), x)
    assert cuda.seconds(lambda: torch.rand(10, device=device), device) >= 0
    assert (cuda.peak_memory(device) or 0) > 0
