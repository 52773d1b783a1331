"""Grouping: the golden examples, a brute-force search, orders that must not matter, and the cap on cliques."""

import itertools
import os
import random
import subprocess
import sys

import pytest
import torch

import dmo

GOLDEN = ["c10", "stl", "usps", "mnist"]
S_L = {
    "c10 stl": 0.973,
    "c10 usps": 0.744,
    "c10 mnist": 0.799,
    "stl usps": 0.869,
    "stl mnist": 0.914,
    "usps mnist": 0.981,
}


def golden(alpha):
    """S of the released code's measured losses, with weights that do not correlate."""
    S = torch.eye(4, dtype=torch.float64)
    for pair, value in S_L.items():
        i, j = (GOLDEN.index(name) for name in pair.split())
        S[i, j] = S[j, i] = (1 - alpha) * value
    return S


def named(groups, names=GOLDEN):
    return [[names[i] for i in group] for group in groups]


def test_golden_1_the_groups_of_the_released_code() -> None:
    """Three thresholds, three groupings; the clique of stl and mnist yields nothing at the first."""
    assert named(dmo.group_tasks(golden(0.5), tau_sim=0.45)) == [["usps", "mnist"], ["c10", "stl"]]
    assert sorted(named(dmo.group_tasks(golden(0.5), tau_sim=0.5))) == sorted([name] for name in GOLDEN)
    assert named(dmo.group_tasks(golden(0.0), tau_sim=0.8)) == [["stl", "usps", "mnist"], ["c10"]]


def test_the_papers_threshold_gives_the_released_codes_groups() -> None:
    """With alpha between .080 and .177, as `Config.paper` says, and not outside."""
    wanted = [["usps", "mnist"], ["c10", "stl"]]
    config = dmo.Config.paper(scenario=1)
    for alpha, equal in ((0.079, False), (0.081, True), (config.alpha, True), (0.176, True), (0.179, False)):
        assert (named(dmo.group_tasks(golden(alpha), config.tau_sim)) == wanted) == equal, alpha


def brute_force(S, tau_sim, tau_clique=None):
    """All subsets; those that are complete and that no further task completes; then the greedy rule."""
    tasks = range(len(S))

    def complete(subset):
        return all(S[i][j] > tau_sim for i, j in itertools.combinations(subset, 2))

    subsets = [s for size in range(1, len(S) + 1) for s in itertools.combinations(tasks, size) if complete(s)]
    maximal = [s for s in subsets if not any(complete((*s, t)) for t in tasks if t not in s)]

    def pairs(s):
        return [S[i][j] for i, j in itertools.combinations(s, 2)]

    if tau_clique is not None:
        maximal = [s for s in maximal if all(value >= tau_clique for value in pairs(s))]
    maximal.sort(key=lambda s: (-len(s), -round(sum(pairs(s)) / max(1, len(pairs(s))), 12), s))
    groups, used = [], set()
    for clique in [*maximal, *((t,) for t in tasks)]:
        fresh = tuple(t for t in clique if t not in used)
        used.update(fresh)
        groups += [fresh] if fresh else []
    return groups


def random_similarities(seed):
    rng = random.Random(seed)
    tasks = rng.randint(1, 10)
    S = [[1.0] * tasks for _ in range(tasks)]
    for i, j in itertools.combinations(range(tasks), 2):
        S[i][j] = S[j][i] = rng.choice([0.1, 0.3, 0.5, 0.7, 0.9, rng.random()])  # ties on purpose
    return S, rng.choice([0.2, 0.5, rng.random()]), rng.choice([None, 0.6])


def test_200_random_graphs_are_grouped_as_a_search_over_all_subsets_does() -> None:
    """Up to ten tasks, many ties, with and without a threshold for cliques; every task is in exactly one group."""
    for seed in range(200):
        S, tau_sim, tau_clique = random_similarities(seed)
        found = dmo.group_tasks(S, tau_sim, tau_clique)
        assert found == brute_force(S, tau_sim, tau_clique), seed
        assert sorted(task for group in found for task in group) == list(range(len(S)))


def by_names(S, names, tau_sim):
    """As `fit` groups: tasks in alphabetical order."""
    order = sorted(range(len(names)), key=lambda i: names[i])
    rows = [[S[i][j] for j in order] for i in order]
    return {frozenset(names[order[i]] for i in group) for group in dmo.group_tasks(rows, tau_sim)}


def test_by_names_the_order_of_the_tasks_does_not_matter() -> None:
    """All orders of a path of three tasks with two equal edges, and of five tasks with many ties."""
    path = {("a", "b"): 0.9, ("b", "c"): 0.9, ("a", "c"): 0.1}
    ties = {pair: 0.8 if sum(map(ord, pair)) % 3 else 0.2 for pair in itertools.combinations("abcde", 2)}
    for values, names in ((path, "abc"), (ties, "abcde")):
        found = set()
        for order in itertools.permutations(names):
            S = [[values.get((x, y), values.get((y, x), 1.0)) for y in order] for x in order]
            found.add(frozenset(by_names(S, order, 0.5)))
        assert len(found) == 1
    assert by_names([[1, 0.9, 0.1], [0.9, 1, 0.9], [0.1, 0.9, 1]], "abc", 0.5) == {frozenset("ab"), frozenset("c")}


HASHED = f"""
import importlib.util
specification = importlib.util.spec_from_file_location("grouping", {sys.modules["dmo.grouping"].__file__!r})
dmo = importlib.util.module_from_spec(specification)  # alone: the package would import torch
specification.loader.exec_module(dmo)
S = [[0.8 if (i * j + i + j) % 3 else 0.2 for j in range(12)] for i in range(12)]
print(dmo.group_tasks(S, 0.5), dmo.group_tasks([[1, .9, .1], [.9, 1, .9], [.1, .9, 1]], 0.5))
"""


def test_the_hashing_of_strings_does_not_matter() -> None:
    """A few values of PYTHONHASHSEED in processes of their own; `shared/studies/dmo/hashing.py` does a hundred."""
    said = set()
    for value in range(6):
        environment = {**os.environ, "PYTHONHASHSEED": str(value)}
        run = subprocess.run(
            [sys.executable, "-c", HASHED], env=environment, capture_output=True, text=True, check=True
        )
        said.add(run.stdout)
    assert len(said) == 1


def test_with_an_exploding_number_of_cliques_it_warns_and_still_groups_every_task() -> None:
    """Pairs that are not similar: 2^17 maximal cliques among 34 tasks."""
    tasks = 34
    S = [[0.1 if i // 2 == j // 2 and i != j else 0.9 for j in range(tasks)] for i in range(tasks)]
    with pytest.warns(UserWarning, match="more than 50,000 maximal cliques, of which only these were looked at"):
        groups = dmo.group_tasks(S, 0.5)
    assert sorted(task for group in groups for task in group) == list(range(tasks))
    assert len(groups) == 2


def test_a_clique_counts_only_if_its_weakest_pair_reaches_the_threshold() -> None:
    """Otherwise its tasks stand alone, unless another clique takes them."""
    S = [[1, 0.9, 0.5, 0], [0.9, 1, 0.5, 0], [0.5, 0.5, 1, 0.8], [0, 0, 0.8, 1]]
    assert dmo.group_tasks(S, 0.4) == [(0, 1, 2), (3,)]
    assert dmo.group_tasks(S, 0.4, tau_clique=0.5) == [(0, 1, 2), (3,)]
    assert dmo.group_tasks(S, 0.4, tau_clique=0.6) == [(2, 3), (0,), (1,)]


def test_one_task_is_one_group_and_arrays_and_tensors_will_do() -> None:
    """Also where its similarity to itself is 0, as of a curve that does not change."""
    assert dmo.group_tasks([[0.0]], 0.5) == [(0,)]
    S = torch.tensor([[1, 0.6], [0.6, 1]])
    assert dmo.group_tasks(S, 0.5) == dmo.group_tasks(S.numpy(), 0.5) == [(0, 1)]


@pytest.mark.parametrize(
    ("S", "message"),
    [
        ([], "`S` must be square, a row and a column for each task. Got 0 rows"),
        ([[1, 0.5]], "`S` must be square"),
        ([[1, 0.5], [0.4, 1]], r"`S` must be symmetric and finite. Got `S\[0\]\[1\] = 0.5` and `S\[1\]\[0\] = 0.4`"),
        ([[1, float("nan")], [float("nan"), 1]], "`S` must be symmetric and finite"),
    ],
)
def test_what_is_no_similarity_is_refused(S, message) -> None:
    """Not square, not symmetric, not a number."""
    with pytest.raises(ValueError, match=message):
        dmo.group_tasks(S, 0.5)


def test_a_threshold_that_is_not_a_number_is_refused() -> None:
    """NaN would give singletons without a word."""
    with pytest.raises(ValueError, match=r"`tau_sim` must be a number. Got `tau_sim = nan`"):
        dmo.group_tasks([[1.0]], float("nan"))
    with pytest.raises(ValueError, match="`tau_clique` must be a number"):
        dmo.group_tasks([[1.0]], 0.5, float("nan"))


def test_the_nearest_change_is_the_first_threshold_on_either_side_that_gives_other_groups() -> None:
    """Against a fine scan of thresholds."""
    for seed in range(15):
        S, tau_sim, tau_clique = random_similarities(seed)
        before = set(map(frozenset, dmo.group_tasks(S, tau_sim, tau_clique)))
        found = dmo.nearest_change(S, tau_sim, tau_clique)
        changing = [
            tau
            for tau in (i / 200 for i in range(-2, 203))
            if set(map(frozenset, dmo.group_tasks(S, tau, tau_clique))) != before
        ]
        if found is None:
            assert not changing
            continue
        assert set(map(frozenset, dmo.group_tasks(S, found, tau_clique))) != before
        assert all(abs(tau - tau_sim) >= abs(found - tau_sim) - 1e-12 for tau in changing)


def test_the_extremes_are_those_of_the_pairs() -> None:
    """Within and between; None where there is no pair."""
    S = [[1, 0.9, 0.2], [0.9, 1, 0.3], [0.2, 0.3, 1]]
    assert dmo.extremes(S, [(0, 1), (2,)]) == {
        "within": {"smallest": 0.9, "largest": 0.9},
        "between": {"smallest": 0.2, "largest": 0.3},
    }
    assert dmo.extremes(S, [(0, 1, 2)])["between"] is None
    assert dmo.extremes([[1.0]], [(0,)]) == {"within": None, "between": None}
