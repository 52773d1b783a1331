"""Progress of a phase: a bar with the loss per task on a terminal, one line per epoch elsewhere."""

import sys
from collections.abc import Mapping
from typing import Any


class Progress:
    """Shows where a phase is.

    Args:
        title: Name of the phase.
        steps: Steps in all.
        done: Steps that are done already.
        shown: False shows nothing.
    """

    def __init__(self, title: str, steps: int, done: int, shown: bool) -> None:
        self._title, self._shown = title, shown
        self._bar: Any = None
        if shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Bar(*columns, TextColumn("{task.fields[losses]}"), console=Console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task(title, total=steps, completed=done, losses="")

    def step(self, losses: Mapping[str, float]) -> None:
        """One step is done."""
        if self._bar is not None:
            self._bar.update(self._task, advance=1, losses=_line(losses))

    def epoch(self, epoch: int, epochs: int, losses: Mapping[str, float]) -> None:
        """An epoch is done, with these mean losses."""
        if self._shown and self._bar is None:
            print(f"{self._title}: epoch {epoch}/{epochs}  {_line(losses)}", file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()


def _line(losses: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in losses.items())
