"""Tasks: their constructors, and what they refuse in predictions and targets."""

import copy
import math
from collections.abc import Callable
from functools import partial
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from torch import Tensor

from mtl_core import losses
from mtl_core.reduction import mean_loss, sample_losses_of
from mtl_core.task import (
    Task,
    attribute,
    classification,
    depth,
    edge_strength,
    edges,
    keypoints,
    normals,
    saliency,
    segmentation,
)

NAN, INF = math.nan, math.inf

TASKS: dict[str, Callable[..., Task]] = {
    "classification": partial(classification, classes=5),
    "attribute": attribute,
    "segmentation": partial(segmentation, classes=13),
    "depth": depth,
    "normals": normals,
    "edges": edges,
    "saliency": saliency,
    "edge_strength": edge_strength,
    "keypoints": keypoints,
}


def a_target(kind: str) -> Tensor:
    """A batch of three targets, of which the last has no label."""
    g = torch.Generator().manual_seed(0)
    if kind == "classification":
        return torch.tensor([0, 4, -1])
    if kind == "attribute":
        return torch.tensor([0.0, 1.0, NAN])
    if kind == "segmentation":
        target = torch.randint(0, 13, (3, 4, 5), generator=g)
    elif kind == "normals":
        target = torch.nn.functional.normalize(torch.randn(3, 3, 4, 5, generator=g))
    elif kind in ("edges", "saliency"):
        target = torch.randint(0, 2, (3, 1, 4, 5), generator=g).float()
    else:
        target = torch.rand(3, 1, 4, 5, generator=g) * 0.9 + 0.1
    target[2] = TASKS[kind](kind).missing
    return target


def a_prediction(task: Task) -> Tensor:
    shape = (3, task.channels, 2, 3) if task.dense else (3, task.channels)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("kind", "channels", "dense", "missing", "unit", "figures"),
    [
        ("classification", 5, False, -1, "nats", "accuracy"),
        ("attribute", 1, False, NAN, "nats", "accuracy f1"),
        ("segmentation", 13, True, 255, "nats", "mIoU pixel_accuracy"),
        ("depth", 1, True, 0, "metres", "absolute_error relative_error delta_1 delta_2 delta_3"),
        ("normals", 3, True, 0, "1 - cosine", "mean_angle median_angle within_11 within_22 within_30"),
        ("edges", 1, True, NAN, "balanced nats", "f_measure mIoU_threshold"),
        ("saliency", 1, True, NAN, "balanced nats", "f_measure mIoU_threshold"),
        ("edge_strength", 1, True, NAN, "share", "mean_absolute_error"),
        ("keypoints", 1, True, NAN, "share", "mean_absolute_error"),
    ],
)
def test_a_constructor_follows_the_convention_of_targets(
    kind: str, channels: int, dense: bool, missing: float, unit: str, figures: str
) -> None:
    """Channels, form, value without a label, unit of the loss and figures of each kind."""
    task = TASKS[kind]("a-name")
    assert (task.name, task.channels, task.dense, task.kind, task.weight) == ("a-name", channels, dense, unit, 1)
    assert task.missing == missing or (math.isnan(task.missing) and math.isnan(missing))
    assert [figure for metric in task.metrics() for figure in metric.higher_is_better] == figures.split()


@pytest.mark.parametrize("kind", TASKS)
def test_a_task_is_checked_trained_and_measured(kind: str) -> None:
    """A good target passes; loss, losses per sample and figures exist; the sample without a label has none of them."""
    task, target = TASKS[kind](kind), a_target(kind)
    assert task.check is not None
    task.check(target)
    prediction = a_prediction(task)
    values, valid = task.elements(prediction, target)
    total, count = mean_loss(values, valid)
    assert total.isfinite()
    assert count > 0
    assert sample_losses_of(values, valid, kind).isnan().tolist() == [False, False, True]
    for metric in task.metrics():
        metric.update(prediction, target)
        assert all(math.isfinite(value) for value in metric.compute().values())


@pytest.mark.parametrize("kind", TASKS)
def test_metrics_are_new_and_empty_at_each_call(kind: str) -> None:
    """One evaluation does not go on where another stopped."""
    task = TASKS[kind](kind)
    (first,), (second,) = task.metrics(), task.metrics()
    first.update(a_prediction(task), a_target(kind))
    assert all(math.isnan(value) for value in second.compute().values())


@pytest.mark.parametrize("kind", TASKS)
def test_a_task_can_be_copied_and_sent_to_another_process(kind: str) -> None:
    """Its functions are no closures."""
    task, target = TASKS[kind](kind), a_target(kind)
    ours, theirs = (each.elements(a_prediction(task), target)[0] for each in (task, copy.deepcopy(task)))
    assert torch.equal(ours, theirs)
    assert len(ForkingPickler.dumps(task)) > 0


@pytest.mark.parametrize("kind", TASKS)
def test_an_empty_batch_passes_the_check(kind: str) -> None:
    """A rank may be left without samples."""
    check = TASKS[kind](kind).check
    assert check is not None
    check(a_target(kind)[:0])


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("classification", 5, "must be a class from 0 to 4, or -1 where not labelled. Got `target = 5`"),
        ("classification", -2, "must be a class from 0 to 4, or -1 where not labelled. Got `target = -2`"),
        ("classification", 255, "must be a class from 0 to 4, or -1 where not labelled. Got `target = 255`"),
        ("segmentation", 13, "must be a class from 0 to 12, or 255 where not labelled. Got `target = 13`"),
        ("segmentation", -1, "must be a class from 0 to 12, or 255 where not labelled. Got `target = -1`"),
        ("attribute", -1.0, r"must be 0 or 1, or NaN where not labelled. Got `target = -1\.0`"),
        ("edges", 0.5, r"must be 0 or 1, or NaN where not labelled. Got `target = 0\.5`"),
        ("saliency", 255.0, r"must be 0 or 1, or NaN where not labelled. Got `target = 255\.0`"),
        ("depth", -0.5, r"must be positive and finite \(metres\), or 0 where not labelled. Got `target = -0\.5`"),
        ("depth", INF, r"must be positive and finite \(metres\), or 0 where not labelled. Got `target = inf`"),
        ("depth", NAN, r"must be positive and finite \(metres\), or 0 where not labelled. Got `target = nan`"),
        ("normals", 127.0, r"must hold vectors of length 1, or the zero vector .* Got `target = a vector of length 2"),
        ("normals", NAN, r"must hold vectors of length 1, .* Got `target = a vector of length nan`"),
        ("edge_strength", 1.5, r"must lie in \[0, 1\], or be NaN where not labelled. Got `target = 1\.5`"),
        ("keypoints", -0.25, r"must lie in \[0, 1\], or be NaN where not labelled. Got `target = -0\.25`"),
        ("keypoints", INF, r"must lie in \[0, 1\], or be NaN where not labelled. Got `target = "),
    ],
)
def test_a_malformed_value_is_refused_with_the_rule(kind: str, value: float, message: str) -> None:
    """One wrong value in a batch: the message has the task, the value, the range and the value without a label."""
    check = TASKS[kind]("my_task").check
    assert check is not None
    target = a_target(kind)
    target[(0, slice(None), 0, 0) if kind == "normals" else (0,) + (0,) * (target.ndim - 1)] = value
    with pytest.raises(ValueError, match=f"^`target` of task `my_task` {message}") as error:
        check(target)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("classification", r"int64, \[batch\]"),
        ("attribute", r"float, \[batch\]"),
        ("segmentation", r"int64, \[batch, h, w\]"),
        ("depth", r"float, \[batch, 1, h, w\]"),
        ("normals", r"float, \[batch, 3, h, w\]"),
        ("edges", r"float, \[batch, 1, h, w\]"),
        ("keypoints", r"float, \[batch, 1, h, w\]"),
    ],
)
def test_a_target_of_another_type_or_shape_is_refused(kind: str, form: str) -> None:
    """Integers for floats, floats for integers, an axis too many, and channels that are not there."""
    check, target = TASKS[kind]("my_task").check, a_target(kind)
    assert check is not None
    other = target.nan_to_num().to(torch.int64) if target.is_floating_point() else target.float()
    for wrong in (
        other,
        target[None],
        target[..., None],
        torch.cat([target, target], dim=1) if target.ndim == 4 else other,
    ):
        with pytest.raises(ValueError, match=f"^`target` of task `my_task` must be {form}. Got `target` of "):
            check(wrong)


def test_eight_bit_normals_pass_the_check() -> None:
    """Vectors that were stored as bytes are of length 1 but for .014."""
    vectors = torch.nn.functional.normalize(torch.randn(2, 3, 50, 50, generator=torch.Generator().manual_seed(0)))
    check = normals("n").check
    assert check is not None
    check(((vectors + 1) * 127.5).round() / 127.5 - 1)


@pytest.mark.parametrize("kind", TASKS)
def test_a_prediction_of_the_wrong_form_is_refused(kind: str) -> None:
    """A channel too many, another number of samples, an axis too few, integers: the message names the task."""
    task, target = TASKS[kind]("my_task"), a_target(kind)
    good = a_prediction(task)
    form = rf"\[3, {task.channels}{', h, w' if task.dense else ''}\]"
    for wrong in (torch.cat([good, good[:, :1]], dim=1), good[:2], good[..., None], good[0], good.long()):
        with pytest.raises(
            ValueError, match=f"^`prediction` of task `my_task` must be float, {form}. Got `prediction` of"
        ):
            task.elements(wrong, target)


def test_an_attribute_takes_logits_without_a_channel() -> None:
    """`[batch]` is as good as `[batch, 1]`."""
    task, target = attribute("a"), a_target("attribute")
    prediction = a_prediction(task)
    assert torch.equal(task.elements(prediction, target)[0], task.elements(prediction[:, 0], target)[0])


def test_a_fixed_positive_weight_reaches_the_loss() -> None:
    """`edges` and `saliency` hand it over."""
    target, prediction = a_target("edges"), torch.zeros(3, 1, 4, 5)
    expected = losses.balanced_bce(prediction, target, pos_weight=0.95)[0]
    for make in (edges, saliency):
        assert torch.equal(make("e", 0.95, weight=2).elements(prediction, target)[0], expected)


def test_depth_can_have_squared_errors() -> None:
    """With `loss=depth_l2`, in square metres."""
    task, target = depth("d", loss=losses.depth_l2), a_target("depth")
    assert task.kind == "square metres"
    assert torch.equal(task.elements(target, target)[0], torch.zeros_like(target))
    assert task.elements(target + 2, target)[0][:2].sub(4).abs().max() < 1e-5


@pytest.mark.parametrize("kind", TASKS)
def test_a_weight_is_kept(kind: str) -> None:
    """Each constructor takes `weight`."""
    assert TASKS[kind]("t", weight=2.5).weight == 2.5


@pytest.mark.parametrize("name", ["", "a b", "a.b", "a/b"])
def test_a_name_that_is_no_file_name_is_refused(name: str) -> None:
    """Names become keys of states and names of files."""
    with pytest.raises(ValueError, match=r"`name` must be letters, digits, `_` and `-`. Got `name = "):
        depth(name)


@pytest.mark.parametrize("weight", [0.0, -1.0, NAN, INF])
def test_a_weight_that_is_not_positive_is_refused(weight: float) -> None:
    """A task of weight 0 is left out of the data instead."""
    with pytest.raises(ValueError, match=r"`weight` must be positive and finite. Got `weight = .* for task `d`"):
        depth("d", weight=weight)


def test_a_number_of_channels_below_one_is_refused() -> None:
    """A head gives something."""
    with pytest.raises(ValueError, match=r"`channels` must be at least 1. Got `channels = 0` for task `t`"):
        Task("t", 0, losses.depth_l1)


def test_a_number_of_classes_that_cannot_be_is_refused() -> None:
    """One class is no choice; a segmentation's class 255 would mean not labelled."""
    with pytest.raises(ValueError, match=r"`classes` must be at least 2. Got `classes = 1` for task `c`"):
        classification("c", 1)
    for classes in (1, 256):
        with pytest.raises(ValueError, match=f"`classes` must lie between 2 and 255 .* Got `classes = {classes}`"):
            segmentation("s", classes)
    assert classification("c", 1623).channels == 1623


def test_a_fixed_positive_weight_outside_the_unit_interval_is_refused() -> None:
    """When the task is made, not at the first step."""
    with pytest.raises(ValueError, match=r"`pos_weight` must lie between 0 and 1. Got `pos_weight = 1.5` for task `e`"):
        edges("e", pos_weight=1.5)
