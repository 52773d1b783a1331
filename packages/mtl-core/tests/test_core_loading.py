"""Worker processes make batches ahead and change nothing: not a bit, not the order, not what a stopped run ends with."""

import contextlib
import multiprocessing
import runpy
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

import mtl_core as core
from mtl_core.data import View
from mtl_core.datasets import augmentation
from mtl_core.loading import in_order, one_thread
from mtl_core.task import Task, classification

# Python 3.12 and later warn of forks in a process with threads, and torch's loader forks; it warns where cores are few.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
]

Obey = Any

SCENARIOS = runpy.run_path(str(Path(__file__).with_name("core_scenarios.py")))
build, data, mirrored = SCENARIOS["build"], SCENARIOS["data"], SCENARIOS["mirrored"]


@pytest.fixture(autouse=True)
def no_worker_is_left() -> Iterator[None]:
    """However a test ends its iterators, soon no process is left."""
    yield
    end = time.monotonic() + 5
    while multiprocessing.active_children() and time.monotonic() < end:
        time.sleep(0.01)
    assert multiprocessing.active_children() == []


def same(a: View, b: View) -> bool:
    """Bit by bit; NaN is itself."""
    names = {*a.targets, *b.targets}
    maps = [(x.targets[name].nan_to_num(nan=-7.0) for x in (a, b)) for name in names]
    return torch.equal(a.inputs, b.inputs) and all(torch.equal(x, y) for x, y in maps)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_batches_do_not_depend_on_the_workers(workers: int) -> None:
    """Two sources, augmentation, missing labels, more steps than an epoch has, from the middle, for each of two ranks."""
    alone, helped = data().train, data(workers=workers).train
    for rank, world in ((0, 1), (1, 2)):
        mine, theirs = (list(split.batches(3, range(2, 9), 4, rank, world)) for split in (alone, helped))
        assert len(mine) == len(theirs) == 7
        for step, (a, b) in enumerate(zip(mine, theirs, strict=True), 2):
            direct = alone.batch(3, *divmod(step, alone.steps(4 * world)), 4, rank, world)
            assert list(a.tasks) == list(b.tasks) == list(direct.tasks)
            assert all(same(x, y) and same(x, z) for x, y, z in zip(a, b, direct, strict=True))


def test_views_do_not_depend_on_the_workers() -> None:
    """Nor does what is measured."""
    alone, helped = data().validation, data(workers=2).validation
    assert alone is not None
    assert helped is not None
    views = list(alone.views(4)), list(helped.views(4))
    assert len(views[0]) == len(views[1]) == 2
    assert all(same(a, b) for a, b in zip(*views, strict=True))
    model = build(data().tasks)
    assert core.evaluate(model, alone) == core.evaluate(model, helped)


class Large:
    """Images whose sums differ in the last bits with the number of threads."""

    tasks = ("kind",)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        return torch.rand(3, 300, 301, generator=Generator().manual_seed(index)), {"kind": torch.tensor(index % 2)}


def test_batches_do_not_depend_on_the_threads() -> None:
    """A large image's mean enters its contrast: made on four threads, on one and in a worker it is the same."""
    jitter = partial(augmentation.augment, strength=0.5)
    splits = [core.MultiTaskData([classification("kind", 2)], Large(), augment=jitter, workers=w).train for w in (0, 2)]
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 4):
            torch.set_num_threads(threads)
            found += [next(iter(split.batches(0, range(1), 4)))[0] for split in splits]
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(view.inputs, found[0].inputs) for view in found)


def test_threads_are_as_before_after_an_error() -> None:
    """Also where the context is left by an exception."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with contextlib.suppress(KeyError), one_thread():
            assert torch.get_num_threads() == 1
            raise KeyError
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("workers", [0, 2])
def test_global_random_numbers_are_not_drawn(workers: int) -> None:
    """Dropout after a batch is what it would have been without workers."""
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    list(data(workers=workers).train.batches(0, range(3), 4))
    assert torch.equal(torch.rand(3), expected)


def failing(place: int) -> Tensor:
    if place == 3:
        raise FileNotFoundError("`root` must be there.\nExpected:\n    a tree")
    if place == 4:
        raise UnicodeDecodeError("utf-8", b"x", 0, 1, "no text")
    return torch.tensor(place)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_comes_in_its_place_and_in_its_words(workers: int) -> None:
    """What comes before is given; the error has its type and text, without a traceback of the worker."""
    found: list[int] = []
    with pytest.raises(FileNotFoundError) as caught:
        found.extend(int(value) for value in in_order(failing, range(6), workers))
    assert found == [0, 1, 2]
    assert str(caught.value) == "`root` must be there.\nExpected:\n    a tree"
    with pytest.raises(ValueError, match=r"^'utf-8' codec can't decode byte"):
        list(in_order(failing, [4], workers))


def test_workers_end_where_the_loop_is_left() -> None:
    """A method that stops after two batches leaves no process behind, and a worker does not wait for its parent's."""
    values = in_order(torch.tensor, range(1000), 2)
    assert [int(next(values)) for _ in range(2)] == [0, 1]
    assert len(multiprocessing.active_children()) == 2
    values.close()  # type: ignore[attr-defined]
    assert multiprocessing.active_children() == []


def test_tasks_that_cannot_be_sent_stay_where_they_are() -> None:
    """A user's loss may be a lambda."""
    own = Task("own", 1, lambda p, t: ((p[:, 0] - t) ** 2, ~t.isnan()))
    pairs = [(torch.rand(1, 6, 6), {"own": torch.rand(())}) for _ in range(8)]
    batches = list(core.MultiTaskData([own], pairs, workers=2).train.batches(0, range(3), 4))
    assert [batch.tasks["own"] for batch in batches] == [own] * 3


def test_a_negative_number_of_workers_is_refused() -> None:
    """In one line."""
    with pytest.raises(ValueError, match=r"`workers` must be >= 0. Got `workers = -1`"):
        data(workers=-1)


def test_selected_data_keep_their_workers() -> None:
    """And each part has them."""
    part = data(workers=2).select(["far"])
    assert part.validation is not None
    assert (part.train.workers, part.validation.workers) == (2, 2)


def test_what_is_sent_keeps_its_augmentation() -> None:
    """The generator of a sample is seeded by its place, in whichever process."""
    split = core.MultiTaskData(data().tasks, [s.data for s in data().train.sources], augment=mirrored, workers=2).train
    assert all(
        same(a, b) for a, b in zip(next(split.batches(0, range(1), 4)), data().train.batch(0, 0, 0, 4), strict=True)
    )


def kept(found: dict[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in ("sha", "history")}


@pytest.mark.parametrize(
    ("number", "statuses"), [(signal.SIGKILL, [-9]), (signal.SIGTERM, [143]), (signal.SIGINT, [130])]
)
def test_a_run_with_workers_resumes_bit_by_bit(obey: Obey, number: int, statuses: list[int]) -> None:
    """Stopped with two workers and continued at once, with two or with none, it ends as one that had none and ran through."""
    (_, (whole,)) = obey("fit")
    assert kept(obey("fit", workers=2)[1][0]) == kept(whole)
    for folder, workers in (("a", 2), ("b", 0)):
        assert obey("fit", folder, at=["losses", 5, number], workers=2)[0] == statuses
        again = obey("fit", folder, workers=workers)
        assert again[0] == [0], obey.errors
        assert kept(again[1][0]) == kept(whole)
        assert 0 < again[1][0]["computed"] < whole["computed"]
