r"""Flow-based reduction: of a weighted graph with a source and a sink the edge with the least flow is removed, again and again.

With the weights $\psi$ after the sigmoid, read-ins as edges from the source and read-outs as edges to the sink,

$$S_{ij} = \psi_{ij}\Big(\frac{\tfrac{1}{\text{In}_i}\sum_k \psi_{ki}}{\sum_k \psi_{ik}}
 + \frac{\tfrac{1}{\text{Out}_j}\sum_k \psi_{jk}}{\sum_k \psi_{kj}}\Big),$$

until the edge that comes up is one without which nothing gets through. Choi and Im, *Dynamic Neural Network for Multi-Task
Learning Searching across Diverse Network Topologies*, Algorithm 1, which is printed with gaps: the README says how we read it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch

from mtl_core.types import Bool, Float, Tensor

Edge: TypeAlias = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Subgraph:
    """What a reduction leaves for one task.

    Attributes:
        gamma: `[N, N]`, the layers that remain, from row to column.
        alpha: `[N]`, the states that read the input.
        beta: `[N]`, the states that are read out.
        space: `[N, N]`, the layers that there were.
        removed: `(from, to)` in order; node 0 is the source, 1 to N are the states, N + 1 is the sink.
    """

    gamma: Bool[Tensor, "states states"]
    alpha: Bool[Tensor, " states"]
    beta: Bool[Tensor, " states"]
    space: Bool[Tensor, "states states"]
    removed: tuple[Any, ...] = ()

    def live(self) -> "Subgraph":
        """The subgraph without what lies on no way from the source to the sink.

        Examples:
            >>> gamma = torch.tensor([[0, 1, 1], [0, 0, 0], [0, 0, 0]], dtype=torch.bool)
            >>> first, last = torch.tensor([True, False, False]), torch.tensor([False, True, False])
            >>> Subgraph(gamma, first, last, gamma).live().gamma.nonzero().tolist()
            [[0, 1]]
        """
        N = len(self.alpha)
        used = _joined(self.gamma.numpy(), self.alpha.numpy(), self.beta.numpy())
        on_a_way = _reached(used, 0) & _reached(used.T[::-1, ::-1], 0)[::-1]
        psi = used & on_a_way[:, None] & on_a_way[None, :]
        return _split(psi, self.space, N, self.removed)


def flow_scores(Psi: Float[np.ndarray, "nodes nodes"]) -> Float[np.ndarray, "nodes nodes"]:
    """How much flow passes an edge, against the edges beside it; 0 where there is no edge.

    Args:
        Psi: Weights of the edges, the source first and the sink last.

    Examples:
        >>> chain = np.diag([0.5, 0.25], k=1)
        >>> flow_scores(chain).tolist()
        [[0.0, 0.25, 0.0], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]]
    """
    used = Psi > 0
    inflow, outflow = Psi.sum(0), Psi.sum(1)
    mean_in, mean_out = _ratio(inflow, used.sum(0)), _ratio(outflow, used.sum(1))
    return Psi * (_ratio(mean_in, outflow)[:, None] + _ratio(mean_out, inflow)[None, :])  # Algorithm 1, line 13


def reduce_flow(
    gamma: Float[Tensor, "_ _"],
    alpha: Float[Tensor, " _"],
    beta: Float[Tensor, " _"],
    *,
    reach: str = "anchored",
    target_sparsity: float | None = None,
) -> Subgraph:
    r"""Algorithm 1 for one task: remove the edge with the least flow until one comes up that must stay.

    Args:
        gamma: $\sigma(\Gamma)$, `[N, N]`, from row to column, in [0, 1]; what is not above 0 is no edge.
        alpha: $\sigma(\mathcal A)$, `[N]`.
        beta: $\sigma(\mathcal B)$, `[N]`.
        reach: What must stay reachable: "anchored" the sink over N_α and N_β, with the edges source → N_α and N_β → sink
            themselves; "psi" the sink from the source, anyhow.
        target_sparsity: Stop at the first graph with at most this share of the layers.

    Returns:
        What remains. Edges on no way from source to sink may be among it: `live()` leaves them out.

    Raises:
        ValueError: If there are fewer than two states, sizes do not fit, a value is outside [0, 1], an edge does not lead
            forwards, an option is not usable, or nothing gets through from the first to the last state that is kept.

    Examples:
        >>> gamma = torch.tensor([[0.0, 0.9, 0.1], [0.0, 0.0, 0.8], [0.0, 0.0, 0.0]])
        >>> found = reduce_flow(gamma, torch.tensor([0.9, 0.2, 0.1]), torch.tensor([0.1, 0.2, 0.9]))
        >>> found.gamma.nonzero().tolist(), found.removed
        ([[0, 1], [1, 2]], ((1, 4), (0, 3), (0, 2), (2, 4), (1, 3)))
    """
    flow = _Flow(gamma, alpha, beta, reach, target_sparsity)
    while not flow.sparse_enough:
        S = flow_scores(flow.Psi)
        least = np.where(S > 0, S, np.inf).argmin()
        i, j = map(int, divmod(least, len(S)))
        if S[i, j] <= 0 or not flow.remove(i, j):
            break
    return flow.subgraph()


def reduce_threshold(
    gamma: Float[Tensor, "_ _"],
    alpha: Float[Tensor, " _"],
    beta: Float[Tensor, " _"],
    *,
    reach: str = "anchored",
    target_sparsity: float | None = None,
) -> Subgraph:
    """Remove the layer with the smallest weight, again and again; one without which nothing gets through is passed over.

    Arguments and errors are those of `reduce_flow`. Read-ins and read-outs between N_α and N_β stay.
    """
    flow = _Flow(gamma, alpha, beta, reach, target_sparsity)
    layers = flow.layers()
    return flow.without(sorted(layers, key=lambda edge: float(flow.Psi[edge])))  # sorted keeps the order of equal ones


def reduce_random(
    gamma: Float[Tensor, "_ _"],
    alpha: Float[Tensor, " _"],
    beta: Float[Tensor, " _"],
    seed: int,
    *,
    reach: str = "anchored",
    target_sparsity: float | None = None,
) -> Subgraph:
    """Remove layers in random order; one without which nothing gets through is passed over.

    Other arguments and errors are those of `reduce_flow`. Read-ins and read-outs between N_α and N_β stay.

    Args:
        gamma: As for `reduce_flow`.
        alpha: As for `reduce_flow`.
        beta: As for `reduce_flow`.
        seed: Decides the order.
        reach: As for `reduce_flow`.
        target_sparsity: As for `reduce_flow`.
    """
    flow = _Flow(gamma, alpha, beta, reach, target_sparsity)
    layers = flow.layers()
    order = torch.randperm(len(layers), generator=torch.Generator().manual_seed(seed)).tolist()
    return flow.without(layers[place] for place in order)


def keep_all(gamma: Float[Tensor, "_ _"], alpha: Float[Tensor, " _"], beta: Float[Tensor, " _"]) -> Subgraph:
    """Remove nothing: every layer, every read-in, every read-out with a weight above 0 stays.

    Arguments and errors are those of `reduce_flow`.
    """
    G, A, B = _checked(gamma, alpha, beta)
    used = torch.from_numpy(G > 0)
    return Subgraph(used, torch.from_numpy(A > 0), torch.from_numpy(B > 0), used)


class _Flow:
    """The graph on its way: from what Algorithm 1 begins with to what it ends with."""

    def __init__(self, gamma: Tensor, alpha: Tensor, beta: Tensor, reach: str, target: float | None) -> None:
        G, A, B = _checked(gamma, alpha, beta)
        if reach not in ("anchored", "psi"):
            raise ValueError(f'`reach` must be "anchored" or "psi". Got `reach = {reach!r}`.')
        if target is not None and not 0 <= target <= 1:
            raise ValueError(f"`target_sparsity` must be in [0, 1]. Got `target_sparsity = {target}`.")
        self.N = len(A)
        self._anchored = reach == "anchored"
        self._space = torch.from_numpy(G > 0)
        # argmax gives the first of equal ones; states from 0 here, nodes from 1.
        N_alpha = min(int(A.argmax()), self.N - 2)
        N_beta = max(N_alpha + 1, int(B.argmax()))
        self._first, self._last = N_alpha + 1, N_beta + 1
        within = (np.arange(self.N) >= N_alpha) & (np.arange(self.N) <= N_beta)
        self.Psi = _joined(np.where(within[:, None] & within[None, :], G, 0.0), A * within, B * within)
        self._layers = int((G > 0).sum())
        self._target = -1.0 if target is None else target
        self._kept = int((self.Psi[1:-1, 1:-1] > 0).sum())
        self._removed: list[Edge] = []
        if not self._gets_through():
            raise ValueError(
                f"`gamma` must hold a way from state {self._first} to state {self._last}, which read in and read out most. "
                "Got none."
            )

    @property
    def sparse_enough(self) -> bool:
        return self._kept / self._layers <= self._target

    def layers(self) -> list[Edge]:
        return [(int(i) + 1, int(j) + 1) for i, j in np.argwhere(self.Psi[1:-1, 1:-1] > 0)]

    def remove(self, i: int, j: int) -> bool:
        """Take an edge away, unless nothing gets through without it; whether it is gone."""
        weight, self.Psi[i, j] = self.Psi[i, j], 0.0
        if not self._gets_through():
            self.Psi[i, j] = weight
            return False
        self._kept -= i > 0 and j <= self.N
        self._removed.append((i, j))
        return True

    def without(self, order: Iterable[Edge]) -> Subgraph:
        for i, j in order:
            if self.sparse_enough:
                break
            self.remove(i, j)
        return self.subgraph()

    def subgraph(self) -> Subgraph:
        return _split(self.Psi > 0, self._space, self.N, tuple(self._removed))

    def _gets_through(self) -> bool:
        used, sink = self.Psi > 0, self.N + 1
        if not self._anchored:
            return bool(_reached(used, 0)[sink])
        ends = used[0, self._first] and used[self._last, sink]
        return bool(ends and _reached(used, self._first)[self._last])


def _reached(used: np.ndarray, start: int) -> np.ndarray:
    """Which nodes can be reached: nodes are in topological order, so that one sweep does what a search would do."""
    reached = np.zeros(len(used), dtype=bool)
    reached[start] = True
    for node in range(start, len(used)):
        if reached[node]:
            reached |= used[node]
    return reached


def _joined(gamma: np.ndarray, alpha: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """One matrix of layers, read-ins and read-outs, the source first and the sink last."""
    N = len(alpha)
    Psi = np.zeros((N + 2, N + 2), dtype=gamma.dtype)
    Psi[1:-1, 1:-1], Psi[0, 1:-1], Psi[1:-1, -1] = gamma, alpha, beta
    return Psi


def _split(used: np.ndarray, space: Tensor, N: int, removed: tuple[Edge, ...]) -> Subgraph:
    parts = used[1 : N + 1, 1 : N + 1], used[0, 1 : N + 1], used[1 : N + 1, N + 1]
    gamma, alpha, beta = (torch.from_numpy(part.copy()) for part in parts)
    return Subgraph(gamma, alpha, beta, space, removed)


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b, and 0 where b is 0."""
    return np.divide(a, b, out=np.zeros(len(a)), where=b > 0)


def _checked(gamma: Tensor, alpha: Tensor, beta: Tensor) -> tuple[Any, Any, Any]:
    """The three in float64, or an error."""
    N = len(alpha)
    if N < 2:
        raise ValueError(f"`alpha` must be of at least two states. Got {N}.")
    if gamma.shape != (N, N) or len(beta) != N:
        raise ValueError(
            f"`gamma` and `beta` must be of {N} states, as `alpha`. Got {list(gamma.shape)} and {list(beta.shape)}."
        )
    for name, values in (("gamma", gamma), ("alpha", alpha), ("beta", beta)):
        if not bool(((values >= 0) & (values <= 1)).all()):
            raise ValueError(f"`{name}` must be in [0, 1]: give it after the sigmoid. Got a value outside.")
    if bool((gamma.tril() > 0).any()):
        raise ValueError("`gamma` must lead forwards, from a state to a later one. Got an edge that does not.")
    return tuple(values.detach().cpu().double().numpy() for values in (gamma, alpha, beta))  # type: ignore[return-value]
