"""Timing two things side by side: each repeat measures both, so a ratio holds when the machine's speed drifts."""

import statistics
import time
from collections.abc import Callable


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


def spread(values: list[float], unit: str = "", digits: int = 3) -> str:
    """`median (smallest to largest of n)`."""
    low, high = min(values), max(values)
    median = statistics.median(values)
    return f"{median:.{digits}f}{unit} ({low:.{digits}f} to {high:.{digits}f}, {len(values)} repeats)"
