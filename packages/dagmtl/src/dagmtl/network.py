r"""The central network: hidden states with layers between them, and each task's weights of all its connections.

$$v_j^k = \sigma(\alpha_j^k)\, R_j(v_0) + \frac{1}{\text{In}_j} \sum_{i:\, j-M \le i < j} \sigma(\gamma_{ij}^k)\, e_{ij}(v_i^k),$$

$$v_L^k = \sum_i \sigma(\beta_i^k)\, O_i(v_i^k), \qquad \hat y^k = H^k(v_L^k)$$

Choi and Im, *Dynamic Neural Network for Multi-Task Learning Searching across Diverse Network
Topologies*, Eq. (1)-(6). Layers are
shared by all tasks, weights α, β, γ are each task's own. The read-in (Eq. (3)) is added to the update (Eq. (4)).
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import nn

from dagmtl.discrete import DiscreteNetwork, path_of
from dagmtl.reduction import Subgraph
from dagmtl.states import Layer, State, adapter, check_layer, check_states, layer
from mtl_core.components import Head, check_names, chosen
from mtl_core.task import Task
from mtl_core.types import Float, Tensor


class Upper(nn.Module):
    """The weights of one task's connections, before the sigmoid; all start at 0, which is ½ after it.

    Args:
        states: Number of states, N.
        layers: Number of layers, |E|.
    """

    def __init__(self, states: int, layers: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(states))
        self.beta = nn.Parameter(torch.zeros(states))
        self.gamma = nn.Parameter(torch.zeros(layers))


class CentralNetwork(nn.Module):
    r"""All layers that there are to choose from, and each task's weights of them.

    Args:
        stem: Makes the input state $v_0$ of the inputs, `[batch, channels, h, w]`; has an int `channels` (`states.stem` has).
        states: Shapes of $v_1$ to $v_N$, strides against the input state's; at least two.
        flow: Flow constant M: a layer leads at most so many states on; None, or N − 1 and more: wherever it likes.
        tasks: Tasks by name (or an iterable of tasks).
        head: Makes the head of a task, for as many channels as the last state has.
        layer: `layer(source, target) -> Module`: what leads from one state to another.

    Raises:
        ValueError: If there are fewer than two states, `flow` is not at least 1, strides or names do not fit, or a layer
            keeps statistics over the batch.
        TypeError: If the stem has no `channels`.

    Examples:
        >>> from dagmtl.states import stem
        >>> from mtl_core.task import attribute
        >>> model = CentralNetwork(stem(1, 4), [State(4), State(8, 2), State(8, 2)], 1, [attribute("tall")],
        ...                        lambda c, t: nn.Sequential(nn.Flatten(), nn.LazyLinear(t.channels)))
        >>> list(model.layers), model(torch.zeros(2, 1, 6, 6))["tall"].shape
        (['1-2', '2-3'], torch.Size([2, 1]))
    """

    ends_open: bool = True
    """Whether every state reads in and is read out; else the first alone reads in, and the last alone is read out."""

    def __init__(
        self,
        stem: nn.Module,
        states: Sequence[State],
        flow: int | None,
        tasks: Mapping[str, Task] | Iterable[Task],
        head: Head,
        *,
        layer: Layer = layer,
    ) -> None:
        super().__init__()
        check_states(states)
        if flow is not None and (not isinstance(flow, int) or flow < 1):
            raise ValueError(f"`flow` must be a whole number of at least 1. Got `flow = {flow}`.")
        channels: Any = getattr(stem, "channels", None)
        if not isinstance(channels, int):
            raise TypeError("`stem` must have an int `channels`: those of the input state. Got one without.")
        self._tasks = dict(tasks) if isinstance(tasks, Mapping) else {task.name: task for task in tasks}
        check_names("tasks", self._tasks)
        self.states, self.N = list(states), len(states)
        self.flow = self.N - 1 if flow is None else min(flow, self.N - 1)
        self._head, self._layer = head, layer
        numbers = range(1, self.N + 1)
        pairs = [(i, j) for i in numbers for j in numbers if 1 <= j - i <= self.flow]  # Eq. (1), flow restriction
        first, last = State(channels), self.states[-1]
        self.stem = stem
        self.layers = nn.ModuleDict({f"{i}-{j}": self._made(i, j) for i, j in pairs})  # Eq. (2)
        self.read_in = nn.ModuleDict({str(j): adapter(first, state) for j, state in enumerate(self.states, 1)})
        self.read_out = nn.ModuleDict({str(i): adapter(state, last) for i, state in enumerate(self.states, 1)})
        self.heads = nn.ModuleDict({name: head(last.channels, task) for name, task in self._tasks.items()})
        self.upper = nn.ModuleDict({name: Upper(self.N, len(pairs)) for name in self._tasks})

    @property
    def tasks(self) -> dict[str, Task]:
        """Tasks by name."""
        return dict(self._tasks)

    def gamma(self, names: Sequence[str]) -> Tensor:
        r"""$\Gamma$ of some tasks before the sigmoid, `[task, edges]`: a row a task, a column for each layer that there is."""
        mine: list[Any] = [self.upper[name] for name in names]
        return torch.stack([one.gamma for one in mine])

    def gates(self, names: Sequence[str], dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor, Tensor]:
        r"""$\sigma(\alpha)$ and $\sigma(\beta)$, `[task, N]`, and $\sigma(\gamma)$, `[task, edges]`, of some tasks.

        Args:
            names: The tasks.
            dtype: Type to compute in; default the weights' own.
        """
        mine: list[Any] = [self.upper[name] for name in names]
        gamma = torch.sigmoid(self.gamma(names).to(dtype))
        if self.ends_open:
            alpha = torch.sigmoid(torch.stack([one.alpha for one in mine]).to(dtype))
            beta = torch.sigmoid(torch.stack([one.beta for one in mine]).to(dtype))
        else:
            alpha, beta = gamma.new_zeros(len(mine), self.N), gamma.new_zeros(len(mine), self.N)
            alpha[:, 0], beta[:, -1] = 1.0, 1.0
        return alpha, beta, gamma

    def forward(self, inputs: Float[Tensor, " batch *shape"], tasks: Sequence[str] | None = None) -> dict[str, Any]:
        """Give the predictions of `tasks` (default: all); the tasks' states pass a layer side by side, as one batch."""
        names = chosen(self._tasks, tasks)
        if not names:
            return {}
        alpha, beta, gamma = self.gates(names)
        gate = dict(zip(self.layers, gamma.unbind(1), strict=True))
        v_0 = self.stem(inputs)
        v: dict[int, Tensor] = {}  # [task, batch, channels, h, w]
        for j in range(1, self.N + 1):
            parents = [i for i in v if f"{i}-{j}" in gate]
            inflow = [_times(gate[f"{i}-{j}"], _side_by_side(self.layers[f"{i}-{j}"], v[i])) for i in parents]
            terms = [reduce(add, inflow) / len(inflow)] if inflow else []  # Eq. (4)
            if j == 1 or self.ends_open:
                terms.append(_times(alpha[:, j - 1], self.read_in[str(j)](v_0)))  # Eq. (3)
            v[j] = reduce(add, terms)
        read = [
            _times(beta[:, i - 1], _side_by_side(self.read_out[str(i)], v[i]))
            for i in v
            if i == self.N or self.ends_open
        ]
        v_L = reduce(add, read)  # Eq. (5)
        return {name: self.heads[name](v_L[k]) for k, name in enumerate(names)}  # Eq. (6)

    def components(self) -> dict[str, list[nn.Module]]:
        """What is shared, and each task's head with its weights α, β and γ."""
        shared = [self.stem, self.layers, self.read_in, self.read_out]
        return {"backbone": shared, **{f"head.{name}": [self.heads[name], self.upper[name]] for name in self._tasks}}

    def matrices(self, task: str) -> tuple[Tensor, Tensor, Tensor]:
        r"""$\sigma(\Gamma)$ as `[N, N]`, $\sigma(\mathcal A)$ and $\sigma(\mathcal B)$ of a task, in float64: what is reduced."""
        with torch.no_grad():
            alpha, beta, gamma = (values[0].cpu() for values in self.gates([task], torch.float64))
        matrix = torch.zeros(self.N, self.N, dtype=torch.float64)
        for edge, value in zip(self.layers, gamma, strict=True):
            i, j = map(int, edge.split("-"))
            matrix[i - 1, j - 1] = value.clamp(min=torch.finfo(torch.float64).tiny)  # a layer stays a layer
        return matrix, alpha, beta

    def discrete(self, subgraphs: Mapping[str, Subgraph]) -> DiscreteNetwork:
        """The network in which each task has what a reduction has left it; a new one, with this one's weights.

        Args:
            subgraphs: By task.

        Raises:
            ValueError: If a task has no subgraph, or one through which nothing gets.
        """
        missing = [name for name in self._tasks if name not in subgraphs]
        if missing:
            raise ValueError(f"`subgraphs` must name every task. Got none for {missing}.")
        return self.restructure({"flow": self.flow, "paths": {name: path_of(subgraphs[name]) for name in self._tasks}})

    def shared_bottom(self) -> DiscreteNetwork:
        """The plain network of these states, v_1 to v_N one after the other, shared by all tasks; a new one."""
        path = {"read_in": [1], "read_out": [self.N], "layers": [[i, i + 1] for i in range(1, self.N)]}
        return self.restructure({"flow": self.flow, "paths": dict.fromkeys(self._tasks, path)})

    def restricted(self, flow: int | None) -> "CentralNetwork":
        """A space of the same states and stem under another flow constant, with new layers and heads."""
        return CentralNetwork(self.stem, self.states, flow, self._tasks, self._head, layer=self._layer)

    def structure(self) -> dict[str, Any]:
        """The flow constant."""
        return {"flow": self.flow}

    def restructure(self, structure: Mapping[str, Any]) -> DiscreteNetwork:
        """The discrete network of a structure; a new one, with this one's weights where it has the layers.

        Args:
            structure: What `DiscreteNetwork.structure()` gives.

        Raises:
            ValueError: If it is no such structure, or of other tasks or states.
        """
        paths = structure.get("paths")
        if not isinstance(paths, Mapping) or set(paths) != set(self._tasks):
            raise ValueError(
                f"`structure` must have paths of the tasks {list(self._tasks)}. Got {list(paths or structure)}."
            )
        kept = {(i, j) for path in paths.values() for i, j in path["layers"]}
        reads = {key: {str(i) for path in paths.values() for i in path[key]} for key in ("read_in", "read_out")}
        numbers = {number for edge in kept for number in edge} | {int(i) for several in reads.values() for i in several}
        if not numbers <= set(range(1, self.N + 1)):
            raise ValueError(f"`structure` must be of the states 1 to {self.N}. Got {sorted(numbers)}.")
        parts: dict[str, Any] = {
            "stem": self.stem,
            "layers": nn.ModuleDict({f"{i}-{j}": self._known(i, j) for i, j in sorted(kept)}),
            **{key: nn.ModuleDict({i: getattr(self, key)[i] for i in sorted(reads[key], key=int)}) for key in reads},
            "heads": self.heads,
        }
        parts = copy.deepcopy(parts)  # together: what shares a weight goes on sharing it
        ordered = {name: paths[name] for name in self._tasks}
        return DiscreteNetwork(tasks=self._tasks, flow=int(structure["flow"]), paths=ordered, **parts)

    def encoder_parameters(self) -> int:
        """Parameters of one single-task encoder: the stem and the chain of the states, adapters included, heads excluded."""
        return self.shared_bottom().encoder_parameters()

    def _made(self, i: int, j: int) -> nn.Module:
        return check_layer(self._layer(self.states[i - 1], self.states[j - 1]))

    def _known(self, i: int, j: int) -> nn.Module:
        """A layer of this network; a new one where a structure of another flow constant asks for it."""
        name = f"{i}-{j}"
        return self.layers[name] if name in self.layers else self._made(i, j)


def _times(gates: Tensor, values: Tensor) -> Tensor:
    """Each task's gate times its values, or times what all tasks have alike."""
    return gates.view(-1, 1, 1, 1, 1) * values


def _side_by_side(module: nn.Module, v: Tensor) -> Tensor:
    """A module on the states of several tasks, as one batch."""
    together: Tensor = module(v.flatten(0, 1))
    return together.unflatten(0, v.shape[:2])
