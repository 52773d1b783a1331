r"""Tensors with exact zeros in few bytes: the survivors alone, and where they stand.

A tensor of $n$ elements with $k$ survivors takes $k$ values and one of

* `index`: a position for each survivor,
* `mask`: a bit for each element,
* `signs`: a bit for each element, and a second one for each zero: its sign (a product with a mask of zeros leaves -0.0 of a
  negative weight; such zeros are many or none),

whichever is smallest; where none is smaller than the tensor itself, it stays as it is. What is left out is exactly what has
no bit set (of `signs`: but the sign), so that every bit comes back, NaN and -0.0 included.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

OVERHEAD = 256
"""Bytes that names and facts of a packed tensor take in a file: what saves less is not packed."""

ELEMENTS = 4096
"""Elements for each survivor, at most, in the form `index`: so what a file claims is bounded by its size."""

SIGNED = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
PARTS = {"index": ("values", "index"), "mask": ("values", "mask"), "signs": ("values", "mask", "signs")}
"""The parts of each form."""


@dataclass(frozen=True)
class Packed:
    """What is known of a packed tensor besides its parts."""

    form: str
    shape: tuple[int, ...]
    dtype: str


def pack_tensor(tensor: Tensor) -> tuple[Packed, dict[str, Tensor]] | None:
    """The smallest form of a tensor, or None where that is the tensor itself.

    Args:
        tensor: On the CPU, contiguous.

    Returns:
        Its facts, and its parts by name: `values`, and `index` or `mask` and perhaps `signs`.

    Examples:
        >>> weight = torch.zeros(40, 50)
        >>> weight[1, 2], weight[3, 4] = 0.5, -2.0
        >>> facts, parts = pack_tensor(weight)
        >>> facts.form, parts["values"].tolist(), parts["index"].tolist()
        ('index', [0.5, -2.0], [52, 154])
    """
    size, number = tensor.element_size(), tensor.numel()
    if tensor.layout != torch.strided or size not in INTEGERS or number < OVERHEAD / size:
        return None
    flat = tensor.reshape(-1)
    raw = flat.view(INTEGERS[size])  # torch can index these, whatever the type
    stays = raw != 0
    survivors = int(stays.sum())
    place = torch.int32 if number <= 2**31 else torch.int64
    bits = -(-number // 8)
    sizes = {"mask": survivors * size + bits}
    if number <= ELEMENTS * survivors:
        sizes["index"] = survivors * (size + place.itemsize)
    if flat.dtype in SIGNED:
        stays_signed = flat != 0
        survivors_signed = int(stays_signed.sum())
        sizes["signs"] = survivors_signed * size + bits + -(-(number - survivors_signed) // 8)
    form = min(sizes, key=lambda name: sizes[name])
    if sizes[form] + OVERHEAD >= number * size:
        return None
    facts = Packed(form, tuple(tensor.shape), type_name(tensor.dtype))
    if form == "index":
        return facts, {"values": raw[stays].view(tensor.dtype), "index": stays.nonzero().reshape(-1).to(place)}
    if form == "mask":
        return facts, {"values": raw[stays].view(tensor.dtype), "mask": _bits(stays)}
    signs = _bits(torch.signbit(flat[~stays_signed]))
    return facts, {"values": flat[stays_signed], "mask": _bits(stays_signed), "signs": signs}


def unpack_tensor(facts: Packed, parts: Mapping[str, Tensor], shape: tuple[int, ...]) -> Tensor:
    """Put a packed tensor together again; its facts and parts are checked first.

    Args:
        facts: As `pack_tensor` gives them.
        parts: As `pack_tensor` gives them.
        shape: What the model wants: nothing larger is made, whatever the facts say.

    Raises:
        ValueError: If they are not what `pack_tensor` gives for a tensor of that shape.
    """
    number, values = math.prod(shape), parts["values"]
    if facts.shape != tuple(shape):
        raise ValueError(f"shape {list(facts.shape)} is not the model's {list(shape)}")
    if type_name(values.dtype) != facts.dtype:
        raise ValueError(f"type {type_name(values.dtype)} of the survivors is not {facts.dtype}")
    if facts.form == "signs" and values.dtype not in SIGNED:
        raise ValueError(f"type {facts.dtype} has no signs of zeros")
    if values.element_size() not in INTEGERS or any(part.ndim != 1 for part in parts.values()):
        raise ValueError("a part is not one row, or of a type that is not packed")
    if facts.form == "index":
        return _from_index(values, parts["index"], shape)
    stays = _from_bits(parts["mask"], number)
    if int(stays.sum()) != len(values):
        raise ValueError(f"{int(stays.sum())} bits of the mask are set for {len(values)} survivors")
    flat = _put(values, stays, number)
    if facts.form == "signs":
        negative = _from_bits(parts["signs"], number - len(values))
        flat[~stays] = torch.where(negative, -0.0, 0.0).to(values.dtype)
    return flat.reshape(shape)


def most_elements(facts: Packed, parts: Mapping[str, Tensor]) -> int:
    """How many elements a tensor of such parts can have: found out before anything is made of them."""
    return ELEMENTS * len(parts["values"]) if facts.form == "index" else 8 * len(parts["mask"])


def type_name(dtype: torch.dtype) -> str:
    """`float32` for `torch.float32`."""
    return str(dtype).removeprefix("torch.")


def _from_index(values: Tensor, index: Tensor, shape: tuple[int, ...]) -> Tensor:
    number = math.prod(shape)
    if index.dtype not in (torch.int32, torch.int64) or len(index) != len(values):
        raise ValueError(
            f"{len(index)} positions of type {type_name(index.dtype)} are none for {len(values)} survivors"
        )
    # The range first: differences of numbers out of it may overflow.
    if len(index) and not (int(index.min()) >= 0 and int(index.max()) < number and bool((index.diff() > 0).all())):
        raise ValueError(f"the positions do not ascend within {number} elements")
    return _put(values, index.long(), number).reshape(shape)


def _put(values: Tensor, places: Tensor, number: int) -> Tensor:
    """The survivors among zeros."""
    raw = values.view(INTEGERS[values.element_size()])
    whole = torch.zeros(number, dtype=raw.dtype)
    whole[places] = raw
    return whole.view(values.dtype)


def _bits(flags: Tensor) -> Tensor:
    return torch.from_numpy(np.packbits(flags.numpy(), bitorder="little"))


def _from_bits(packed: Tensor, number: int) -> Tensor:
    if packed.dtype != torch.uint8 or len(packed) != -(-number // 8):
        raise ValueError(f"{len(packed)} numbers of type {type_name(packed.dtype)} are no {number} bits")
    flags = torch.from_numpy(np.unpackbits(packed.numpy(), bitorder="little")).bool()
    if bool(flags[number:].any()):
        raise ValueError("bits past the last element are set")
    return flags[:number]
