"""Packed tensors: every bit comes back, the smallest form is taken, and what does not belong together is refused."""

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mtl_core.packing import INTEGERS, OVERHEAD, Packed, most_elements, pack_tensor, unpack_tensor

TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool]


def sparse(share: float, number: int = 4000, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    """A weight of which `share` is not zero."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.rand(number, generator=generator) + 1  # positive: of a negative one, 0 is left with a sign
    return (values * (torch.rand(number, generator=generator) < share)).to(dtype)


def bits(tensor: Tensor) -> Any:
    return tensor.dtype, tensor.shape, tensor.reshape(-1).view(torch.uint8).tolist()


def again(tensor: Tensor) -> Tensor:
    packed = pack_tensor(tensor)
    assert packed is not None
    return unpack_tensor(*packed, tuple(tensor.shape))


@pytest.mark.parametrize("dtype", [*TYPES, torch.float8_e4m3fn, torch.float8_e5m2fnuz, torch.complex64], ids=str)
@pytest.mark.parametrize("share", [0.0, 0.002, 0.1, 0.4])
def test_every_bit_comes_back(dtype: torch.dtype, share: float) -> None:
    """Whatever the type and the share of survivors; a byte tensor gains less than the others, and may stay whole."""
    tensor = sparse(share, dtype=dtype).reshape(40, 10, 10)
    assert bits(again(tensor)) == bits(tensor)


@pytest.mark.parametrize("dtype", TYPES[:4], ids=str)
def test_nan_infinities_denormals_and_signs_of_zeros_come_back(dtype: torch.dtype) -> None:
    """NaN with its payload, and few or many zeros with a sign."""
    tensor = sparse(0.2, dtype=dtype)
    tensor[:4] = torch.tensor([torch.nan, torch.inf, -torch.inf, torch.finfo(dtype).smallest_normal / 2])
    tensor[4:5].view(INTEGERS[tensor.element_size()]).fill_(-5)  # a NaN with a sign and bits of its own
    assert torch.isnan(tensor[4])
    for number in (1, 3000):
        tensor[tensor == 0] = 0.0
        zeros = (tensor == 0).nonzero().reshape(-1)[:number]
        tensor[zeros] = -0.0
        assert bits(again(tensor)) == bits(tensor)


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_any_tensor_comes_back_or_is_left_as_it_is(data: st.DataObject) -> None:
    """Random bits between zeros, of any type and shape: what is packed is smaller, and comes back."""
    dtype = data.draw(st.sampled_from(TYPES[:-1]))
    shape = data.draw(st.sampled_from([(0,), (), (1,), (300,), (7, 3, 31), (1000, 5)]))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 2**31)))
    size = torch.empty((), dtype=dtype).element_size()
    random = torch.randint(-(2**7), 2**7, (*shape, size), generator=generator).to(torch.int8).view(dtype).reshape(shape)
    keep = torch.rand(shape, generator=generator) < data.draw(st.sampled_from([0.0, 0.01, 0.2, 0.7, 1.0]))
    tensor = torch.where(keep, random, torch.zeros((), dtype=dtype))
    packed = pack_tensor(tensor)
    if packed is not None:
        taken = sum(part.numel() * part.element_size() for part in packed[1].values())
        assert taken + OVERHEAD < tensor.numel() * size
        assert bits(unpack_tensor(*packed, tuple(tensor.shape))) == bits(tensor)


@pytest.mark.parametrize(
    ("tensor", "form"),
    [
        (sparse(0.001), "index"),  # 4 positions of 4 bytes are less than 4000 bits
        (sparse(0.1), "mask"),
        (sparse(0.1) * torch.tensor([-1.0, 1.0]).repeat(2000), "signs"),
        (torch.zeros(4000), "mask"),  # an index of no survivors would claim any size
        (sparse(1.0), None),
        (torch.zeros(10), None),
        (torch.zeros(0), None),
        (torch.zeros(5, dtype=torch.complex128), None),
        (sparse(0.1).to_sparse(), None),
    ],
)
def test_the_smallest_form_is_taken(tensor: Tensor, form: str | None) -> None:
    """By the bytes of each; what gains nothing stays as it is."""
    packed = pack_tensor(tensor)
    assert (packed and packed[0].form) == form


def test_survivors_and_a_bit_for_each_weight_are_all_that_is_stored() -> None:
    """Worked by hand: 1000 floats, every tenth kept."""
    tensor = torch.zeros(1000)
    tensor[::10] = 1.5
    packed = pack_tensor(tensor)
    assert packed is not None
    facts, parts = packed
    assert facts == Packed("mask", (1000,), "float32")
    assert {name: part.numel() * part.element_size() for name, part in parts.items()} == {"values": 400, "mask": 125}


def changed(**parts: Tensor) -> dict[str, Any]:
    return {"parts": parts}


INDEX, MASK, SIGNS = torch.zeros(4000), sparse(0.1), -sparse(0.1)
INDEX[torch.tensor([5, 6, 70, 3999])] = 1.0
SURVIVORS = int((SIGNS != 0).sum())
ATTACKS: list[tuple[Tensor, dict[str, Any], str]] = [
    (MASK, {"facts": {"shape": (10**12,)}}, r"shape \[1000000000000\] is not the model's \[4000\]"),
    (INDEX, {"facts": {"shape": (4001,)}}, r"shape \[4001\] is not"),
    (MASK, {"facts": {"dtype": "float64"}}, "type float32 of the survivors is not float64"),
    (MASK, changed(values=torch.zeros(5)), "bits of the mask are set for 5 survivors"),
    (MASK, changed(mask=torch.full((500,), 255, dtype=torch.uint8)), "4000 bits of the mask are set for"),
    (MASK, changed(mask=torch.zeros(499, dtype=torch.uint8)), "499 numbers of type uint8 are no 4000 bits"),
    (MASK, changed(mask=torch.zeros(500)), "500 numbers of type float32 are no 4000 bits"),
    (MASK, changed(values=torch.zeros(5, 2)), "a part is not one row"),
    (
        MASK,
        {"facts": {"dtype": "complex128"}, "parts": {"values": torch.zeros(5, dtype=torch.complex128)}},
        "not packed",
    ),
    (INDEX, changed(index=torch.tensor([0, 1, 2, 4000], dtype=torch.int32)), "positions do not ascend within 4000"),
    (INDEX, changed(index=torch.tensor([-1, 1, 2, 3], dtype=torch.int32)), "positions do not ascend"),
    (INDEX, changed(index=torch.tensor([0, 1, 1, 3])), "positions do not ascend"),
    (INDEX, changed(index=torch.tensor([0, 2**63 - 1, -(2**63), 3])), "positions do not ascend"),
    (INDEX, changed(index=torch.tensor([0, 1, 2], dtype=torch.int32)), "3 positions of type int32 are none for 4"),
    (INDEX, changed(index=torch.tensor([0.0, 1.0, 2.0, 3.0])), "4 positions of type float32 are none for 4"),
    (SIGNS, changed(signs=torch.zeros(3, dtype=torch.uint8)), "3 numbers of type uint8 are no"),
    (
        SIGNS,
        {"facts": {"dtype": "int32"}, "parts": {"values": torch.ones(SURVIVORS, dtype=torch.int32)}},
        "has no signs",
    ),
]


@pytest.mark.parametrize(("tensor", "change", "message"), ATTACKS)
def test_what_does_not_belong_together_is_refused(tensor: Tensor, change: dict[str, Any], message: str) -> None:
    """Shapes, types, positions and bits are checked before a tensor is made of them."""
    packed = pack_tensor(tensor)
    assert packed is not None
    facts = dataclasses.replace(packed[0], **change.get("facts", {}))
    with pytest.raises(ValueError, match=message):
        unpack_tensor(facts, packed[1] | change.get("parts", {}), (4000,))


def test_a_claim_is_bounded_by_the_bytes_that_make_it() -> None:
    """Eight elements for a byte of a mask; of an index so many for a survivor that what is packed so stays below."""
    sparsest = torch.zeros(4096)
    sparsest[7] = 1.0
    for tensor, most in ((MASK, 4000), (INDEX, 4 * 4096), (SIGNS, 4000), (sparsest, 4096)):
        packed = pack_tensor(tensor)
        assert packed is not None
        assert most_elements(*packed) == most >= tensor.numel()
    assert pack_tensor(torch.cat([sparsest, torch.zeros(1)]))[0].form == "mask"  # type: ignore[index]


def test_bits_past_the_last_element_are_refused() -> None:
    """Equal tensors have equal bytes: the bits that fill the last byte are zero."""
    tensor = sparse(0.1, 4001)
    packed = pack_tensor(tensor)
    assert packed is not None
    packed[1]["mask"][-1] |= 128
    with pytest.raises(ValueError, match="bits past the last element are set"):
        unpack_tensor(*packed, (4001,))
