"""Algorithm 1 against its plain transcription, its worked graphs, and what must never be lost."""

import math

import numpy as np
import pytest
import torch

import dagmtl
from dagmtl import reduce_flow, reduce_random, reduce_threshold
from dagmtl.topology import edges

A = {
    "gamma": [[0, 0.9, 0.4, 0], [0, 0, 0.8, 0.3], [0, 0, 0, 0.7], [0, 0, 0, 0]],
    "alpha": [0.9, 0.2, 0.1, 0.3],
    "beta": [0.1, 0.2, 0.3, 0.8],
}
B = {
    "gamma": [[0, 0.6, 0.7, 0.2, 0], [0, 0, 0.9, 0.5, 0.3], [0, 0, 0, 0.8, 0.6], [0, 0, 0, 0, 0.4], [0] * 5],
    "alpha": [0.3, 0.8, 0.5, 0.2, 0.1],
    "beta": [0.2, 0.1, 0.4, 0.9, 0.6],
}
C = {
    "gamma": [[0, 0.1, 0.1, 0.3], [0, 0, 0.7, 0.3], [0, 0, 0, 0.2], [0, 0, 0, 0]],
    "alpha": [0.9, 0.4, 0.3, 0.2],
    "beta": [0.2, 0.3, 0.4, 0.5],
}
REMOVED = {
    "A": ((0, 3), (1, 5), (0, 2), (2, 5), (3, 5), (0, 4), (2, 4), (1, 3)),
    "B": ((2, 6), (0, 4), (0, 3), (3, 6), (2, 4)),
    "C": ((2, 5), (0, 3), (0, 4), (1, 3)),
}
LEFT = {
    "A": {(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)},
    "B": {(0, 2), (2, 3), (3, 4), (4, 6)},
    "C": {(0, 1), (0, 2), (1, 2), (1, 4), (1, 5), (2, 3), (2, 4), (3, 4), (3, 5), (4, 5)},
}
GOLDEN = {"A": A, "B": B, "C": C}
REDUCTIONS = {
    "flow": reduce_flow,
    "threshold": reduce_threshold,
    "random": lambda *weights, **options: reduce_random(*weights, 7, **options),
}


def tensors(graph):
    return tuple(torch.tensor(graph[name], dtype=torch.float64) for name in ("gamma", "alpha", "beta"))


def random_graph(seed, N=None, M=None, spread=2.0):
    """σ of normal numbers, as a search leaves them."""
    g = torch.Generator().manual_seed(seed)
    N = N or int(torch.randint(2, 13, (), generator=g))
    M = M or int(torch.randint(1, N, (), generator=g))
    gamma = torch.sigmoid(spread * torch.randn(N, N, generator=g, dtype=torch.float64)).triu(1).tril(M)
    alpha, beta = (torch.sigmoid(spread * torch.randn(N, generator=g, dtype=torch.float64)) for _ in range(2))
    return gamma, alpha, beta


def nodes_of(subgraph):
    """Edges of a subgraph by the numbers of the algorithm."""
    N = len(subgraph.alpha)
    hidden = {(int(i) + 1, int(j) + 1) for i, j in subgraph.gamma.nonzero()}
    ends = {(0, int(j) + 1) for j in subgraph.alpha.nonzero()} | {(int(i) + 1, N + 1) for i in subgraph.beta.nonzero()}
    return hidden | ends


def reference(gamma, alpha, beta, reach="anchored", trace=None):
    """Algorithm 1 as it is written down: everything anew in every round, loops over nodes."""
    N = len(alpha)
    G, A, B = gamma.tolist(), alpha.tolist(), beta.tolist()
    N_alpha = min(A.index(max(A)), N - 2)
    N_beta = max(N_alpha + 1, B.index(max(B)))
    psi = [[0.0] * (N + 2) for _ in range(N + 2)]
    for n in range(N_alpha, N_beta + 1):
        psi[0][n + 1], psi[n + 1][N + 1] = A[n], B[n]
        for m in range(N_alpha, N_beta + 1):
            psi[n + 1][m + 1] = G[n][m]
    removed = []
    while True:
        best, chosen = math.inf, None
        scores = {}
        columns = [[row[j] for row in psi] for j in range(N + 2)]
        inflow, In = [sum(column) for column in columns], [sum(map(bool, column)) for column in columns]
        outflow, Out = [sum(row) for row in psi], [sum(map(bool, row)) for row in psi]
        for i in range(N + 2):
            for j in range(N + 2):
                S = 0.0
                if In[i] and Out[i]:
                    S += inflow[i] / In[i] / outflow[i]
                if Out[j] and In[j]:
                    S += outflow[j] / Out[j] / inflow[j]
                S *= psi[i][j]
                scores[i, j] = S
                if 0 < S < best:
                    best, chosen = S, (i, j)
        if trace is not None:
            trace.append((scores, chosen, best))
        if chosen is None:
            break
        i, j = chosen
        weight, psi[i][j] = psi[i][j], 0.0
        if not gets_through(psi, N_alpha + 1, N_beta + 1, reach):
            psi[i][j] = weight
            break
        removed.append(chosen)
    return {(i, j) for i in range(N + 2) for j in range(N + 2) if psi[i][j] > 0}, tuple(removed)


def gets_through(psi, first, last, reach):
    """Depth-first search."""
    sink = len(psi) - 1
    if reach == "anchored" and not (psi[0][first] and psi[last][sink]):
        return False
    start, goal = (first, last) if reach == "anchored" else (0, sink)
    seen, stack = set(), [start]
    while stack:
        node = stack.pop()
        seen.add(node)
        stack += [j for j in range(len(psi)) if psi[node][j] > 0 and j not in seen]
    return goal in seen


@pytest.mark.parametrize("name", GOLDEN)
def test_the_worked_graphs_lose_these_edges_in_this_order(name) -> None:
    """Every removal, and what is left."""
    found = reduce_flow(*tensors(GOLDEN[name]))
    assert found.removed == REMOVED[name]
    assert nodes_of(found) == LEFT[name]


@pytest.mark.parametrize(
    ("name", "depth", "width", "sparsity", "complete"),
    [("A", 3, 1, 3 / 5, 3 / 6), ("B", 2, 1, 2 / 9, 2 / 10), ("C", 3, 2, 5 / 6, 5 / 6)],
)
def test_the_worked_graphs_have_this_topology(name, depth, width, sparsity, complete) -> None:
    """Depth, width, and sparsity against the space and against the complete graph."""
    found = reduce_flow(*tensors(GOLDEN[name]))
    assert (dagmtl.depth(found), dagmtl.width(found)) == (depth, width)
    assert dagmtl.sparsity(found) == pytest.approx(sparsity)
    assert dagmtl.sparsity(found, complete=True) == pytest.approx(complete)


def test_the_first_scores_of_the_first_worked_graph() -> None:
    """Row by row."""
    gamma, alpha, beta = tensors(A)
    Psi = np.zeros((6, 6))
    Psi[1:5, 1:5], Psi[0, 1:5], Psi[1:5, 5] = gamma, alpha, beta
    expected = np.zeros((6, 6))
    expected[0, 1:5] = 0.4667, 0.0788, 0.0385, 0.1846
    expected[1, 2], expected[1, 3], expected[1, 5] = 0.9331, 0.4110, 0.0643
    expected[2, 3], expected[2, 4], expected[2, 5] = 0.6462, 0.3115, 0.0846
    expected[3, 4], expected[3, 5], expected[4, 5] = 0.7341, 0.1300, 0.4333
    np.testing.assert_allclose(dagmtl.flow_scores(Psi), expected, atol=5e-5)


def test_other_readings_of_the_check_end_elsewhere() -> None:
    """The same chain for A; for C a graph in which the anchors are gone."""
    assert nodes_of(reduce_flow(*tensors(A), reach="psi")) == LEFT["A"]
    assert nodes_of(reduce_flow(*tensors(C), reach="psi")) == {(0, 2), (1, 5), (2, 3), (3, 5)}


@pytest.mark.parametrize(("name", "stop"), [("A", ((4, 5), 0.7)), ("B", ((4, 6), 0.8)), ("C", ((0, 1), 0.2))])
def test_the_edge_at_which_the_worked_graphs_stop(name, stop) -> None:
    """The one that comes up next, with its score; by the transcription that the next test compares with."""
    trace = []
    reference(*tensors(GOLDEN[name]), trace=trace)
    _, edge, score = trace[-1]
    assert (edge, round(score, 4)) == stop


def test_the_reduction_equals_its_plain_transcription_on_1000_random_graphs() -> None:
    """Up to twelve states, every flow constant, three spreads: the same edges, removed in the same order."""
    sizes = set()
    for seed in range(1000):
        graph = random_graph(seed, spread=(0.3, 1.0, 2.0)[seed % 3])
        sizes.add((len(graph[1]), int((graph[0][0] > 0).sum())))
        found = reduce_flow(*graph)
        left, removed = reference(*graph)
        assert (found.removed, nodes_of(found)) == (removed, left), seed
    assert sizes == {(N, M) for N in range(2, 13) for M in range(1, N)}


def test_the_reduction_with_the_other_check_equals_its_transcription() -> None:
    """`reach="psi"` on a hundred graphs."""
    for seed in range(100):
        graph = random_graph(seed)
        left, removed = reference(*graph, reach="psi")
        found = reduce_flow(*graph, reach="psi")
        assert (found.removed, nodes_of(found)) == (removed, left), seed


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("reach", ["anchored", "psi"])
def test_something_always_gets_through(name, reach) -> None:
    """What remains leads from the input to the output, is a part of the space, and with what was removed is the window."""
    for seed in range(100):
        gamma, alpha, beta = random_graph(seed)
        found = REDUCTIONS[name](gamma, alpha, beta, reach=reach)
        left = nodes_of(found)
        N = len(alpha)
        psi = [[float((i, j) in left) for j in range(N + 2)] for i in range(N + 2)]
        first = 1 + min(int(alpha.argmax()), N - 2)
        assert gets_through(psi, first, max(first + 1, int(beta.argmax()) + 1), reach)
        assert bool((found.gamma <= found.space).all())
        assert torch.equal(found.space, gamma > 0)
        assert not left & set(found.removed)
        live = found.live()
        assert nodes_of(live) <= left
        assert live.alpha.any()
        assert live.beta.any()


def test_every_edge_that_remains_of_a_live_graph_is_on_a_way() -> None:
    """Forwards and backwards, by a search of its own; some reduced graphs do have dead ends."""
    dead = 0
    for seed in range(300):
        found = reduce_flow(*random_graph(seed))
        N, left = len(found.alpha), nodes_of(found)
        expected = {(i, j) for i, j in left if leads(left, 0, i) and leads(left, j, N + 1)}
        assert nodes_of(found.live()) == expected
        dead += expected != left
    assert dead > 0


def leads(edges, start, goal):
    seen, stack = {start}, [start]
    while stack:
        node = stack.pop()
        new = {j for i, j in edges if i == node} - seen
        seen |= new
        stack += new
    return goal in seen


def test_equal_weights_are_removed_in_row_major_order() -> None:
    """Sources are even: with all weights at ½ the first of the smallest scores goes first."""
    graph = (torch.full((4, 4), 0.5).triu(1), torch.full((4,), 0.5), torch.tensor([0.5, 0.5, 0.5, 0.75]))
    assert reduce_flow(*graph).removed == reference(*(part.double() for part in graph))[1]


def test_an_untrained_task_leaves_one_layer() -> None:
    """All parameters at 0: the argmaxes are the first state, whatever N is."""
    for N in (2, 5, 12):
        half = torch.full((N,), 0.5)
        found = reduce_flow(torch.full((N, N), 0.5).triu(1), half, half)
        assert found.gamma.nonzero().tolist() == [[0, 1]]


def test_weights_of_sigmoid_minus_20_are_reduced_as_others() -> None:
    """Two billionths are no zeros, in single precision neither."""
    gamma = torch.sigmoid(torch.full((6, 6), -20.0)).triu(1).tril(3)
    alpha = torch.tensor([0.9, 0.5, 0.5, 0.5, 0.5, 0.5])
    found = reduce_flow(gamma, alpha, alpha.flip(0))
    assert found.space.sum() == edges(6, 3)
    assert dagmtl.depth(found) >= 2
    left, removed = reference(gamma.double(), alpha.double(), alpha.flip(0).double())
    assert (nodes_of(found), found.removed) == (left, removed)


def test_two_states_have_one_layer() -> None:
    """Whatever their weights."""
    gamma = torch.tensor([[0.0, 0.01], [0.0, 0.0]])
    found = reduce_flow(gamma, torch.tensor([0.1, 0.9]), torch.tensor([0.9, 0.1]))
    assert found.gamma.tolist() == [[False, True], [False, False]]
    assert (found.alpha[0].item(), found.beta[1].item()) == (True, True)


def test_half_precision_is_computed_in_double() -> None:
    """The same graph as of the same numbers in float64."""
    for seed in range(20):
        graph = [part.to(torch.bfloat16) for part in random_graph(seed)]
        assert reduce_flow(*graph).removed == reduce_flow(*(part.double() for part in graph)).removed


@pytest.mark.parametrize("name", REDUCTIONS)
def test_a_target_stops_at_the_first_graph_that_is_sparse_enough(name) -> None:
    """One layer more would be above it; the flow-based reduction may end before."""
    ended = 0
    for seed in range(60):
        gamma, alpha, beta = random_graph(seed, N=9, M=4, spread=0.3)
        alpha[0], beta[8] = 1.0, 1.0
        found = REDUCTIONS[name](gamma, alpha, beta, target_sparsity=0.5)
        whole = REDUCTIONS[name](gamma, alpha, beta)
        assert found.removed == whole.removed[: len(found.removed)]
        if dagmtl.sparsity(found) > 0.5:
            ended += 1
            assert name == "flow"
            assert found.removed == whole.removed
        else:
            last = found.removed[-1]
            assert last[0] > 0
            assert last[1] <= 9
            assert dagmtl.sparsity(found) + 1 / 26 > 0.5
    assert ended < 60


def test_the_threshold_goes_by_weight_alone() -> None:
    """Smallest γ first; read-ins and read-outs within the window stay."""
    found = reduce_threshold(*tensors(C))
    weights = [C["gamma"][i - 1][j - 1] for i, j in found.removed]
    assert weights == sorted(weights)
    assert found.removed == ((1, 2), (1, 3), (3, 4), (2, 4), (2, 3))  # (1, 4) is then the only way
    assert found.alpha.all()
    assert found.beta.all()


def test_the_random_reduction_is_a_function_of_its_seed() -> None:
    """Other seeds, other orders; the same set of ends."""
    graph = random_graph(5, N=8, M=4)
    orders = {reduce_random(*graph, seed).removed for seed in range(6)}
    assert reduce_random(*graph, 3).removed == reduce_random(*graph, 3).removed
    assert len(orders) > 3


def test_only_layers_are_removed_at_random_and_by_threshold() -> None:
    """Never an edge from the source or to the sink."""
    for seed in range(30):
        graph = random_graph(seed)
        for name in ("threshold", "random"):
            assert all(i > 0 and j <= len(graph[1]) for i, j in REDUCTIONS[name](*graph).removed)


def test_without_a_reduction_everything_stays() -> None:
    """All layers, all ends."""
    found = dagmtl.keep_all(*random_graph(1, N=7, M=3))
    assert int(found.gamma.sum()) == edges(7, 3)
    assert found.alpha.all()
    assert found.beta.all()
    assert found.removed == ()


@pytest.mark.parametrize("reduction", [*REDUCTIONS.values(), dagmtl.keep_all])
def test_one_state_is_refused(reduction) -> None:
    """There is no layer to search for."""
    with pytest.raises(ValueError, match="`alpha` must be of at least two states"):
        reduction(torch.zeros(1, 1), torch.ones(1), torch.ones(1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g, a, b: (g[:2], a, b), "`gamma` and `beta` must be of 4 states"),
        (lambda g, a, b: (g, a, b[:2]), "`gamma` and `beta` must be of 4 states"),
        (lambda g, a, b: (2 * g, a, b), r"`gamma` must be in \[0, 1\]"),
        (lambda g, a, b: (g, -a, b), r"`alpha` must be in \[0, 1\]"),
        (lambda g, a, b: (g, a, b * torch.nan), r"`beta` must be in \[0, 1\]"),
        (lambda g, a, b: (g.T.contiguous(), a, b), "`gamma` must lead forwards"),
        (lambda g, a, b: (0 * g, a, b), "`gamma` must hold a way from state 1 to state 4"),
    ],
)
def test_what_is_no_weighted_graph_is_refused(change, message) -> None:
    """With what is wrong."""
    with pytest.raises(ValueError, match=message):
        reduce_flow(*change(*tensors(A)))


@pytest.mark.parametrize(
    ("options", "name"), [({"reach": "gamma"}, "reach"), ({"target_sparsity": 2.0}, "target_sparsity")]
)
def test_options_out_of_range_are_refused(options, name) -> None:
    """A word that is none, a share above 1."""
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        reduce_flow(*tensors(A), **options)
