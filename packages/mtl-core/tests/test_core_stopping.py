"""Requests to stop are noted while one can answer them, and handlers are put back."""

import os
import signal
import threading

import pytest

from mtl_core.stopping import StopRequest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_is_noted_and_the_handlers_come_back(number: int) -> None:
    """Nothing is interrupted at the moment of the signal."""
    before = signal.getsignal(number)
    with StopRequest() as request:
        assert request.signal is None
        os.kill(os.getpid(), number)
        assert request.signal == number
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_interrupts_at_once() -> None:
    """Whoever asks twice does not want to wait; a second SIGTERM is only a reminder."""
    with StopRequest():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_the_answer_is_what_the_signal_asks_for() -> None:
    """Exit status 143, or the interruption that ends a process with 130."""
    with pytest.raises(SystemExit, match=r"143"):
        StopRequest().answer(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        StopRequest().answer(signal.SIGINT)


def test_another_thread_than_the_main_one_notes_nothing() -> None:
    """Python lets only the main thread handle signals."""
    before, seen = signal.getsignal(signal.SIGTERM), []

    def enter() -> None:
        with StopRequest():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]
