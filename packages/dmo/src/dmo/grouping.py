r"""Which tasks share a network: the maximal cliques of the graph of similar tasks, the largest first.

$$E = \{(i, j) \mid S_{ij} > \tau_{sim},\ i \ne j\}$$

Cliques are taken by size, then by mean similarity; the tasks of a clique that no group has yet form a group. Where both are
equal the order of the tasks decides, so who wants a result that hangs on no order sorts the tasks first, as `fit` does.

Choi, Jin, Kim, *Task-Aware Dynamic Model Optimization for Multi-Task Learning*, Eq. (4) and Section III-C.
"""

import math
import warnings
from collections.abc import Sequence
from itertools import combinations, islice
from typing import Any

MOST_CLIQUES = 50_000
"""Cliques that are looked at; 60 tasks of which nine tenths of the pairs are similar have 600,000."""

TOO_MANY = (
    f"The graph of similar tasks has more than {MOST_CLIQUES:,} maximal cliques, of which only these were looked at: a larger "
    "group may have been missed. Another `tau_sim` makes the graph simpler."
)

DIGITS = 12
"""Mean similarities are compared to so many digits: more is rounding, which hangs on the order of summation."""


def group_tasks(S: Any, tau_sim: float, tau_clique: float | None = None) -> list[tuple[int, ...]]:
    r"""Group tasks by their similarity; every task is in exactly one group.

    Exact ties between cliques (the same size and mean similarity) go to the one whose tasks come first.

    Args:
        S: Similarities, `[T, T]`, symmetric: a tensor, an array or lists; the diagonal does not count.
        tau_sim: $\tau_{sim}$: tasks are joined by an edge where $S_{ij} > \tau_{sim}$.
        tau_clique: A clique of several tasks counts only if its smallest similarity reaches this; None: all count.

    Returns:
        Indices of the tasks of each group, in the order in which the groups were found.

    Raises:
        ValueError: If `S` is not square, symmetric and finite, or a threshold is NaN.

    Examples:
        >>> group_tasks([[1, 0.5, 0.4], [0.5, 1, 0.9], [0.4, 0.9, 1]], tau_sim=0.45)
        [(1, 2), (0,)]
    """
    rows = _checked(S)
    for name, value in (("tau_sim", tau_sim), ("tau_clique", tau_clique)):
        if value is not None and math.isnan(value):
            raise ValueError(f"`{name}` must be a number. Got `{name} = {value}`.")
    groups: list[tuple[int, ...]] = []
    rest = list(range(len(rows)))
    while rest:
        cliques, all_of_them = _cliques(rows, rest, tau_sim)
        if tau_clique is not None:
            cliques = [clique for clique in cliques if _smallest(rows, clique) >= tau_clique]
        # What is in no clique that counts stands alone.
        cliques = sorted(cliques, key=lambda clique: (-len(clique), -_mean(rows, clique), clique))
        cliques += [(task,) for task in rest]
        if not all_of_them:
            warnings.warn(TOO_MANY, stacklevel=2)
            cliques = cliques[:1]  # the others may be better among the tasks that it leaves
        for clique in cliques:
            fresh = tuple(task for task in clique if task in rest)
            if fresh:
                groups.append(fresh)
                rest = [task for task in rest if task not in fresh]
    return groups


def nearest_change(S: Any, tau_sim: float, tau_clique: float | None = None) -> float | None:
    r"""The $\tau_{sim}$ nearest to the one given at which other groups are found.

    Args:
        S: Similarities, as for `group_tasks`.
        tau_sim: $\tau_{sim}$.
        tau_clique: As for `group_tasks`.

    Returns:
        A threshold below `tau_sim` (then the largest that gives other groups) or above it (the smallest); None where none
        does, as with a single task.

    Examples:
        >>> nearest_change([[1, 0.9], [0.9, 1]], tau_sim=0.45)
        0.9
        >>> nearest_change([[1, 0.5], [0.5, 1]], tau_sim=0.7) < 0.5
        True
    """
    rows = _checked(S)
    before = {frozenset(group) for group in group_tasks(rows, tau_sim, tau_clique)}
    values = {rows[i][j] for i, j in _pairs(len(rows))}
    # An edge of similarity v goes at a threshold of v, and comes just below it.
    thresholds = [v if v > tau_sim else math.nextafter(v, -math.inf) for v in values]
    for tau in sorted(thresholds, key=lambda tau: (abs(tau - tau_sim), tau)):
        if {frozenset(group) for group in group_tasks(rows, tau, tau_clique)} != before:
            return tau
    return None


def extremes(S: Any, groups: Sequence[Sequence[int]]) -> dict[str, dict[str, float] | None]:
    """Smallest and largest similarity of two tasks of one group, and of two tasks of different groups.

    Args:
        S: Similarities, as for `group_tasks`.
        groups: Indices of the tasks of each group.

    Returns:
        `within` and `between`, each with `smallest` and `largest`, or None where there is no such pair.

    Examples:
        >>> extremes([[1, 0.5, 0.4], [0.5, 1, 0.9], [0.4, 0.9, 1]], [(1, 2), (0,)])["between"]
        {'smallest': 0.4, 'largest': 0.5}
    """
    rows = _checked(S)
    of = {task: place for place, group in enumerate(groups) for task in group}
    pairs = _pairs(len(rows))
    sides = {
        "within": [rows[i][j] for i, j in pairs if of[i] == of[j]],
        "between": [rows[i][j] for i, j in pairs if of[i] != of[j]],
    }
    return {name: {"smallest": min(v), "largest": max(v)} if v else None for name, v in sides.items()}


def _checked(S: Any) -> list[list[float]]:
    given = S.tolist() if hasattr(S, "tolist") else S
    rows = [[float(value) for value in row] for row in given]
    if not rows or any(len(row) != len(rows) for row in rows):
        raise ValueError(f"`S` must be square, a row and a column for each task. Got {len(rows)} rows.")
    for i, j in _pairs(len(rows)):
        if not (math.isfinite(rows[i][j]) and abs(rows[i][j] - rows[j][i]) <= 1e-6):
            raise ValueError(
                f"`S` must be symmetric and finite. Got `S[{i}][{j}] = {rows[i][j]}` and `S[{j}][{i}] = {rows[j][i]}`."
            )
    return rows


def _cliques(
    rows: Sequence[Sequence[float]], tasks: Sequence[int], tau_sim: float
) -> tuple[list[tuple[int, ...]], bool]:
    """The maximal cliques among some tasks, and whether these are all."""
    import networkx

    graph = networkx.Graph()
    graph.add_nodes_from(tasks)
    graph.add_edges_from((i, j) for i, j in combinations(tasks, 2) if rows[i][j] > tau_sim)  # Eq. (4)
    found = [tuple(sorted(clique)) for clique in islice(networkx.find_cliques(graph), MOST_CLIQUES + 1)]
    return found[:MOST_CLIQUES], len(found) <= MOST_CLIQUES


def _pairs(tasks: int) -> list[tuple[int, int]]:
    return list(combinations(range(tasks), 2))


def _mean(rows: Sequence[Sequence[float]], clique: Sequence[int]) -> float:
    values = [rows[i][j] for i, j in combinations(clique, 2)]
    return round(math.fsum(values) / len(values), DIGITS) if values else 0.0


def _smallest(rows: Sequence[Sequence[float]], clique: Sequence[int]) -> float:
    return min((rows[i][j] for i, j in combinations(clique, 2)), default=math.inf)
