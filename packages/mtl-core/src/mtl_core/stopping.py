"""Being asked to stop: SIGTERM and Ctrl-C are noted, and answered where a checkpoint can be written."""

import signal
import threading
from types import FrameType
from typing import Any


class StopRequest:
    """While active, notes SIGTERM and SIGINT; a second Ctrl-C interrupts at once. Active in the main thread only."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not installed from Python
        self._before = {}

    def answer(self, number: int) -> None:
        """Leave the training as the signal asks: exit status 143 for SIGTERM, `KeyboardInterrupt` (130) for Ctrl-C."""
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + number)

    def _note(self, number: int, _: FrameType | None) -> None:
        if self.signal == signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
