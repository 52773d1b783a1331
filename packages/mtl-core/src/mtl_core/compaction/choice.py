"""Which kernel computes a layer, and which order of memory a model has: found by timing, kept only where it is faster.

Layers are timed one by one on inputs of their own shape. In the end the whole model is timed against the dense one in both
orders of memory, in turns, and the dense one stays unless it loses.
"""

import copy
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn

from mtl_core.compaction.kernels import Gathered, SparseLayer, SparseLinear, Tapped
from mtl_core.compaction.layout import EVERYTHING, best_change, change_over, clock, step_times
from mtl_core.compaction.tracing import calls, set_module

DENSE = "dense"
CONVOLUTIONS: dict[str, Callable[[nn.Conv2d], SparseLayer]] = {
    "gathered": lambda layer: Gathered(layer, None),
    "gathered_512": lambda layer: Gathered(layer, 512),
    "tapped": Tapped,
}
LINEAR: dict[str, Callable[[nn.Linear], SparseLayer]] = {"linear": SparseLinear}

FEWEST = 0.5
"""Share of zeros below which a layer is not timed: no sparse kernel has come near the dense one there."""
CLEAR = 0.97
"""What a kernel must beat the dense one by, as a ratio of times: less may be noise."""


@dataclass(frozen=True)
class Choice:
    """The kernel of a layer.

    Attributes:
        kernel: `dense`, `gathered`, `gathered_512`, `tapped` or `linear`.
        ratio: Its time over the dense kernel's.
        zeros: Share of zeros in the weight.
        shape: Shape of the input that it was timed on.
        threads: Threads that it was timed with.
    """

    kernel: str
    ratio: float = 1.0
    zeros: float = 0.0
    shape: tuple[int, ...] = ()
    threads: int = 1

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "shape": list(self.shape)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> "Choice":
        """Of JSON values.

        Raises:
            ValueError: If the kernel is not known.
        """
        if value["kernel"] not in (DENSE, *CONVOLUTIONS, *LINEAR):
            raise ValueError(f"unknown kernel `{value['kernel']}`")
        return Choice(**{**value, "shape": tuple(value.get("shape", ()))})


@dataclass(frozen=True)
class Kernels:
    """How a compacted model is computed; without arguments: every layer dense, channels first in memory.

    Attributes:
        layers: The choice for each layer that was timed, by name.
        channels_last: The step of the graph up to which maps have channels last in memory: "" for none, "output" for all.
    """

    layers: Mapping[str, Choice] = field(default_factory=dict)
    channels_last: str = ""

    @property
    def sparse(self) -> dict[str, Choice]:
        """The layers that are not dense."""
        return {name: choice for name, choice in self.layers.items() if choice.kernel != DENSE}


def choose(body: fx.GraphModule, inputs: Sequence[Any]) -> Kernels:
    """Time kernels and layouts on the CPU; the model stays as it is.

    Args:
        body: The compacted module, its shapes recorded.
        inputs: Its inputs.
    """
    if any(value.device.type != "cpu" for value in [*inputs, *body.parameters()] if isinstance(value, Tensor)):
        return Kernels()
    timed: dict[str, Choice] = {}
    known: dict[tuple[str, float, tuple[int, ...]], Choice] = {}
    for name, layer, shape in _candidates(body):
        alike = (repr(layer), round(_zeros(layer), 2), shape)  # networks repeat their layers
        if alike not in known:
            known[alike] = _choose_layer(layer, shape)
        timed[name] = known[alike]
    offers = [Kernels(_dense(timed))]
    if any(isinstance(module, nn.Conv2d) for module in body.modules()):
        offers.append(Kernels(_dense(timed), EVERYTHING))
        mixed = _mixed(body, inputs, timed)
        if mixed not in offers:
            offers.append(mixed)
    elif Kernels(timed).sparse:
        offers.append(Kernels(timed))
    if len(offers) == 1:
        return offers[0]
    first, *others = [apply_kernels(copy.deepcopy(body), offer) for offer in offers]
    ratios = [1.0, *compare(first, others, inputs)]
    best = 0
    for place in range(1, len(offers)):
        if ratios[place] <= CLEAR * ratios[best]:
            best = place
    return offers[best]


def _mixed(body: fx.GraphModule, inputs: Sequence[Any], timed: Mapping[str, Choice]) -> Kernels:
    """Channels last as long as that is faster, then channels first with sparse kernels."""
    fast = apply_kernels(copy.deepcopy(body), Kernels(timed))
    last = apply_kernels(copy.deepcopy(body), Kernels({}, EVERYTHING))
    change = best_change(body, step_times(fast, inputs), step_times(last, inputs), _copying())
    names = [node.name for node in body.graph.nodes]
    early = {node.target for node in list(body.graph.nodes)[: names.index(change) + 1]} if change else set()
    dense = _dense(timed)
    return Kernels({name: dense[name] if name in early else choice for name, choice in timed.items()}, change)


def _copying() -> float:
    """Seconds per number for a map to change its order in memory."""
    value = torch.zeros(1, 64, 40, 40).contiguous(memory_format=torch.channels_last)
    times = []
    for _ in range(5):
        start = clock()
        value.contiguous()
        times.append(clock() - start)
    return min(times) / value.numel()


def apply_kernels(body: fx.GraphModule, kernels: Kernels) -> fx.GraphModule:
    """Put the chosen kernels in, in place.

    Args:
        body: The compacted module.
        kernels: The choice.

    Raises:
        ValueError: If a layer is not there, or is none that the kernel can compute.
    """
    for name, choice in kernels.sparse.items():
        try:
            layer = body.get_submodule(name)
        except AttributeError as error:
            raise ValueError(f"`kernels` must name layers of the compacted model. Got `{name}`.") from error
        makers: Mapping[str, Callable[[Any], SparseLayer]] = LINEAR if isinstance(layer, nn.Linear) else CONVOLUTIONS
        if not _can(layer) or choice.kernel not in makers:
            raise ValueError(
                f"`kernels` must give layers kernels that can compute them. Got `{choice.kernel}` for `{name}`: {layer}."
            )
        set_module(body, name, makers[choice.kernel](layer))
    change_over(body, kernels.channels_last)
    return body


def compare(first: nn.Module, others: Sequence[nn.Module], inputs: Sequence[Any], seconds: float = 4.0) -> list[float]:
    """Median ratios of the others' times to the first one's, measured in turns.

    Args:
        first: A module.
        others: Modules that compute the same.
        inputs: Their inputs.
        seconds: About how long it may take.
    """
    everyone = [first, *others]
    for module in everyone:
        module(*inputs)
    once = sum(_time(module, inputs) for module in everyone)
    rounds = max(3, min(15, int(seconds / max(once, 1e-9))))
    times = [[_time(module, inputs) for module in everyone] for _ in range(rounds)]
    return [statistics.median(row[place] / row[0] for row in times) for place in range(1, len(everyone))]


def _dense(timed: Mapping[str, Choice]) -> dict[str, Choice]:
    return {name: Choice(DENSE, 1.0, c.zeros, c.shape, c.threads) for name, c in timed.items()}


def _candidates(body: fx.GraphModule) -> list[tuple[str, nn.Module, tuple[int, ...]]]:
    """Layers with many zeros, each called once, and the shapes of their inputs."""
    counts = calls(body)
    found = []
    for node in body.graph.nodes:
        if node.op == "call_module":
            module = body.get_submodule(node.target)
            if counts[id(module)] == 1 and _can(module) and _zeros(module) >= FEWEST:
                found.append((node.target, module, node.all_input_nodes[0].meta["shape"]))
    return found


def _can(layer: nn.Module) -> bool:
    if type(layer) is nn.Conv2d:
        return layer.groups == 1 and (layer.padding_mode == "zeros" or layer.padding == (0, 0))
    return type(layer) is nn.Linear


def _zeros(layer: nn.Module) -> float:
    weight: Tensor = layer.weight  # type: ignore[assignment]
    return float((weight == 0).sum()) / max(weight.numel(), 1)


def _choose_layer(layer: nn.Module, shape: tuple[int, ...], rounds: int = 5) -> Choice:
    """Time the kernels on one layer; each time is the smallest of some, which others' work on the machine does not reach."""
    makers: Mapping[str, Callable[[Any], SparseLayer]] = LINEAR if isinstance(layer, nn.Linear) else CONVOLUTIONS
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator, dtype=next(layer.parameters()).dtype)
    modules: dict[str, nn.Module] = {DENSE: layer}
    for name, make in makers.items():
        if name == "gathered_512" and len(shape) == 4 and shape[2] * shape[3] <= 512:
            continue  # the same as `gathered`
        try:
            sparse = make(layer)
            sparse(x)
        except RuntimeError:  # a build of torch without sparse products
            continue
        modules[name] = sparse
    layer(x)
    best = dict.fromkeys(modules, float("inf"))
    for _ in range(rounds):
        for name, module in modules.items():
            best[name] = min(best[name], _time(module, [x]), _time(module, [x]))
    kernel = min(best, key=best.__getitem__)
    ratio = best[kernel] / best[DENSE]
    if ratio > CLEAR:
        kernel, ratio = DENSE, 1.0
    return Choice(kernel, round(ratio, 3), round(_zeros(layer), 4), tuple(shape), torch.get_num_threads())


def _time(module: nn.Module, inputs: Sequence[Any]) -> float:
    start = clock()
    module(*inputs)
    return clock() - start
