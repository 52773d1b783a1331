"""Timing two things side by side: each repeat measures both, so a ratio holds when the machine's speed drifts.

A benchmark is a script `shared/benchmarks/PACKAGE/NAME.py` that puts what it measures into `Figures(__file__)`: printed, and
kept in `shared/results/PACKAGE/bench-NAME.csv`, of which the README's table between `<!-- bench: NAME -->` and `<!-- end -->` is
made. Measured again, a figure takes the place of the old one.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rows import Rows
from study import machine


class Figures:
    """The figures of a benchmark.

    Args:
        script: The benchmark's `__file__`.
    """

    def __init__(self, script: str) -> None:
        path = Path(script).resolve()
        self._rows = Rows(path.parent.name, f"bench-{path.stem}", ("what",))

    def add(self, what: str, values: Sequence[float], unit: str = "", digits: int = 2) -> None:
        """Print a measured quantity and keep its row.

        Args:
            what: What was measured, as the table shows it; a ratio says of what to what.
            values: One value a repeat.
            unit: Of the values; empty for a ratio.
            digits: Decimals shown.
        """
        shown = [f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values))]
        row = dict(zip(("median", "low", "high"), shown, strict=True))
        self._rows.add({"what": what, **row, "unit": unit, "repeats": len(values), **machine()})
        print(f"{what}: {shown[0]} {unit} ({shown[1]} to {shown[2]}, {len(values)} repeats)", flush=True)


def table(rows: Rows) -> str:
    """The README's table of a benchmark's rows."""
    lines = ["| | median | smallest to largest |", "|---|---|---|"]
    for row in rows:
        unit = row["unit"] and f" {row['unit']}"
        spread = f"{row['low']} to {row['high']}{unit} ({row['repeats']} repeats)"
        lines.append(f"| {row['what']} | {row['median']}{unit} | {spread} |".replace("-0", "−0"))
    return "\n".join(lines)


def work(function: Callable[[], object]) -> float:
    """Processor time of one call: on one thread the same as the clock's, less what other programs took meanwhile."""
    start = time.process_time()
    function()
    return time.process_time() - start


def compare(ours: Callable[[], object], theirs: Callable[[], object], repeats: int, warm: int = 2) -> list[float]:
    """Ratios ours / theirs of `repeats` pairs, after `warm` pairs that do not count; who goes first changes each time."""
    ratios = []
    for repeat in range(warm + repeats):
        if repeat % 2:
            a, b = work(ours), work(theirs)
        else:
            b, a = work(theirs), work(ours)
        if repeat >= warm:
            ratios.append(a / b)
    return ratios
