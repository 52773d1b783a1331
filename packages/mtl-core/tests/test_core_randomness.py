"""Seeds are functions of names, and global generators come back as they were."""

import random

import numpy as np
import pytest
import torch

from mtl_core.checkpoint import pack, unpack
from mtl_core.randomness import digest, generator, key, random_state, seed_everything, seeded, set_random_state


def draws() -> list[float]:
    return [
        torch.rand(()).item(),
        torch.randn(()).item(),
        random.random(),
        random.gauss(0, 1),
        np.random.rand(),
        np.random.randn(),
    ]


def test_a_key_depends_on_every_part_and_its_place() -> None:
    """Numbers and their names differ, so do other splits of the same text; no two of many meet."""
    parts = [(0, "a"), ("a", 0), (0, "a", 0), ("0", "a"), (0, "b"), (1, "a"), ("0a",), ((0, "a"),)]
    assert len({key(*part) for part in parts}) == len(parts)
    assert len({key(0, "order", source, epoch) for source in range(100) for epoch in range(100)}) == 10_000
    assert all(0 <= key(part) < 2**56 for part in range(100))


def test_generators_of_one_place_are_equal_and_touch_nothing() -> None:
    """The global generator does not notice."""
    state = torch.get_rng_state()
    assert torch.equal(torch.rand(3, generator=generator(1, "x")), torch.rand(3, generator=generator(1, "x")))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_state_of_all_generators_comes_back_also_through_a_file() -> None:
    """torch, numpy and `random`, the cached second normal of each included."""
    seed_everything(0, "somewhere")
    random.gauss(0, 1), np.random.randn()
    state = random_state()
    expected = draws()
    for given in (state, unpack(*pack(state))):
        draws()
        set_random_state(given)
        assert draws() == expected


def test_seeding_is_complete_and_local() -> None:
    """Everything drawn inside is a function of the name; everything drawn after is as without, also after an error."""
    seed_everything("outside")
    expected = draws()
    inside = []
    for name in ("a", "a", "b"):
        seed_everything("outside")
        with pytest.raises(KeyError), seeded(0, name):  # noqa: PT012
            inside.append(draws())
            raise KeyError
        assert draws() == expected
    assert inside[0] == inside[1] != inside[2]


def test_a_digest_follows_names_shapes_types_and_bits() -> None:
    """Order of the names and layout in memory do not matter; what is no tensor does not count."""
    x = torch.arange(6.0).view(2, 3)
    same = [{"a": x, "b": x[0]}, {"b": x[0].clone(), "a": x.t().contiguous().t(), "c": "text"}]
    other = [{"a": x}, {"a": x, "c": x[0]}, {"a": x.view(3, 2), "b": x[0]}, {"a": x.double(), "b": x[0]},
             {"a": x + 1, "b": x[0]}, {"a": torch.tensor(0.0)}, {"a": torch.tensor(-0.0)}, {"a": torch.zeros(0)}]  # fmt: skip
    assert len({digest(d) for d in same}) == 1
    assert len({digest(d) for d in [*same, *other]}) == 1 + len(other)
