"""Depth, width, sparsity and counts, with the bounds that the paper's properties state."""

from itertools import combinations, pairwise

import networkx
import pytest
import torch

from dagmtl import Subgraph, depth, edges, shared_layers, skip_lengths, sparsity, width


def space(N, M):
    return torch.ones(N, N, dtype=torch.bool).triu(1).tril(M)


def subgraph(N, M, layers):
    gamma = torch.zeros(N, N, dtype=torch.bool)
    for i, j in layers:
        gamma[i - 1, j - 1] = True
    ends = torch.ones(N, dtype=torch.bool)
    return Subgraph(gamma, ends, ends, space(N, M))


def random_subgraph(N, M, seed, share=0.5):
    """Some layers of the space, by chance."""
    kept = torch.rand(N, N, generator=torch.Generator().manual_seed(seed)) < share
    ends = torch.ones(N, dtype=torch.bool)
    return Subgraph(kept & space(N, M), ends, ends, space(N, M))


def connects(found):
    graph = networkx.DiGraph(found.gamma.nonzero().tolist())
    return 0 in graph and len(found.gamma) - 1 in graph and networkx.has_path(graph, 0, len(found.gamma) - 1)


def test_depth_is_the_longest_path() -> None:
    """Layers, not states; a graph without layers has none."""
    assert depth(subgraph(5, 4, [(1, 2), (2, 3), (1, 5), (3, 5)])) == 3
    assert depth(subgraph(5, 4, [])) == 0
    assert width(subgraph(5, 4, [])) == 0


def test_depth_equals_the_longest_of_all_paths() -> None:
    """By enumeration."""
    for seed in range(30):
        found = random_subgraph(6, 4, seed)
        layers = {(int(i), int(j)) for i, j in found.gamma.nonzero()}
        longest = 0
        for size in range(2, 7):
            for chain in combinations(range(6), size):
                if all(pair in layers for pair in pairwise(chain)):
                    longest = size - 1
        assert depth(found) == longest


def test_property_1_no_way_from_first_to_last_is_shorter_than_the_flow_allows() -> None:
    """The exact bound ⌈(N − 1)/M⌉ over subgraphs that connect them; it is reached by the longest skips."""
    met = 0
    for seed in range(400):
        N, M = 3 + seed % 8, 1 + seed % 5
        if M >= N:
            continue
        found = random_subgraph(N, M, seed, share=0.6)
        if connects(found):
            met += 1
            assert depth(found) >= -(-(N - 1) // M)
    assert met > 50
    for N in range(2, 13):
        for M in range(1, N):
            stops = [*range(1, N, M), N]
            shortest = subgraph(N, M, list(pairwise(stops)))
            assert depth(shortest) == -(-(N - 1) // M)


def test_the_printed_bound_of_property_1_is_not_exact() -> None:
    """⌈N/M⌉ is 2 for N = 8, M = 7, where one layer leads from the first state to the last."""
    assert depth(subgraph(8, 7, [(1, 8)])) == 1


def test_property_2_no_state_has_more_layers_than_the_flow_constant() -> None:
    """Over any subgraphs; the whole space reaches it."""
    for seed in range(100):
        N, M = 3 + seed % 8, 1 + seed % 2
        assert width(random_subgraph(N, M, seed)) <= M
    for N in range(2, 13):
        for M in range(1, N):
            ends = torch.ones(N, dtype=torch.bool)
            assert width(Subgraph(space(N, M), ends, ends, space(N, M))) == M


def test_width_is_the_largest_out_degree() -> None:
    """Layers that leave a state; those that enter one do not count."""
    assert width(subgraph(5, 4, [(1, 5), (2, 5), (3, 5), (4, 5)])) == 1
    assert width(subgraph(5, 4, [(1, 2), (1, 3), (1, 4), (4, 5)])) == 3


def test_sparsity_is_of_the_space_or_of_the_complete_graph() -> None:
    """Two of nine layers with M = 3, of ten without a restriction."""
    found = subgraph(5, 3, [(2, 3), (3, 4)])
    assert sparsity(found) == pytest.approx(2 / 9)
    assert sparsity(found, complete=True) == pytest.approx(2 / 10)


def test_edges_counts_the_pairs() -> None:
    """Against an enumeration."""
    for n in range(2, 14):
        for flow in range(1, n):
            assert edges(n, flow) == sum(1 for i in range(n) for j in range(n) if 1 <= j - i <= flow)


def test_the_papers_counts() -> None:
    """2.77, 4.23 and 5.38 single-task encoders for M = 3, 5, 7, and 6.50 without a reduction."""
    assert [round(edges(14, flow) / 13, 3) for flow in (3, 5, 7)] == [2.769, 4.231, 5.385]
    assert edges(13, 12) / 12 == 6.5


@pytest.mark.parametrize("flow", [0, 5])
def test_a_flow_constant_out_of_range_is_refused(flow) -> None:
    """From 1 to n − 1."""
    with pytest.raises(ValueError, match="`flow` must be from 1 to 4, for 5 states"):
        edges(5, flow)


def test_shared_layers_and_skip_lengths() -> None:
    """Pairs of tasks, and each layer once whatever tasks keep it."""
    layers = {"a": [(1, 2), (2, 5)], "b": [(2, 5)], "c": [(1, 2), (2, 3)]}
    assert shared_layers(layers) == {("a", "b"): 1, ("a", "c"): 1, ("b", "c"): 0}
    assert skip_lengths(layers) == {1: 2, 3: 1}
