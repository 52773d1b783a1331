"""The order of a map's numbers in memory: channels last in a first part of the model, channels first in the rest.

Dense convolutions, poolings and depthwise convolutions are often faster with channels last, sparse kernels need channels
first. To change over costs a copy, so that one change is allowed, where a single map leads from one part to the other.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn

EVERYTHING = "output"
"""As the last step of the first part: all of the model has channels last."""


def change_over(body: fx.GraphModule, last: str) -> None:
    """Let everything up to a step have channels last, and what follows channels first; in place.

    Args:
        body: The module.
        last: Name of a step of its graph; "" for none, `EVERYTHING` for all.

    Raises:
        ValueError: If there is no such step.
    """
    nodes = list(body.graph.nodes)
    names = [node.name for node in nodes]
    if last and last not in names:
        raise ValueError(f"`kernels` must name a step of the compacted model's graph. Got `{last}`.")
    before = set(nodes[: names.index(last) + 1]) if last else set()
    for node in before:
        if node.op == "call_module" and isinstance(layer := body.get_submodule(str(node.target)), nn.Conv2d):
            layer.to(memory_format=torch.channels_last)
    if not last or last == EVERYTHING:
        return
    (change,) = (node for node in before if node.name == last)
    with body.graph.inserting_after(change):
        first = body.graph.call_method("contiguous", (change,))
    first.meta = dict(change.meta)
    for user in list(change.users):
        if user is not first and user not in before:
            user.replace_input_with(change, first)
    body.recompile()


def best_change(body: fx.GraphModule, first: Mapping[str, float], last: Mapping[str, float], copying: float) -> str:
    """The step after which to change over, by the times of the steps.

    Args:
        body: The module.
        first: Seconds of each step with channels first.
        last: Seconds of each step with channels last.
        copying: Seconds per number that changes its place.
    """
    total = sum(first.values())
    best, name = total, ""
    for node, crossing in _crossings(body):
        total += last.get(node.name, 0.0) - first.get(node.name, 0.0)
        numbers = 0
        if crossing is not None:
            numbers = torch.Size(crossing.meta["shape"]).numel()
        elif node.op != "output":
            continue
        if total + copying * numbers < best:
            best, name = total + copying * numbers, node.name
    return name


def step_times(body: fx.GraphModule, inputs: Sequence[Any], rounds: int = 4) -> dict[str, float]:
    """Seconds of each step, the smallest of some runs."""
    watch = _Stopwatch(body)
    for _ in range(rounds):
        watch.run(*inputs)
    return watch.seconds


def clock() -> float:
    """Seconds for differences: on one thread the processor's, which leaves out what other programs took meanwhile."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


class _Stopwatch(fx.Interpreter):
    def __init__(self, body: fx.GraphModule) -> None:
        super().__init__(body)
        self.seconds: dict[str, float] = {}

    def run_node(self, n: fx.Node) -> Any:
        start = clock()
        value = super().run_node(n)
        self.seconds[n.name] = min(self.seconds.get(n.name, float("inf")), clock() - start)
        return value


def _crossings(body: fx.GraphModule) -> list[tuple[fx.Node, fx.Node | None]]:
    """Each step, and itself if it gives a map that is all that leads from here to what follows."""
    nodes = list(body.graph.nodes)
    place = {node: index for index, node in enumerate(nodes)}
    until = {node: max((place[user] for user in node.users), default=place[node]) for node in nodes}
    open_nodes: set[fx.Node] = set()
    found = []
    for node in nodes:
        open_nodes = {other for other in open_nodes if until[other] > place[node]}
        open_nodes.add(node)
        alone = {other for other in open_nodes if until[other] > place[node] and other.op != "get_attr"}
        map_here = alone == {node} and len(node.meta.get("shape", ())) == 4 and node.op != "placeholder"
        found.append((node, node if map_here else None))
    return found
