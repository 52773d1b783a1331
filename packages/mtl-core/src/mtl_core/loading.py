"""Batches made ahead by worker processes, in the order and with the bits that one process would give.

What a batch holds is a pure function of its place, so any process can make it. Each is made on one thread, here as in a
worker: the sum of a large image depends on the number of threads in its last bits.
"""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Generator
from torch.utils.data import DataLoader, Dataset

from mtl_core import lock

T = TypeVar("T")

AHEAD = 2
"""Batches that each worker makes before they are asked for."""

TOLD = (FileNotFoundError, ValueError, TypeError, OSError, ImportError)
"""Errors that come out of a worker as they are; of others torch shows the worker's traceback."""


def in_order(make: Callable[[int], T], places: Sequence[int], workers: int = 0, *, pin: bool = False) -> Iterator[T]:
    """Give `make(place)` for each place, in order.

    Args:
        make: Makes a value; with workers it must be a tensor, or tuples, lists and dicts of such.
        places: The places.
        workers: Processes that make values ahead; 0 makes each when it is asked for.
        pin: Put tensors into pinned memory, from where a GPU takes them without waiting.

    Raises:
        Exception: Whatever `make` raises, when its place has come.
    """
    if workers == 0:
        for place in places:
            with one_thread():
                value = make(place)
            yield value
        return
    loader: DataLoader[Any] = DataLoader(
        _Values(make),
        batch_size=None,
        sampler=list(places),
        num_workers=min(workers, max(1, len(places))),
        collate_fn=_as_it_is,
        pin_memory=pin,
        prefetch_factor=AHEAD,
        worker_init_fn=_begin,
        generator=Generator(),  # else it would draw from the global one, which dropout draws from
    )
    with closing(_Ahead(loader)) as ahead:
        for value in ahead:
            if isinstance(value, _Failed):
                raise value.error(value.text)
            yield value


@contextmanager
def one_thread() -> Iterator[None]:
    """Tensors are computed on one thread within the context."""
    before = torch.get_num_threads()
    if before > 1:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if before > 1:
            torch.set_num_threads(before)


class _Failed(NamedTuple):
    """An error on its way from a worker."""

    error: type[Exception]
    text: str


class _Values(Dataset[Any]):
    def __init__(self, make: Callable[[int], Any]) -> None:
        self._make = make

    def __getitem__(self, place: int) -> Any:
        try:
            return self._make(place)
        except TOLD as error:
            return _Failed(next(kind for kind in TOLD if isinstance(error, kind)), str(error))


class _Ahead:
    """What a loader gives; closing it ends the workers, wherever it stands."""

    def __init__(self, loader: "DataLoader[Any]") -> None:
        self._values = iter(loader)

    def __iter__(self) -> Iterator[Any]:
        return self._values

    def close(self) -> None:
        """End the workers now and not when memory is next tidied up."""
        end = getattr(self._values, "_shutdown_workers", None)
        if end is not None:
            end()


def _begin(_: int) -> None:
    """In a new worker: signals are its parent's business, which ends it; and so are the parent's locks."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    lock.leave_in_child()


def _as_it_is(value: T) -> T:
    return value
