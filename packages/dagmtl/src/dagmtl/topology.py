r"""What a task's subgraph looks like: its depth, its width, its sparsity, and how many layers there are to choose from.

Counted are hidden layers alone; read-in and read-out have none.

$$|E| = MN - \tfrac{M(M+1)}{2}, \qquad \mathcal{D}: \text{longest path}, \qquad \mathcal{W}: \text{largest out-degree}, \qquad
\mathcal{S} = |E_s| / |E|$$

Choi and Im, *Dynamic Neural Network for Multi-Task Learning Searching across Diverse Network Topologies*, Section 3.1, Table 5.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

from dagmtl.reduction import Subgraph


def edges(n: int, flow: int) -> int:
    """Number of layers between n states where a layer leads at most `flow` states on.

    Args:
        n: States.
        flow: Flow constant M, from 1 to n − 1.

    Raises:
        ValueError: If `flow` is another number.

    Examples:
        >>> [edges(14, flow) / 13 for flow in (3, 5, 7)]  # in chains of 14 nodes: the paper's 2.77, 4.23, 5.38
        [2.769230769230769, 4.230769230769231, 5.384615384615385]
    """
    if not 1 <= flow <= n - 1:
        raise ValueError(f"`flow` must be from 1 to {n - 1}, for {n} states. Got `flow = {flow}`.")
    return flow * n - flow * (flow + 1) // 2


def depth(subgraph: Subgraph) -> int:
    """Layers on the longest path, D."""
    import networkx

    graph = networkx.DiGraph(subgraph.gamma.nonzero().tolist())
    return int(networkx.dag_longest_path_length(graph)) if len(graph) else 0


def width(subgraph: Subgraph) -> int:
    """Largest number of layers that leave one state, W."""
    return int(subgraph.gamma.sum(1).max())


def sparsity(subgraph: Subgraph, *, complete: bool = False) -> float:
    """Share of the layers that is kept, S: 1 keeps all.

    Args:
        subgraph: What a reduction gives.
        complete: Of all pairs of states, as in the paper's Table 5, instead of the layers that there were.
    """
    N = len(subgraph.alpha)
    return int(subgraph.gamma.sum()) / (N * (N - 1) // 2 if complete else int(subgraph.space.sum()))


def shared_layers(layers: Mapping[str, Iterable[Sequence[int]]]) -> dict[tuple[str, str], int]:
    """How many layers each pair of tasks has in common.

    Args:
        layers: `(from, to)` by task.

    Examples:
        >>> shared_layers({"a": [(1, 2), (2, 3)], "b": [(2, 3)]})
        {('a', 'b'): 1}
    """
    sets = {task: {tuple(edge) for edge in several} for task, several in layers.items()}
    return {(one, other): len(sets[one] & sets[other]) for one, other in combinations(sets, 2)}


def skip_lengths(layers: Mapping[str, Iterable[Sequence[int]]]) -> dict[int, int]:
    """How many layers lead how many states on, each counted once whatever tasks keep it.

    Args:
        layers: `(from, to)` by task.

    Examples:
        >>> skip_lengths({"a": [(1, 2), (2, 3)], "b": [(2, 3), (1, 4)]})
        {1: 2, 3: 1}
    """
    union = {(i, j) for several in layers.values() for i, j in several}
    return dict(sorted(Counter(j - i for i, j in union).items()))
