"""Data of several tasks: the order of samples, what an epoch is, views, partial labels, and what is refused."""

import math
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from mtl_core.data import MultiTaskData, Split
from mtl_core.datasets.arrays import arrays
from mtl_core.task import Task, attribute, classification, segmentation

KIND, TALL = classification("kind", 5), attribute("tall")


class Numbered:
    """Sample `i` is the number `start + i`; a target for each of `tasks`."""

    def __init__(self, count: int, tasks: tuple[str, ...] = ("kind",), start: int = 0) -> None:
        self.count, self.tasks, self.start = count, tasks, start

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Any]]:
        return torch.tensor([float(self.start + index)]), {
            n: index % 2 if n == "kind" else index % 2 * 1.0 for n in self.tasks
        }


def data(*sources: Any, tasks: tuple[Task, ...] = (KIND, TALL), **rest: Any) -> MultiTaskData:
    return MultiTaskData(tasks, list(sources), **rest)


def numbers(split: Split, *place: int, **rest: Any) -> list[list[int]]:
    """The samples of each view of a batch."""
    return [view.inputs[:, 0].int().tolist() for view in split.batch(*place, **rest)]


def epoch(split: Split, number: int, batch_size: int, seed: int = 0, **rest: Any) -> list[list[list[int]]]:
    return [numbers(split, seed, number, step, batch_size, **rest) for step in range(split.steps(batch_size))]


def test_the_order_is_a_pure_function_of_its_place() -> None:
    """Asked for in any order, by any object, from anywhere: the same samples."""
    split, again = data(Numbered(11, ("kind", "tall"))).train, data(Numbered(11, ("kind", "tall"))).train
    forward = [epoch(split, number, 3) for number in range(3)]
    assert [epoch(again, number, 3) for number in (2, 0, 1)] == [forward[2], forward[0], forward[1]]
    assert numbers(again, 0, 2, 1, 3) == forward[2][1]
    assert forward[0] != forward[1]
    assert epoch(split, 0, 3, seed=1) != forward[0]


def test_an_epoch_is_one_pass_of_the_longest_source() -> None:
    """No sample twice, and the incomplete last batch left out."""
    split = data(Numbered(11, ("kind", "tall"))).train
    seen = [number for (view,) in epoch(split, 0, 3) for number in view]
    assert split.steps(3) == 3
    assert len(seen) == len(set(seen)) == 9


def test_a_shorter_source_starts_again_with_a_new_permutation() -> None:
    """Within each of its rounds no sample comes twice; one smaller than a batch gives one small batch a step."""
    long, short, tiny = Numbered(24, ("kind",)), Numbered(8, ("tall",), 100), Numbered(2, ("tall",), 200)
    batches = epoch(data(long, short, tiny).train, 0, 4)
    rounds = [sorted(batches[step][1] + batches[step + 1][1]) for step in (0, 2, 4)]
    assert rounds == [list(range(100, 108))] * 3
    assert batches[0][1] != batches[2][1]
    assert all(sorted(batch[2]) == [200, 201] for batch in batches)
    assert len({tuple(batch[2]) for batch in batches}) == 2


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_partition_the_common_batch(world: int) -> None:
    """Together they see what one process with a batch as large sees; what is too small for all leaves some without."""
    sources = Numbered(25, ("kind",)), Numbered(7, ("tall",), 100), Numbered(1, ("tall",), 200)
    split = data(*sources).train
    for step in range(split.steps(4 * world)):
        whole = numbers(split, 0, 1, step, 4 * world)
        shares = [numbers(split, 0, 1, step, 4, rank=rank, world=world) for rank in range(world)]
        assert sorted(n for share in shares for view in share for n in view) == sorted(
            n for view in whole for n in view
        )
        assert [len(share) for share in shares] == [3] + [2] * (world - 1)


def test_every_sample_is_viewed_once() -> None:
    """In order, without augmentation; over ranks it is shared out, and a rank may have no sample of a source."""
    split = data(Numbered(7, ("kind", "tall")), Numbered(1, ("tall",), 100)).train
    one = [n for view in split.views(3) for n in view.inputs[:, 0].int().tolist()]
    shares = [[n for v in split.views(3, rank, 3) for n in v.inputs[:, 0].int().tolist()] for rank in range(3)]
    assert one == [*range(7), 100]
    assert shares == [[0, 3, 6, 100], [1, 4], [2, 5]]


def jitter(x: Tensor, targets: dict[str, Tensor], generator: Generator) -> tuple[Tensor, dict[str, Tensor]]:
    return x + torch.rand(x.shape, generator=generator), {**targets, "kind": targets["kind"] + 1}


def test_augmentation_acts_in_training_only_and_is_a_function_of_the_sample() -> None:
    """Seeded by seed, epoch and sample: equal in any batch and on any rank; never where something is measured."""
    part = data(Numbered(8, ("kind", "tall")), augment=jitter, validation=[Numbered(8, ("kind", "tall"))])
    assert part.validation is not None

    def drawn(epoch: int, batch_size: int) -> dict[int, float]:
        batches = [part.train.batch(0, epoch, step, batch_size)[0] for step in range(8 // batch_size)]
        values = [value for view in batches for value in view.inputs[:, 0].tolist()]
        return {int(value): value % 1 for value in values}

    assert drawn(0, 4) == drawn(0, 8) == drawn(0, 4)
    assert drawn(0, 4) != drawn(1, 4)
    shared = [part.train.batch(0, 0, 0, 4, rank=r, world=2)[0].inputs[:, 0].tolist() for r in range(2)]
    assert {int(v): v % 1 for share in shared for v in share} == drawn(0, 8)
    for split in (part.train, part.validation):
        assert [v.inputs[:, 0].tolist() for v in split.views(8)] == [list(map(float, range(8)))]
    assert part.train.batch(0, 0, 0, 8)[0].targets["kind"].unique().tolist() == [1, 2]
    assert part.select(["kind"]).train.augment is jitter


def test_a_missing_target_is_filled_with_what_stands_for_it() -> None:
    """Left out, None, or by pixel; where no sample of a batch has one, the view lacks the task."""
    regions = segmentation("regions", 3)
    maps = [
        {"kind": 3, "tall": None},
        {"regions": torch.ones(2, 2, dtype=torch.int64)},
        {"tall": True, "regions": None},
    ]
    pairs = [(torch.zeros(1, 2, 2), {"kind": None, "tall": None, "regions": None, **targets}) for targets in maps]
    split = data(pairs, tasks=(KIND, TALL, regions)).train
    (view,) = split.views(3)
    assert view.targets["kind"].tolist() == [3, -1, -1]
    assert view.targets["tall"].nan_to_num(nan=9).tolist() == [9, 9, 1]
    assert view.targets["regions"].flatten(1).tolist() == [[255] * 4, [1] * 4, [255] * 4]
    assert [sorted(view.targets) for view in split.views(1)] == [["kind"], ["regions"], ["tall"]]


def test_a_sample_without_any_label_gives_no_view() -> None:
    """Nothing can be learned or measured from it."""
    pairs = [(torch.zeros(1), {"kind": 1}), (torch.zeros(1), {})]
    assert [len(view.inputs) for view in data(pairs, tasks=(KIND,)).train.views(1)] == [1]


def test_both_regimes_and_mixtures_are_lists_of_views() -> None:
    """Common images give one view, a data set per task one each."""
    common = data(Numbered(8, ("kind", "tall"))).train.batch(0, 0, 0, 4)
    each = data(Numbered(8, ("kind",)), Numbered(8, ("tall",))).train.batch(0, 0, 0, 4)
    mixed = data(Numbered(8, ("kind", "tall")), Numbered(8, ("tall",))).train.batch(0, 0, 0, 4)
    found = [[sorted(view.targets) for view in batch] for batch in (common, each, mixed)]
    assert found == [[["kind", "tall"]], [["kind"], ["tall"]], [["kind", "tall"], ["tall"]]]


def test_selected_data_keep_the_order_of_the_samples() -> None:
    """A task trained alone sees its samples as in the joint training; sources without it are left out."""
    part = data(Numbered(9, ("kind",)), Numbered(9, ("tall", "kind"), 100), validation=Numbered(3, ("kind", "tall")))
    alone = part.select(["tall"])
    assert epoch(alone.train, 0, 3) == [[view for view in batch if view[0] >= 100] for batch in epoch(part.train, 0, 3)]
    assert list(alone.train.batch(0, 0, 0, 3)[0].targets) == list(alone.tasks) == ["tall"]
    assert list(part.select(["tall", "kind"]).tasks) == ["tall", "kind"]
    assert alone.validation is not None
    assert alone.test is None


def test_selected_tasks_are_in_the_order_given_in_every_view() -> None:
    """So that a method that sorts its tasks hangs on no order."""
    part = data(Numbered(3, ("kind", "tall"))).select(["tall", "kind"])
    assert list(part.train.batch(0, 0, 0, 2)[0].targets) == ["tall", "kind"]


@pytest.mark.parametrize("names", [["depth"], [], ["kind", "depth"]])
def test_selecting_what_is_not_there_is_refused(names: list[str]) -> None:
    """The message says what is there."""
    with pytest.raises(ValueError, match=r"`names` must be among the tasks \['kind', 'tall'\]. Got `names = "):
        data(Numbered(3, ("kind", "tall"))).select(names)


def test_single_samples_and_whole_batches_are_converted_alike() -> None:
    """uint8 is divided by 255, doubles and booleans become float32, integers int64: with `batch` and without."""

    class Fast(list[Any]):
        def batch(self, indices: Tensor) -> tuple[Tensor, dict[str, Any]]:
            return torch.stack([self[i][0] for i in indices.tolist()]), {
                "kind": torch.tensor([self[i][1]["kind"] for i in indices.tolist()], dtype=torch.int32),
                "tall": torch.tensor([self[i][1]["tall"] for i in indices.tolist()]),
            }

    pairs = [(torch.full((1, 2, 2), i, dtype=torch.uint8), {"kind": i, "tall": i == 1}) for i in range(4)]
    for source in (Fast(pairs), tuple(pairs)):
        (view,) = data(source).train.views(4)
        assert (view.inputs.dtype, view.inputs[3].unique().item()) == (torch.float32, pytest.approx(3 / 255))
        assert {n: t.dtype for n, t in view.targets.items()} == {"kind": torch.int64, "tall": torch.float32}


def test_unlabelled_tasks_are_named() -> None:
    """A label anywhere is enough; a task with none at all is found."""
    pairs = [(torch.zeros(1), {"kind": -1, "tall": math.nan}) for _ in range(20)]
    assert data(pairs).train.unlabelled() == ["kind", "tall"]
    pairs[19] = (torch.zeros(1), {"kind": 0, "tall": math.nan})
    assert data(pairs).train.unlabelled() == ["tall"]


def test_fingerprints_follow_the_content() -> None:
    """Equal for equal data; another sample, order of tasks' sources or length changes it."""
    x, y = torch.rand(6, 1, 2, 2, generator=Generator().manual_seed(0)), torch.arange(6) % 5

    def print_of(inputs: Tensor, targets: Tensor, fast: bool = True) -> str:
        source: Any = arrays(inputs, {"kind": targets})
        return data(source if fast else [source[i] for i in range(6)], tasks=(KIND,)).train.fingerprint()

    for fast in (True, False):
        first = print_of(x, y, fast)
        assert first == print_of(x.clone(), y.clone(), fast)
        assert len({first, print_of(x + 1e-3, y, fast), print_of(x, (y + 1) % 5, fast)}) == 3


def test_bad_data_are_refused_in_one_line() -> None:
    """Each with what is wrong, and where."""
    with pytest.raises(ValueError, match=r"`tasks` must name at least one task. Got none"):
        MultiTaskData([], Numbered(3))
    with pytest.raises(ValueError, match=r"`tasks` must have different names. Got \['kind', 'kind'\]"):
        MultiTaskData([KIND, KIND], Numbered(3))
    for empty in ([], Numbered(0), [Numbered(0)]):
        with pytest.raises(ValueError, match=r"`train` must hold at least one sample. Got an empty data set"):
            MultiTaskData([KIND], empty)
    with pytest.raises(
        ValueError, match=r"`validation` must label every task. Got no source with labels for \['tall'\]"
    ):
        data(Numbered(3, ("kind", "tall")), validation=Numbered(3))
    with pytest.raises(ValueError, match=r"`train` must give `\(input, \{task: target\}\)`. Got int for the targets"):
        MultiTaskData([KIND], torch.utils.data.TensorDataset(torch.zeros(3, 1)) and [[(torch.zeros(1), 3)]])
    with pytest.raises(ValueError, match=r"`batch_size` must be at least 1. Got `batch_size = 0`"):
        data(Numbered(3, ("kind", "tall"))).train.steps(0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_input_that_is_not_finite_is_named(bad: float) -> None:
    """Sample and source; NaN and both infinities."""
    inputs = torch.zeros(5, 1, 2, 2)
    inputs[3, 0, 1, 1] = bad
    split = data(Numbered(4), arrays(inputs, {"tall": torch.zeros(5)})).train
    with pytest.raises(ValueError, match=r"Inputs must be finite. Got NaN or Inf in sample 3 of source 1"):
        list(split.views(2))


def test_a_large_sum_of_finite_inputs_is_no_infinity() -> None:
    """The quick check may overflow; the verdict does not."""
    inputs = torch.full((2, 1, 2, 2), 3e38)
    assert len(list(data(arrays(inputs, {"kind": torch.zeros(2).long()}), tasks=(KIND,)).train.views(2))) == 1


def test_bad_targets_and_shapes_are_refused_in_one_line() -> None:
    """A class out of range, samples of two shapes, a target short of a row, an integer that cannot say it is missing."""
    with pytest.raises(ValueError, match=r"`target` of task `kind` must be a class from 0 to 4.*Got `target = 5`"):
        list(data([(torch.zeros(1), {"kind": 5})], tasks=(KIND,)).train.views(1))
    two = [(torch.zeros(1), {"kind": 1}), (torch.zeros(2), {"kind": 1})]
    with pytest.raises(
        ValueError, match=r"inputs of source 0 must have one shape within a batch. Got \(1,\) and \(2,\)"
    ):
        list(data(two, tasks=(KIND,)).train.views(2))
    plain = Task("own", 1, lambda p, t: (p, t))
    mixed = [(torch.zeros(1), {"own": 1}), (torch.zeros(1), {"own": None})]
    with pytest.raises(ValueError, match=r"`missing` of task `own` must be an integer where targets are integers"):
        list(data(mixed, tasks=(plain,)).train.views(2))

    class Short(Numbered):
        def batch(self, indices: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            return torch.zeros(len(indices), 1), {"kind": torch.zeros(1, dtype=torch.int64)}

    with pytest.raises(ValueError, match=r"Targets of task `kind` must have one row per input. Got 1 for 3 inputs"):
        list(data(Short(3), tasks=(KIND,)).train.views(3))
