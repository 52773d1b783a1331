r"""What one forward pass takes: floating-point operations, the tensors that it uses, and the memory that lives at once.

The pass runs once, and every operation of torch is looked at. Counted are convolutions and matrix products (linear layers,
attention), as `torch.utils.flop_counter` has them: two operations for each multiply-add, positions in the padding included.
Norms, activations, pooling, resizing and additions are not counted, and of recurrent layers only what is a plain matrix
product. In such an operation each element of a weight takes part in equally many multiply-adds, so that

$$\text{operations with non-zero weights} = \text{operations} \cdot \frac{\text{non-zero elements}}{\text{elements}}.$$
"""

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


@dataclass(frozen=True)
class Trace:
    """What a pass took.

    Attributes:
        flops: Floating-point operations, two for each multiply-add.
        nonzero_flops: Those of multiply-adds with a weight that is not zero.
        used: Names of the parameters and buffers that took part.
        weight_bytes: What these take.
        activation_bytes: The most that other tensors took at once, the inputs included; buffers within a kernel are not.
    """

    flops: int
    nonzero_flops: int
    used: frozenset[str]
    weight_bytes: int
    activation_bytes: int


def trace(model: nn.Module, call: Callable[[], object], inputs: Sequence[Tensor]) -> Trace:
    """Watch a pass.

    Args:
        model: Whose weights are told from other tensors.
        call: Runs the pass.
        inputs: Its inputs.

    Examples:
        >>> layer = nn.Linear(3, 4)
        >>> x = torch.ones(2, 3)
        >>> found = trace(layer, lambda: layer(x), [x])
        >>> found.flops, sorted(found.used)
        (48, ['bias', 'weight'])
    """
    weights = _weights(model)
    watch = _Watch({place for place, _ in weights.values()}, inputs)
    # Fused kernels for attention would hide its matrix products.
    with torch.no_grad(), _plain_attention(), watch:
        call()
    used = frozenset(name for name, (place, _) in weights.items() if place in watch.used)
    sizes = {place: size for place, size in weights.values() if place in watch.used}
    return Trace(watch.flops, round(watch.nonzero_flops), used, sum(sizes.values()), watch.peak)


class _Watch(TorchDispatchMode):
    """Adds up what each operation of torch takes."""

    def __init__(self, weights: set[int], inputs: Sequence[Tensor]) -> None:
        super().__init__()
        self.flops, self.nonzero_flops = 0, 0.0
        self.used: set[int] = set()
        self.live, self.peak = 0, 0
        self._weights = weights
        self._known: set[int] = set()
        for tensor in inputs:
            self._add(tensor)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch imports its compiler at the first operation, which takes seconds

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        for tensor in _tensors((args, kwargs)):
            self.used.update(_places(tensor) & self._weights)
        out = func(*args, **kwargs)
        for tensor in _tensors(out):
            self._add(tensor)
        packet = func._overloadpacket
        count = flop_registry.get(packet)
        if count is not None:
            flops = int(count(*args, **kwargs, out_val=out))
            self.flops += flops
            self.nonzero_flops += flops * self._nonzero_share(packet, args)
        return out

    def _nonzero_share(self, packet: Any, args: tuple[Any, ...]) -> float:
        """Of the weight among the two factors; what is added first (`addmm`) is none."""
        factors = args[1:3] if packet in (torch.ops.aten.addmm, torch.ops.aten.baddbmm) else args[:2]
        for factor in factors:
            if isinstance(factor, Tensor) and _places(factor) & self._weights:
                return float(torch.count_nonzero(_parts(factor)[0])) / max(factor.numel(), 1)
        return 1.0

    def _add(self, tensor: Tensor) -> None:
        if tensor.layout != torch.strided:
            return
        memory = tensor.untyped_storage()
        place, size = memory.data_ptr(), memory.nbytes()
        if place in self._known or place in self._weights or not size:
            return
        self._known.add(place)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(memory, self._free, place, size)

    def _free(self, place: int, size: int) -> None:
        self._known.discard(place)
        self.live -= size


def _weights(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Place and bytes of each parameter and buffer."""
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    found = {}
    for name, tensor in named:
        parts = _parts(tensor.detach())
        if parts and parts[0].numel():
            found[name] = (parts[0].untyped_storage().data_ptr(), sum(part.nbytes for part in parts))
    return found


def _parts(tensor: Tensor) -> list[Tensor]:
    """The plain tensors that a tensor is made of: a sparse one of values and where they stand."""
    if tensor.layout == torch.strided:
        return [tensor]
    if tensor.layout in (torch.sparse_csr, torch.sparse_bsr):
        return [tensor.values(), tensor.crow_indices(), tensor.col_indices()]
    return []


def _places(tensor: Tensor) -> set[int]:
    return {part.untyped_storage().data_ptr() for part in _parts(tensor)}


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, Mapping):
        yield from _tensors(list(value.values()))


@contextmanager
def _plain_attention() -> Iterator[None]:
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
