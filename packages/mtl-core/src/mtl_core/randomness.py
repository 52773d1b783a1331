"""Random numbers as a function of a seed and names, never of what ran before.

Everything that draws random numbers gets a seed made from the run's seed and a path of names, so that any position of any
training is found again without replaying what came before it.
"""

import hashlib
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Generator, Tensor


def key(*parts: object) -> int:
    """Turn a path of names and numbers into a seed.

    Args:
        parts: Strings and numbers; their `repr` counts.

    Examples:
        >>> key(0, "order", 3) == key(0, "order", 3), key(0, "order", 3) == key(0, "order", 4)
        (True, False)
    """
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=7).digest(), "big")


def generator(*parts: object) -> Generator:
    """Make a CPU generator seeded by `key(*parts)`."""
    return Generator().manual_seed(key(*parts))


def seed_everything(*parts: object) -> None:
    """Seed torch (all devices), numpy and `random` by `key(*parts)`."""
    seed = key(*parts)
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def random_state() -> dict[str, object]:
    """Give the state of all global generators as tensors and JSON values."""
    version, words, gauss = random.getstate()
    name, array, position, has_gauss, cached = np.random.get_state()
    state: dict[str, object] = {
        "torch": torch.get_rng_state(),
        "python": [version, torch.tensor(words, dtype=torch.int64), gauss],
        "numpy": [name, torch.from_numpy(np.asarray(array).astype(np.int64)), position, has_gauss, cached],
    }
    if torch.cuda.is_initialized():
        state["cuda"] = list(torch.cuda.get_rng_state_all())
    return state


def set_random_state(state: dict[str, object]) -> None:
    """Put the global generators where `random_state` found them."""
    torch.set_rng_state(_tensor(state["torch"]))
    python, array = state["python"], state["numpy"]
    assert isinstance(python, (list, tuple))
    assert isinstance(array, (list, tuple))
    random.setstate((python[0], tuple(python[1].tolist()), python[2]))
    np.random.set_state((array[0], array[1].numpy().astype(np.uint32), array[2], array[3], array[4]))
    if "cuda" in state:
        torch.cuda.set_rng_state_all(state["cuda"])  # type: ignore[arg-type]


@contextmanager
def seeded(*parts: object) -> Iterator[None]:
    """Everything drawn inside is a function of `parts`; what is drawn after is what it would have been without."""
    before = random_state()
    seed_everything(*parts)
    try:
        yield
    finally:
        set_random_state(before)


def _tensor(value: object) -> Tensor:
    assert isinstance(value, Tensor)
    return value


def digest(tensors: Mapping[str, object]) -> str:
    """A hash of named tensors: equal exactly where names, shapes, types and bits are."""
    state = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        if isinstance(value, Tensor):
            plain = value.detach().cpu().contiguous()
            state.update(f"{name} {tuple(plain.shape)} {plain.dtype}".encode())
            state.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()[:16]
