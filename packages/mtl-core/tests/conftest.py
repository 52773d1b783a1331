"""What several files of core's tests share: trainings in processes of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SCENARIOS = Path(__file__).with_name("core_scenarios.py")


class Orders:
    """Orders trainings from `core_scenarios.py`; each folder is one under `base`.

    Attributes:
        seconds: How long the last order took.
        errors: What those of its processes said that ended with an error.
    """

    def __init__(self, server: "subprocess.Popen[str]", base: Path) -> None:
        self._server, self._base = server, base
        self.seconds, self.errors = 0.0, list[str]()

    def __call__(self, what: str, folder: str | None = None, **rest: Any) -> tuple[list[int], list[dict[str, Any]]]:
        """Exit statuses of the processes, and what those that ended well found."""
        out = self._base / "out"
        for left in self._base.glob("out.*"):
            left.unlink()
        given = {"what": what, "out": str(out), "folder": folder and str(self._base / folder), **rest}
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(given) + "\n")
        self._server.stdin.flush()
        statuses, self.seconds = json.loads(self._server.stdout.readline())
        self.errors = [f.read_text() for f in sorted(self._base.glob("out.*.error"))]
        return statuses, [json.loads(Path(f"{out}.{r}").read_text()) for r, s in enumerate(statuses) if s == 0]


@pytest.fixture(scope="session")
def ordering() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts the process that forks trainings, also behind a command such as `unshare`; each is started once."""
    started: dict[tuple[str, ...], subprocess.Popen[str]] = {}

    def start(*before: str) -> "subprocess.Popen[str]":
        if before not in started:
            environment, pipe = {**os.environ, "OMP_NUM_THREADS": "1"}, subprocess.PIPE
            command = [*before, sys.executable, str(SCENARIOS)]
            started[before] = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        return started[before]

    yield start
    for server in started.values():
        with server:
            assert server.stdin is not None
            server.stdin.close()


@pytest.fixture
def obey(ordering: Callable[..., "subprocess.Popen[str]"], tmp_path: Path) -> Orders:
    """Orders trainings whose folders are in the test's own."""
    return Orders(ordering(), tmp_path)
