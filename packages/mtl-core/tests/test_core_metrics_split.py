"""What holds for every metric: exact under any split, NaN without labels, float16, resized predictions, merged states."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mtl_core.metrics import Accuracy, Attribute, Binary, Depth, Metric, Normals, Regression, Segmentation

NAN = math.nan
SAMPLES = 7


def gone(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Mask of about a third of the places; sample 2 has no label at all."""
    mask = torch.rand(shape, generator=generator) < 0.3
    mask[2] = True
    return mask


def maps(low: float, missing: float, g: torch.Generator) -> tuple[Tensor, Tensor]:
    shape = (SAMPLES, 1, 5, 6)
    return torch.rand(shape, generator=g) * 2 + low, (torch.rand(shape, generator=g) + 0.1).masked_fill(
        gone(shape, g), missing
    )


def normals(g: torch.Generator) -> tuple[Tensor, Tensor]:
    truth = torch.nn.functional.normalize(torch.randn(SAMPLES, 3, 5, 6, generator=g))
    noisy = truth + 0.5 * torch.randn(SAMPLES, 3, 5, 6, generator=g)
    return noisy, truth.masked_fill(gone((SAMPLES, 1, 5, 6), g), 0)


def binary(g: torch.Generator, *shape: int) -> tuple[Tensor, Tensor]:
    truth = torch.randint(0, 2, shape, generator=g).float()
    return truth + torch.randn(shape, generator=g) - 0.5, truth.masked_fill(gone(shape, g), NAN)


def classes(g: torch.Generator, count: int, missing: int, *size: int) -> tuple[Tensor, Tensor]:
    target = torch.randint(0, count, (SAMPLES, *size), generator=g)
    return torch.randn(SAMPLES, count, *size, generator=g), target.masked_fill(gone(target.shape, g), missing)


CASES: dict[str, tuple[Callable[[], Metric], Callable[[torch.Generator], tuple[Tensor, Tensor]], float]] = {
    "accuracy": (Accuracy, lambda g: classes(g, 3, -1), -1),
    "attribute": (Attribute, lambda g: binary(g, SAMPLES), NAN),
    "segmentation": (lambda: Segmentation(4), lambda g: classes(g, 4, 255, 5, 6), 255),
    "depth": (Depth, lambda g: maps(-0.3, 0, g), 0),
    "normals": (Normals, normals, 0),
    "regression": (Regression, lambda g: maps(-0.5, NAN, g), NAN),
    "binary": (Binary, lambda g: binary(g, SAMPLES, 1, 5, 6), NAN),
}
DENSE = [name for name in CASES if name not in ("accuracy", "attribute")]


def data(name: str, seed: int = 0) -> tuple[Tensor, Tensor]:
    return CASES[name][1](torch.Generator().manual_seed(seed))


def figures(name: str, prediction: Tensor, target: Tensor) -> dict[str, float]:
    metric = CASES[name][0]()
    metric.update(prediction, target)
    return metric.compute()


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    batches=st.lists(st.integers(0, 2), min_size=SAMPLES, max_size=SAMPLES),
    ranks=st.lists(st.integers(0, 2), min_size=SAMPLES, max_size=SAMPLES),
)
def test_any_split_into_batches_and_ranks_gives_the_same_figures(
    name: str, seed: int, batches: list[int], ranks: list[int]
) -> None:
    """Samples dealt out to ranks and batches anyhow (some of them empty), states merged: as in one batch."""
    prediction, target = data(name, seed)
    whole = figures(name, prediction, target)
    merged = CASES[name][0]()
    for rank in range(3):
        part = CASES[name][0]()
        for batch in range(3):
            rows = [i for i in range(SAMPLES) if ranks[i] == rank and batches[i] == batch]
            part.update(prediction[rows], target[rows])
        merged.merge(part.state())
    for figure, value in merged.compute().items():
        # Counts and sorted angles to the last bit, sums of errors but for rounding.
        rounding = 1e-13 if "error" in figure else 0
        assert value == pytest.approx(whole[figure], rel=rounding, abs=0, nan_ok=True), figure


@pytest.mark.parametrize("name", CASES)
def test_figures_are_named_in_the_order_of_their_directions(name: str) -> None:
    """`compute` gives what `higher_is_better` announces, no more and no less, as Python floats."""
    metric = CASES[name][0]()
    found = figures(name, *data(name))
    assert list(found) == list(metric.higher_is_better)
    assert all(type(value) is float for value in found.values())


@pytest.mark.parametrize("name", CASES)
def test_nothing_labelled_is_nan(name: str) -> None:
    """Neither an untouched metric nor one that saw only unlabelled samples invents a figure."""
    prediction, target = data(name)
    unlabelled = torch.full_like(target, CASES[name][2])
    for found in (CASES[name][0]().compute(), figures(name, prediction, unlabelled)):
        assert all(math.isnan(value) for value in found.values())


@pytest.mark.parametrize("name", CASES)
def test_what_is_predicted_without_a_label_does_not_count(name: str) -> None:
    """Another prediction at every unlabelled place changes no figure."""
    prediction, target = data(name)
    missing = target.isnan() if target.is_floating_point() else torch.zeros_like(target, dtype=torch.bool)
    missing |= target == CASES[name][2]
    missing = missing.all(dim=1, keepdim=True) if name == "normals" else missing
    missing = missing[:, None] if prediction.ndim > missing.ndim else missing
    assert figures(name, torch.where(missing, 1e3 - prediction, prediction), target) == figures(
        name, prediction, target
    )


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_prediction_counts_as_the_numbers_that_it_holds(name: str, dtype: torch.dtype) -> None:
    """Half precision is widened, never computed with: the same figures as from the same numbers in float32."""
    prediction, target = data(name)
    prediction = prediction.to(torch.bfloat16).to(torch.float16)  # numbers that all three can hold
    assert figures(name, prediction.to(dtype), target) == figures(name, prediction.float(), target)


@pytest.mark.parametrize("name", DENSE)
def test_a_prediction_of_another_size_is_resized_on_logits(name: str) -> None:
    """A smaller prediction gives what its bilinear enlargement gives."""
    prediction, target = data(name)
    small = prediction[..., :3, :2]
    large = torch.nn.functional.interpolate(small, size=target.shape[-2:], mode="bilinear", align_corners=False)
    assert figures(name, small, target) == figures(name, large, target)


@pytest.mark.parametrize("name", CASES)
def test_a_prediction_may_still_have_its_graph(name: str) -> None:
    """Outside `torch.no_grad`, too, a metric holds on to no graph."""
    prediction, target = data(name)
    metric = CASES[name][0]()
    metric.update(prediction.requires_grad_(), target)
    assert not any(value.requires_grad for value in metric.state().values())


@pytest.mark.parametrize("name", CASES)
def test_a_state_is_a_copy(name: str) -> None:
    """What was given away does not change when the metric goes on."""
    prediction, target = data(name)
    metric = CASES[name][0]()
    metric.update(prediction, target)
    state = metric.state()
    before = {key: value.clone() for key, value in state.items()}
    metric.update(prediction, target)
    assert all(torch.equal(state[key], before[key]) for key in state)
    assert all(value.device.type == "cpu" for value in state.values())


def test_a_state_of_another_metric_is_refused() -> None:
    """A confusion matrix of four classes does not add to one of three."""
    with pytest.raises(ValueError, match=r"`state` must hold the shapes \{'confusion': \(3, 3\)\}. Got `state` with"):
        Segmentation(3).merge(Segmentation(4).state())


@pytest.mark.cuda
@pytest.mark.parametrize("name", CASES)
def test_figures_on_a_gpu_are_those_on_a_cpu(name: str) -> None:
    """The device changes nothing beyond the rounding of float32 functions."""
    prediction, target = data(name)
    metric = CASES[name][0]()
    metric.update(prediction.cuda(), target.cuda())
    metric.update(prediction[:3].cuda(), target[:3].cuda())
    other = CASES[name][0]()
    other.update(torch.cat([prediction, prediction[:3]]), torch.cat([target, target[:3]]))
    assert metric.compute() == pytest.approx(other.compute(), rel=1e-6)
