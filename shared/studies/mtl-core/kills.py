"""Trainings stopped at random moments by SIGKILL, SIGTERM or Ctrl-C, and continued by the same command.

A moment is drawn uniformly over the time that the uninterrupted run takes, writing a checkpoint after every step; where it
comes too late, another is drawn. Then the same command is given again, and every bit of the weights is compared.
"""

import atexit
import json
import random
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from rows import Rows
from study import ROOT, Study

RUNS = {
    "fit": "fit",
    "fit_single_tasks": "single",
    "AdapMTL": f"{ROOT / 'packages' / 'adapmtl' / 'tests' / 'adapmtl_scenarios.py'}:fit",
}
"""What is ordered from core's `core_scenarios.py`; each with norms, dropout and an optimizer that has state."""

# Between two phases, and before the first, SIGTERM ends a process as it ends any other.
SIGNALS = {"KILL": (-signal.SIGKILL,), "TERM": (143, -signal.SIGTERM), "INT": (130,)}
"""Signals with the exit statuses that a process stopped by them may have."""

TIMES = 20


@cache
def server() -> "subprocess.Popen[str]":
    """The process that forks one for each order: torch is imported once."""
    script = ROOT / "packages" / "mtl-core" / "tests" / "core_scenarios.py"
    started = subprocess.Popen([sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(started.communicate)  # closes its input, which ends it
    return started


def order(folder: Path, what: str, **rest: Any) -> tuple[int, str, float]:
    """Exit status, hash of the weights and seconds of one process that trains in a folder."""
    given = {"what": RUNS[what], "folder": str(folder / "run"), "out": str(folder / "out"), **rest}
    started = server()
    assert started.stdin is not None
    assert started.stdout is not None
    started.stdin.write(json.dumps(given) + "\n")
    started.stdin.flush()
    (status,), seconds = json.loads(started.stdout.readline())
    return status, json.loads((folder / "out.0").read_text())["sha"] if status == 0 else "", seconds


_whole: dict[str, tuple[str, float]] = {}


def train(folder: Path, *, what: str, signal: str, number: int) -> dict[str, object]:
    """Stop a run once, give the same command again, and compare with the run that was never stopped."""
    if what not in _whole:
        (folder / "whole").mkdir(parents=True, exist_ok=True)
        status, sha, seconds = order(folder / "whole", what)
        assert status == 0
        _whole[what] = sha, seconds
    sha, seconds = _whole[what]
    draw = random.Random(f"{what} {signal} {number}")
    status, attempt = 0, folder
    while status == 0:
        moment, attempt = draw.random(), folder / f"{draw.random()}"
        attempt.mkdir(parents=True)
        status, _, _ = order(attempt, what, after=[moment * seconds, NUMBERS[signal]])
    assert status in SIGNALS[signal], status
    ended, again, _ = order(attempt, what)
    return {"moment": f"{moment:.3f}", "status": status, "equal": int(ended == 0 and again == sha)}


NUMBERS = {name: int(getattr(signal, f"SIG{name}")) for name in SIGNALS}


def table(rows: Rows) -> str:
    """How many of the stopped runs ended with the weights of the uninterrupted one."""
    lines = ["| | SIGKILL | SIGTERM | Ctrl-C |", "|---|---|---|---|"]
    for what in RUNS:
        found = [rows.where(what=what, signal=name) for name in SIGNALS]
        cells = [f"{sum(int(row['equal']) for row in those)} of {len(those)}" for those in found]
        lines.append(
            f"| `{what}` | {' | '.join(cells)} |" if what != "AdapMTL" else f"| {what} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


STUDY = Study(
    key=("what", "signal", "number"),
    trainings=[
        {"what": what, "signal": name, "number": number} for what in RUNS for name in SIGNALS for number in range(TIMES)
    ],
    train=train,
    seconds=2,
    tiny={"what": "fit", "signal": "KILL", "number": 0},
    tables={"kills": table},
)
