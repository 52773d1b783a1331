"""Losses element by element: formulas, masks, gradients at unlabelled places, precision, size."""

import math

import pytest
import torch
from torch import Tensor

from mtl_core import losses

NAN = math.nan


def unlabel(target: Tensor, missing: float, seed: int = 0) -> Tensor:
    """Take the label of about a third of the places away (of whole vectors, for normals)."""
    shape = (len(target), 1, *target.shape[2:]) if target.ndim == 4 else target.shape
    gone = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.35
    return target.masked_fill(gone, missing)


def example(name: str, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Give a prediction, and a target with about a third unlabelled, for the loss of that name."""
    g = torch.Generator().manual_seed(7)
    prediction = {
        "cross_entropy": (5, 4),
        "attribute_bce": (6, 1),
        "segmentation_cross_entropy": (3, 4, 5, 6),
        "normals_cosine": (3, 3, 5, 6),
    }.get(name, (3, 1, 5, 6))
    logits = torch.randn(prediction, generator=g, dtype=torch.float64)
    target = {
        "cross_entropy": lambda: unlabel(torch.randint(0, 4, (5,), generator=g), -1),
        "attribute_bce": lambda: unlabel(torch.randint(0, 2, (6,), generator=g).double(), NAN),
        "segmentation_cross_entropy": lambda: unlabel(torch.randint(0, 4, (3, 5, 6), generator=g), 255),
        "normals_cosine": lambda: unlabel(
            torch.nn.functional.normalize(torch.randn(3, 3, 5, 6, generator=g, dtype=torch.float64)), 0
        ),
        "balanced_bce": lambda: unlabel(torch.randint(0, 2, (3, 1, 5, 6), generator=g).double(), NAN),
        "depth_l1": lambda: unlabel(torch.rand(3, 1, 5, 6, generator=g, dtype=torch.float64) + 0.5, 0),
        "depth_l2": lambda: unlabel(torch.rand(3, 1, 5, 6, generator=g, dtype=torch.float64) + 0.5, 0),
        "regression_l1": lambda: unlabel(torch.rand(3, 1, 5, 6, generator=g, dtype=torch.float64), NAN),
    }[name]()
    return logits.to(dtype), target.to(dtype) if target.is_floating_point() else target


def softplus(x: float) -> float:
    return math.log1p(math.exp(-abs(x))) + max(x, 0)


def naive(name: str, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The same loss as plain loops over places, in Python floats."""
    spatial = target.shape if target.ndim != 4 else (len(target), *target.shape[2:])
    values, valid = torch.zeros(spatial, dtype=torch.float64), torch.zeros(spatial, dtype=torch.bool)
    for place in torch.cartesian_prod(*(torch.arange(n) for n in spatial)).reshape(-1, len(spatial)).tolist():
        sample, *rest = place
        p = prediction[(sample, slice(None), *rest)].tolist()
        t = target[(sample, slice(None), *rest)].tolist() if target.ndim == 4 else [target[tuple(place)].item()]
        if name in ("cross_entropy", "segmentation_cross_entropy"):
            labelled = t[0] != (-1 if name == "cross_entropy" else 255)
            value = math.log(sum(math.exp(x) for x in p)) - p[int(t[0])] if labelled else 0.0
        elif name == "normals_cosine":
            labelled = t != [0, 0, 0]
            dot = sum(a * b for a, b in zip(p, t, strict=True))
            value = 1 - dot / math.hypot(*p) if labelled else 0.0
        elif name in ("depth_l1", "depth_l2"):
            labelled = t[0] != 0
            value = abs(p[0] - t[0]) ** (1 if name == "depth_l1" else 2) if labelled else 0.0
        elif name == "regression_l1":
            labelled = not math.isnan(t[0])
            value = abs(p[0] - t[0]) if labelled else 0.0
        else:
            labelled = not math.isnan(t[0])
            value = softplus(-p[0]) * t[0] + softplus(p[0]) * (1 - t[0]) if labelled else 0.0
            if name == "balanced_bce":
                image = target[sample][~target[sample].isnan()].tolist()
                same = image.count(t[0])
                value *= (len(image) - same) / len(image)
        values[tuple(place)], valid[tuple(place)] = value, labelled
    return values, valid


NAMES = [
    "cross_entropy",
    "segmentation_cross_entropy",
    "attribute_bce",
    "balanced_bce",
    "depth_l1",
    "depth_l2",
    "normals_cosine",
    "regression_l1",
]
DENSE = [name for name in NAMES if name not in ("cross_entropy", "attribute_bce")]


@pytest.mark.parametrize("name", NAMES)
def test_equals_the_loop_over_places(name: str) -> None:
    """Values and mask are those of the formula, worked out place by place."""
    prediction, target = example(name)
    values, valid = getattr(losses, name)(prediction, target)
    expected, labelled = naive(name, prediction, target)
    assert 0 < labelled.sum() < labelled.numel()
    assert torch.equal(valid.flatten(), labelled.flatten())
    torch.testing.assert_close(values.flatten(), expected.flatten(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_that_of_finite_differences(name: str) -> None:
    """Autograd agrees with finite differences, through the resize of a dense prediction too."""
    prediction, target = example(name)
    if name in DENSE:
        prediction = prediction[..., :3, :4]
    function = getattr(losses, name)
    assert torch.autograd.gradcheck(lambda p: function(p, target)[0], prediction.clone().requires_grad_())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("filler", [0.0, 1e30, math.inf, NAN])
def test_an_unlabelled_place_has_no_value_and_no_gradient(name: str, filler: float) -> None:
    """Whatever is predicted where nothing is labelled, the value is 0 and the gradient exactly 0, elsewhere unchanged."""
    prediction, target = example(name)
    function = getattr(losses, name)
    clean_values, valid = function(prediction, target)
    gone = ~valid if valid.ndim == 4 else ~valid[:, None]
    changed = prediction.masked_fill(gone.expand_as(prediction), filler).requires_grad_()
    values, _ = function(changed, target)
    values.sum().backward()
    assert torch.equal(values, clean_values)
    assert (values[~valid] == 0).all()
    assert changed.grad is not None
    assert (changed.grad[gone.expand_as(prediction)] == 0).all()
    assert changed.grad.isfinite().all()
    assert (changed.grad != 0).any()


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_without_labels_gives_zeros(name: str) -> None:
    """Nothing labelled at all: values of 0, a mask without a place, a gradient of 0."""
    prediction, target = example(name)
    zero = dict.fromkeys(["depth_l1", "depth_l2", "normals_cosine"], 0)
    missing = ({"cross_entropy": -1, "segmentation_cross_entropy": 255} | zero).get(name, NAN)
    prediction.requires_grad_()
    values, valid = getattr(losses, name)(prediction, torch.full_like(target, missing))
    values.sum().backward()
    assert not valid.any()
    assert (values == 0).all()
    assert prediction.grad is not None
    assert (prediction.grad == 0).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_values_are_in_float32_at_least(name: str, dtype: torch.dtype) -> None:
    """Half precision is computed in float32, from the very numbers that were predicted; float64 stays."""
    prediction, target = example(name)
    prediction = prediction.to(dtype)
    values, _ = getattr(losses, name)(prediction, target)
    exact, _ = getattr(losses, name)(prediction.double(), target)
    assert values.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(values.double(), exact, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", DENSE)
def test_a_prediction_of_another_size_is_resized_on_logits(name: str) -> None:
    """A smaller prediction gives what its bilinear enlargement gives."""
    prediction, target = example(name)
    small = prediction[..., :3, :2]
    large = torch.nn.functional.interpolate(small, size=(5, 6), mode="bilinear", align_corners=False)
    values, valid = getattr(losses, name)(small, target)
    expected, labelled = getattr(losses, name)(large, target)
    assert torch.equal(values, expected)
    assert torch.equal(valid, labelled)


def test_an_attribute_takes_a_prediction_with_or_without_its_channel() -> None:
    """`[batch, 1]` and `[batch]` are the same prediction."""
    prediction, target = example("attribute_bce")
    assert torch.equal(losses.attribute_bce(prediction, target)[0], losses.attribute_bce(prediction[:, 0], target)[0])


def test_a_loss_is_huge_but_finite_for_huge_logits() -> None:
    """Logits of 1e4 and the wrong label cost 1e4 nats, in float32 too."""
    assert losses.attribute_bce(torch.tensor([[1e4]]), torch.tensor([0.0]))[0].tolist() == [1e4]
    assert losses.cross_entropy(torch.tensor([[1e4, 0.0]]), torch.tensor([1]))[0].tolist() == [1e4]


def test_both_classes_of_an_image_weigh_the_same_in_all() -> None:
    """At logits of 0 positives and negatives of an image have the same summed loss: n₊ n₋ / n · log 2 each."""
    target = torch.tensor([1.0, 0, 0, 0, 0, 0, NAN, 1, 1, 1, 0, NAN, NAN, NAN]).double().reshape(2, 1, 1, 7)
    values, _ = losses.balanced_bce(torch.zeros_like(target), target)
    for image, n_plus, n_minus in ((0, 1, 5), (1, 3, 1)):
        for side in (0, 1):
            total = float(values[image][target[image] == side].sum())
            assert total == pytest.approx(n_plus * n_minus / (n_plus + n_minus) * math.log(2))


def test_an_image_with_one_class_only_has_no_balanced_loss() -> None:
    """Without an edge, or with nothing but edges, the weights of the formula are 0."""
    for value in (0.0, 1.0):
        assert (losses.balanced_bce(torch.ones(1, 1, 2, 2), torch.full((1, 1, 2, 2), value))[0] == 0).all()


def test_a_fixed_weight_holds_in_every_image() -> None:
    """With `pos_weight=0.95` an edge pixel costs 19 times what another costs, whatever the image holds."""
    values, _ = losses.balanced_bce(torch.zeros(1, 1, 1, 2).double(), torch.tensor([[[[1.0, 0.0]]]]), pos_weight=0.95)
    assert values.flatten().tolist() == pytest.approx([0.95 * math.log(2), 0.05 * math.log(2)])


@pytest.mark.parametrize("pos_weight", [0.0, 1.0, 2.0, NAN])
def test_a_fixed_weight_outside_the_unit_interval_is_refused(pos_weight: float) -> None:
    """The other class would weigh nothing, or less."""
    with pytest.raises(ValueError, match=r"`pos_weight` must lie between 0 and 1. Got `pos_weight ="):
        losses.balanced_bce(torch.zeros(1, 1, 1, 1), torch.zeros(1, 1, 1, 1), pos_weight=pos_weight)


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e6])
def test_the_length_of_a_predicted_normal_does_not_matter(scale: float) -> None:
    """Only directions are compared, whatever the scale of a prediction."""
    prediction, target = example("normals_cosine")
    prediction = torch.nn.functional.normalize(prediction)
    torch.testing.assert_close(
        losses.normals_cosine(scale * prediction, target)[0], losses.normals_cosine(prediction, target)[0]
    )


def test_a_normal_predicted_as_zero_has_a_finite_gradient() -> None:
    """A head whose weights start at 0 gives the value 1 and a gradient that is neither NaN nor beyond 1 / `shortest`."""
    prediction, target = example("normals_cosine")
    zero = torch.zeros_like(prediction).requires_grad_()
    values, valid = losses.normals_cosine(zero, target)
    values.sum().backward()
    assert (values[valid] == 1).all()
    assert zero.grad is not None
    assert 0 < zero.grad.abs().max() <= 1e3


@pytest.mark.parametrize(("angle", "value"), [(0, 0.0), (60, 0.5), (90, 1.0), (180, 2.0)])
def test_normals_worked_by_hand(angle: float, value: float) -> None:
    """1 − cos φ at four angles."""
    phi = math.radians(angle)
    prediction = torch.tensor([math.cos(phi), math.sin(phi), 0.0], dtype=torch.float64).reshape(1, 3, 1, 1)
    target = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64).reshape(1, 3, 1, 1)
    assert losses.normals_cosine(prediction, target)[0].item() == pytest.approx(value, abs=1e-15)
