"""Properties of tasks, metrics and models: all of core's have them, and one that lacks one is told so."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from mtl_core import SharedBackbone, Task, metrics, task
from mtl_core.testing import HOSTILE, check_metric, check_model, check_task, masked, network
from mtl_core.testing.models import EXAMPLE_SHAPE, Plain

G = torch.Generator().manual_seed(0)
N, SIDE = 5, 6


def maps(channels: int) -> torch.Tensor:
    return torch.randn(N, channels, SIDE, SIDE, generator=G)


def gaps(target: torch.Tensor, missing: float) -> torch.Tensor:
    """Some of the pixels, or samples, are not labelled."""
    shape = (N, 1, *target.shape[2:]) if target.ndim == 4 else target.shape
    return torch.where(torch.rand(shape, generator=G) < 0.3, torch.full_like(target, missing), target)


UNIT = torch.nn.functional.normalize(maps(3), dim=1)
ONE_ZERO = torch.stack([(torch.arange(SIDE * SIDE).reshape(1, SIDE, SIDE) % (k + 2) == 0).float() for k in range(N)])
CASES: dict[str, tuple[Task, torch.Tensor, torch.Tensor]] = {
    "classification": (task.classification("t", 3), torch.randn(N, 3, generator=G), torch.tensor([0, 2, -1, 1, 0])),
    "attribute": (task.attribute("t"), torch.randn(N, 1, generator=G), torch.tensor([0, 1.0, torch.nan, 1, 0])),
    "segmentation": (task.segmentation("t", 4), maps(4), gaps(torch.arange(N * 36).reshape(N, 6, 6) % 4, 255)),
    "depth": (task.depth("t"), maps(1), gaps(maps(1).abs() + 0.1, 0)),
    "normals": (task.normals("t"), maps(3), gaps(UNIT, 0)),
    "edges": (task.edges("t"), maps(1), gaps(ONE_ZERO, torch.nan)),
    "saliency": (task.saliency("t", 0.9), maps(1), gaps(ONE_ZERO, torch.nan)),
    "keypoints": (task.keypoints("t"), maps(1), gaps(maps(1).sigmoid(), torch.nan)),
    "masked": (masked("t"), maps(1), torch.cat([maps(1), ONE_ZERO], 1)),
}


@pytest.mark.parametrize("name", CASES)
def test_every_task_of_core_has_the_properties(name: str) -> None:
    """Mask, gradient and order of its loss."""
    check_task(*CASES[name])


@pytest.mark.parametrize("name", [name for name in CASES if name != "masked"])
def test_every_metric_of_core_is_exact_under_any_split(name: str) -> None:
    """Its figures do not depend on how the samples come."""
    known, prediction, target = CASES[name]
    (metric,) = known.metrics()
    check_metric(lambda: known.metrics()[0], prediction, target, known.missing)
    assert metric.higher_is_better


@pytest.mark.parametrize("name", ["plain", *(name for name in HOSTILE if name != "one task only")])
def test_every_model_of_the_kit_has_the_properties(name: str) -> None:
    """Hostile ones, too."""
    tasks = {"kind": task.classification("kind", 3), "far": masked("far")}
    check_model({"plain": network, **HOSTILE}[name], tasks, torch.rand(4, *EXAMPLE_SHAPE[1:]))


def ones(prediction: torch.Tensor, target: torch.Tensor) -> Any:
    return (prediction - target) ** 2, torch.ones_like(target, dtype=torch.bool)


def of_the_batch(prediction: torch.Tensor, target: torch.Tensor) -> Any:
    return (prediction - target.nan_to_num()) ** 2 * torch.arange(len(target)).view(-1, 1), target == target


def not_a_number(prediction: torch.Tensor, target: torch.Tensor) -> Any:
    return (prediction - target) ** 2, target == target


def of_other_shape(prediction: torch.Tensor, target: torch.Tensor) -> Any:
    return ((prediction - target) ** 2).mean(1), target == target


def without_gradient(prediction: torch.Tensor, target: torch.Tensor) -> Any:
    return 0 * prediction.nan_to_num() + 1, target == target


@pytest.mark.parametrize(
    ("elements", "said"),
    [
        (ones, "must label nothing"),
        (of_the_batch, "must not depend on the other samples"),
        (not_a_number, "gradient must be finite|must have no gradient|must be finite"),
        (of_other_shape, "of one shape"),
        (without_gradient, "must have a gradient"),
    ],
)
def test_a_faulty_loss_is_told(elements: Callable[..., Any], said: str) -> None:
    """By the property that it lacks."""
    target = torch.tensor([[0.0], [1.0], [2.0]])
    if elements is not_a_number:
        target[1] = torch.nan
    with pytest.raises(AssertionError, match=said):
        check_task(Task("t", 1, elements), torch.tensor([[0.5], [0.7], [0.1]]), target)


class MeanOfMeans(metrics.Metric):
    """A mean over batches, which depends on how they are split."""

    higher_is_better: ClassVar = {"error": False}

    def __init__(self) -> None:
        self.found = torch.zeros(0)

    def update(self, prediction: torch.Tensor, target: torch.Tensor) -> None:
        error = (prediction - target).abs()[target == target]
        self.found = torch.cat([self.found, error.mean().reshape(1)])

    def compute(self) -> dict[str, float]:
        return {"error": float(self.found.mean())}

    def state(self) -> dict[str, torch.Tensor]:
        return {"found": self.found}

    def merge(self, state: dict[str, torch.Tensor]) -> None:
        self.found = torch.cat([self.found, state["found"]])


def test_a_metric_that_is_a_mean_of_means_is_told() -> None:
    """Unevenly labelled samples show it."""
    target = torch.tensor([[1.0, 2.0], [3.0, torch.nan], [0.0, 5.0]])
    with pytest.raises(AssertionError, match="must be the same sample by sample"):
        check_metric(MeanOfMeans, torch.zeros(3, 2), target)


class Together(Plain):
    """Faults of a model, one at a time."""

    fault = ""

    def forward(self, inputs: torch.Tensor, tasks: Any = None) -> dict[str, Any]:
        found = super().forward(inputs, tasks)
        if self.fault == "noise":
            return {name: p + torch.rand(()) for name, p in found.items()}
        if self.fault == "batch":
            return {name: p - p.mean(0, keepdim=True) for name, p in found.items()}
        if self.fault == "all":
            return super().forward(inputs)
        if self.fault == "others":
            return {name: p + len(found) for name, p in found.items()}
        return found

    def components(self) -> dict[str, list[nn.Module]]:
        parts = super().components()
        return {**parts, "head.more": []} if self.fault == "head" else parts

    def structure(self) -> dict[str, Any]:
        return {"a": (1,)} if self.fault == "structure" else {}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("noise", "equal inputs must give equal predictions"),
        ("batch", "must not depend on its batch"),
        ("all", "the model must answer for it alone"),
        ("others", "must not depend on the other tasks"),
        ("head", "a head for each task, and no other"),
        ("structure", "JSON"),
    ],
)
def test_a_faulty_model_is_told(fault: str, said: str) -> None:
    """By the property that it lacks."""
    faulty = type("Faulty", (Together,), {"fault": fault})
    tasks = {name: task.attribute(name) for name in ("a", "b")}
    with pytest.raises(AssertionError, match=said):
        check_model(faulty, tasks, torch.rand(4, *EXAMPLE_SHAPE[1:]))


def test_a_model_that_cannot_be_built_anew_is_told() -> None:
    """A weight that is drawn and not stored."""

    def build(tasks: dict[str, Task]) -> SharedBackbone:
        model = network(tasks)
        model.backbone.append(nn.Identity())
        offset = torch.rand(())
        model.backbone[-1].register_forward_hook(lambda module, inputs, output: output + offset)
        return model

    with pytest.raises(AssertionError, match="built anew"):
        check_model(build, {"a": task.attribute("a")}, torch.rand(4, *EXAMPLE_SHAPE[1:]))


def test_a_loss_that_is_a_mean_only_is_a_loss() -> None:
    """It has no samples to look at."""

    def mean(prediction: torch.Tensor, target: torch.Tensor) -> Any:
        valid = target == target
        return ((prediction - target.nan_to_num()) ** 2 * valid).sum() / valid.sum().clamp(min=1), valid.any()

    known = Task("t", 1, mean)
    check_task(known, torch.tensor([[0.5], [0.7]]), torch.tensor([[0.0], [1.0]]))
    with pytest.raises(AssertionError, match="must label something"):
        check_task(replace(known), torch.tensor([[0.5], [0.7]]), torch.full((2, 1), torch.nan))
