"""What a task, a metric and a model of one's own must do: properties that the methods rely on."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mtl_core.components import Build, Builder, components_of, evaluating, structure_of, tasks_of
from mtl_core.metrics.metric import Metric
from mtl_core.model import rebuild
from mtl_core.reduction import mean_loss
from mtl_core.task import Task


def check_task(task: Task, prediction: Tensor, target: Tensor) -> None:
    """Check a task's loss: its mask, its gradient, its order.

    Args:
        task: The task.
        prediction: What a head gives for at least two samples.
        target: Its targets, at least two samples labelled.

    Raises:
        AssertionError: If the loss is not one element by element, with a gradient where a target is labelled and nowhere
            else.
    """
    prediction = prediction.detach().clone().requires_grad_(True)
    values, valid = task.elements(prediction, target)
    assert values.shape == valid.shape, (
        f"`elements` must give losses and mask of one shape. Got {values.shape}, {valid.shape}"
    )
    assert valid.dtype == torch.bool, f"the mask must be bool. Got {valid.dtype}"
    loss, count = mean_loss(values, valid)
    assert count > 0, "`target` must label something"
    assert torch.isfinite(loss), f"the loss must be finite. Got {loss.item()}"
    (gradient,) = torch.autograd.grad(loss, prediction)
    assert bool(torch.isfinite(gradient).all()), "the gradient must be finite, also where nothing is labelled"
    assert bool(gradient.any()), "the loss must have a gradient"
    nothing = torch.full_like(target, task.missing)
    values, valid = task.elements(prediction, nothing)
    assert not bool(valid.any()), "a target full of `missing` must label nothing"
    loss, _ = mean_loss(values, valid)
    (gradient,) = torch.autograd.grad(loss, prediction)
    assert not bool(gradient.any()), "what is not labelled must have no gradient"  # NaN counts as one
    if values.ndim:  # else it is a mean only, of which there are no samples
        assert len(values) == len(prediction), "the first axis of a loss must be the sample"
        whole = torch.where(*_masked(task, prediction, target))
        backwards = torch.where(*_masked(task, prediction.flip(0), target.flip(0)))
        same = torch.allclose(whole, backwards.flip(0), rtol=1e-5, atol=1e-7)
        assert same, "a sample's loss must not depend on the other samples"


def check_metric(make: Callable[[], Metric], prediction: Tensor, target: Tensor, missing: float | None = None) -> None:
    """Check that a metric is exact under any split into batches and ranks.

    Args:
        make: Makes an empty metric.
        prediction: Predictions of at least three samples.
        target: Their targets.
        missing: What a target holds where it is not labelled; None leaves that check out.

    Raises:
        AssertionError: If its figures depend on how the samples are split.
    """
    whole = make()
    whole.update(prediction, target)
    figures = whole.compute()
    assert list(figures) == list(whole.higher_is_better), (
        "`compute` must give the figures that `higher_is_better` names"
    )
    one_by_one, first, rest = make(), make(), make()
    for index in reversed(range(len(target))):
        one_by_one.update(prediction[index : index + 1], target[index : index + 1])
    first.update(prediction[:1], target[:1])
    rest.update(prediction[1:], target[1:])
    first.merge(rest.state())
    for how, other in (("sample by sample, backwards", one_by_one), ("in two parts that are merged", first)):
        found = other.compute()
        equal = all(abs(found[name] - value) <= 1e-6 * max(1.0, abs(value)) for name, value in figures.items())
        assert equal, f"figures must be the same {how}. Got {found} for {figures}"
    assert all(value != value for value in make().compute().values()), "figures over nothing must be NaN"
    if missing is not None:
        whole.update(prediction, torch.full_like(target, missing))
        assert whole.compute() == figures, "what is not labelled must not count"


def check_model(build: Build, tasks: Mapping[str, Task], inputs: Tensor) -> None:
    """Check an architecture: its parts, its answers for some tasks, its structure.

    Args:
        build: The architecture.
        tasks: Tasks by name.
        inputs: A batch of at least two samples.

    Raises:
        AssertionError: If the model's answers depend on which tasks are asked for, on the batch or on chance.
        ValueError: If a parameter is in no component or in two, or `build` gives a module twice.
        TypeError: If it is no model.
    """
    builder = Builder(build)
    model, _ = builder(tasks), builder(tasks)
    assert sorted(tasks_of(model)) == sorted(tasks), "`components()` must name a head for each task, and no other"
    with evaluating(model):
        whole, again = model(inputs), model(inputs)
        assert list(whole) == list(tasks), f"the model must answer for the tasks {list(tasks)}. Got {list(whole)}"
        assert _equal(whole, again, 0.0), "in evaluation mode equal inputs must give equal predictions"
        first = model(inputs[:1])
        assert _equal({n: p[:1] for n, p in whole.items()}, first, 1e-5), (
            "a sample's prediction must not depend on its batch"
        )
        for name in tasks:
            found = model(inputs, [name])
            assert list(found) == [name], (
                f"asked for `{name}` alone, the model must answer for it alone. Got {list(found)}"
            )
            assert _equal(found, {name: whole[name]}, 1e-6), (
                f"the prediction of `{name}` must not depend on the other tasks"
            )
    _check_rebuilding(model, build, tasks, inputs)


def _check_rebuilding(model: nn.Module, build: Build, tasks: Mapping[str, Task], inputs: Tensor) -> None:
    structure = structure_of(model)
    assert json.loads(json.dumps(structure)) == structure, "`structure()` must be made of JSON values"
    made = rebuild(structure, build, tasks)
    made.load_state_dict(model.state_dict())
    components_of(made)
    with evaluating(model), evaluating(made):
        assert _equal(model(inputs), made(inputs), 0.0), (
            "built anew, with equal weights, the model must predict the same"
        )


def _masked(task: Task, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    values, valid = task.elements(prediction.detach(), target)
    return valid, values, torch.zeros_like(values)


def _equal(one: Mapping[str, Any], other: Mapping[str, Any], tolerance: float) -> bool:
    return list(one) == list(other) and all(
        one[name].shape == other[name].shape
        and bool((one[name] - other[name]).abs().max() <= tolerance * max(1.0, float(one[name].abs().max())))
        for name in one
    )
