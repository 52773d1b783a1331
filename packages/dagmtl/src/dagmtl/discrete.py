r"""The discrete network: what a reduction has left, with every state computed once for all tasks that mean the same by it.

With $\hat\alpha, \hat\beta, \hat\gamma \in \{0, 1\}$ in the place of the sigmoids, and $\text{In}_j$ the number of layers into
state j that the task keeps, two tasks have the same state $v_j$ where the parts of their subgraphs up to it coincide.

Choi and Im, *Dynamic Neural Network for Multi-Task Learning Searching across Diverse Network
Topologies*, Section 3.2, fine-tuning;
computing a coinciding state once is ours.
"""

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any, TypeAlias

from torch import nn

from dagmtl.reduction import Subgraph
from mtl_core.components import chosen
from mtl_core.task import Task
from mtl_core.types import Float, Tensor

Path: TypeAlias = Mapping[str, Any]
"""One task's subgraph: `read_in` and `read_out`, lists of states, and `layers`, pairs of states; states count from 1."""


def path_of(subgraph: Subgraph) -> dict[str, Any]:
    """A subgraph as JSON values, without what lies on no way from the input to the output.

    Args:
        subgraph: What a reduction gives.

    Raises:
        ValueError: If nothing gets through.
    """
    live = subgraph.live()
    if not live.beta.any():
        raise ValueError("`subgraph` must have a way from the input to the output. Got none.")
    ends = {"read_in": live.alpha, "read_out": live.beta}
    found: dict[str, Any] = {name: (1 + flags.nonzero().flatten()).tolist() for name, flags in ends.items()}
    return found | {"layers": (1 + live.gamma.nonzero()).tolist()}


class DiscreteNetwork(nn.Module):
    """Each task's way through shared layers; made by `CentralNetwork.discrete` or by `mtl_core.load`, not by hand.

    Args:
        tasks: Tasks by name.
        flow: Flow constant of the space that it was found in.
        paths: Subgraph by task, without dead ends.
        stem: Makes the input state.
        layers: Modules by `from-to`.
        read_in: Adapters of the input state, by state.
        read_out: Adapters to the last state's shape, by state.
        heads: Heads by task.
    """

    def __init__(
        self,
        *,
        tasks: Mapping[str, Task],
        flow: int,
        paths: Mapping[str, Path],
        stem: nn.Module,
        layers: nn.ModuleDict,
        read_in: nn.ModuleDict,
        read_out: nn.ModuleDict,
        heads: nn.ModuleDict,
    ) -> None:
        super().__init__()
        self._tasks, self.flow, self.paths = dict(tasks), flow, {name: dict(path) for name, path in paths.items()}
        self.stem, self.layers, self.read_in, self.read_out, self.heads = stem, layers, read_in, read_out, heads
        self._parents = {name: _parents(path) for name, path in self.paths.items()}
        known: dict[Any, int] = {}
        self._ids = {name: _ancestry(self._parents[name], path, known) for name, path in self.paths.items()}

    @property
    def tasks(self) -> dict[str, Task]:
        """Tasks by name."""
        return dict(self._tasks)

    def evaluations(self, tasks: Sequence[str] | None = None) -> int:
        """Layers computed in a forward pass: one for each layer and each graph of what leads to where it starts.

        Args:
            tasks: Those asked for; default all.
        """
        names = chosen(self._tasks, tasks)
        return len({(i, j, self._ids[name][i]) for name in names for i, j in self.paths[name]["layers"]})

    def forward(self, inputs: Float[Tensor, " batch *shape"], tasks: Sequence[str] | None = None) -> dict[str, Any]:
        """Give the predictions of `tasks` (default: all); only what they need is computed, and nothing twice."""
        names = chosen(self._tasks, tasks)
        v_0 = self.stem(inputs) if names else inputs
        known: dict[Any, Tensor] = {}
        return {name: self.heads[name](self._read_out(name, v_0, known)) for name in names}  # Eq. (6)

    def components(self) -> dict[str, list[nn.Module]]:
        """What is shared, and each task's head."""
        shared = [self.stem, self.layers, self.read_in, self.read_out]
        return {"backbone": shared, **{f"head.{name}": [head] for name, head in self.heads.items()}}

    def structure(self) -> dict[str, Any]:
        """The flow constant and each task's subgraph: what `restructure` of a central network needs."""
        return {"flow": self.flow, "paths": self.paths}

    def encoder_parameters(self) -> int:
        """Parameters without the heads; a layer counts once, whatever tasks keep it."""
        return sum(p.numel() for p in {p for module in self.components()["backbone"] for p in module.parameters()})

    def _read_out(self, name: str, v_0: Tensor, known: dict[Any, Tensor]) -> Tensor:
        """The task's last feature; what is computed on the way is noted in `known`, and what is there is not again."""
        ids = self._ids[name]
        v: dict[int, Tensor] = {}
        for j, parents in self._parents[name].items():
            if ("state", ids[j]) not in known:
                terms = [_once(self.layers[f"{i}-{j}"], v[i], known, ("layer", j, ids[i])) for i in parents]
                inflow = reduce(add, terms) if terms else None
                if inflow is not None and len(terms) > 1:
                    inflow = inflow / len(terms)
                if j in self.paths[name]["read_in"]:
                    read = _once(self.read_in[str(j)], v_0, known, ("read_in", j))  # Eq. (3)
                    inflow = read if inflow is None else read + inflow
                assert inflow is not None, "a path has no dead ends"
                known["state", ids[j]] = inflow  # Eq. (4)
            v[j] = known["state", ids[j]]
        ends = self.paths[name]["read_out"]
        last = "last", tuple(ids[i] for i in ends)
        if last not in known:
            read_out = [_once(self.read_out[str(i)], v[i], known, ("read_out", ids[i])) for i in ends]
            known[last] = reduce(add, read_out)  # Eq. (5)
        return known[last]


def _once(module: nn.Module, value: Tensor, known: dict[Any, Tensor], key: Any) -> Tensor:
    if key not in known:
        known[key] = module(value)
    return known[key]


def _parents(path: Path) -> dict[int, list[int]]:
    """Where the layers into each of a path's states come from; in topological order."""
    states = sorted({*path["read_in"], *(j for _, j in path["layers"])})
    return {j: sorted(i for i, end in path["layers"] if end == j) for j in states}


def _ancestry(parents: Mapping[int, list[int]], path: Path, known: dict[Any, int]) -> dict[int, int]:
    """A number for each state: equal ones are of the same ancestor graph, whatever tasks they are of."""
    ids: dict[int, int] = {}
    for j, several in parents.items():
        graph = j, j in path["read_in"], tuple((i, ids[i]) for i in several)
        ids[j] = known.setdefault(graph, len(known))
    return ids
