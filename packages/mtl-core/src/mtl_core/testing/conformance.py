"""What every method must do, as checks that a method's test file calls in a few lines.

A test file names the method `METHOD`, at the top level, so that processes of their own find it there, too:

```python
from mtl_core.testing import CHECKS, Method

METHOD = Method(__file__, my_method.fit, my_method.Config(epochs=2, batch_size=4))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conformance(check, tmp_path):
    check(METHOD, tmp_path)
```

A check raises an `AssertionError` that says what is wrong, and the usual cause.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from mtl_core.components import tasks_of
from mtl_core.data import MultiTaskData
from mtl_core.phase import Phase
from mtl_core.testing import samples
from mtl_core.testing.endurance import (
    agrees_on_two_ranks,
    continues_where_it_was_stopped,
    is_a_function_of_its_seed,
    leaves_no_global_state_behind,
    loads_what_is_finished,
    saves_and_loads,
)
from mtl_core.testing.interruption import poisoned
from mtl_core.testing.method import (
    Method,
    check_result,
    findings_of,
    heads_of,
    weights_of,
)

# Training -----------------------------------------------------------------------------------------------------------


def trains_in_every_regime(method: Method, folder: Path) -> None:
    """Common images, a data set a task, a mixture: a model in evaluation mode that answers for each task."""
    for name, data in (("common", samples.common()), ("separate", samples.separate()), ("mixed", samples.mixed())):
        check_result(method(data), data, f"on {name} data")


def trains_one_task(method: Method, folder: Path) -> None:
    """A single task is a case like any other."""
    data = samples.common().select(["kind"])
    check_result(method(data), data, "on one task")


def trains_ten_tasks(method: Method, folder: Path) -> None:
    """So are ten."""
    data = samples.many(10)
    check_result(method(data), data, "on ten tasks")


def trains_selected_tasks_as_if_there_were_no_others(method: Method, folder: Path) -> None:
    """`data.select(names)` gives what data of these tasks alone give."""
    whole = samples.common()
    names = ["kind", "far"]
    alone = [(x, {n: t for n, t in targets.items() if n in names}) for x, targets in samples.images(14)]
    mine = MultiTaskData(
        [whole.tasks[name] for name in names],
        samples.Samples(alone, names),
        validation=samples.images(8, names, seed=5),
    )
    first, second = method(whole.select(names)), method(mine)
    assert tasks_of(first.model) == tasks_of(second.model), (
        "the model's tasks must be those of the data that it is given"
    )
    assert weights_of(first) == weights_of(second), "labels of tasks that are not selected must not matter"


def trains_hostile_models_or_refuses_them(method: Method, folder: Path) -> None:
    """Frozen, shared, unused, twice used, normed: trained, or refused by a `ValueError` or `TypeError`, as declared."""
    data = samples.common()
    for name, build in method.models.items():
        if name not in method.refuses:
            check_result(method(data, build=build), data, f"with `{name}`")
            continue
        try:
            method(data, build=build)
        except (ValueError, TypeError):
            continue
        raise AssertionError(f"`{name}` must be refused, as `refuses` says")


# Losses -------------------------------------------------------------------------------------------------------------


def ignores_what_is_not_labelled(method: Method, folder: Path) -> None:
    """Whatever stands where a target is not labelled, weights and report have the same bits."""
    first, second = (method(samples.common(beneath=value)) for value in (0.0, 77.0))
    same = weights_of(first) == weights_of(second) and findings_of(first) == findings_of(second)
    assert same, "what stands in targets beneath the mask must not matter: reduce losses with `phase.losses`"


def divides_sums_of_losses_last(method: Method, folder: Path) -> None:
    """Samples in one source or in two, labelled unevenly: one mean over all that is labelled, to rounding."""
    names = ["kind", "far"]
    apart = [samples.images(6, names, seed=1, shares=(0.9, 0.9)), samples.images(6, names, seed=2, shares=(0.1, 0.1))]
    together = samples.Samples([*apart[0], *apart[1]], names)
    several = [task for task in samples.tasks() if task.name in names]
    held_out = samples.images(8, names, seed=5)
    found = [
        method(MultiTaskData(several, sources, validation=held_out), batch=64, precision="float64")
        for sources in (apart, together)
    ]
    one, other = (result.model.state_dict() for result in found)
    difference = max(float((one[name] - other[name]).abs().max()) for name in one if one[name].is_floating_point())
    assert difference < 1e-7, (
        f"a task's loss must be one mean over all that is labelled in a step; weights differ by {difference:.1e} "
        "between two sources and one: a mean of means"
    )


def leaves_out_tasks_without_a_label(method: Method, folder: Path) -> None:
    """A step without a label of a task: its head gets no gradient, and its loss of 0 is not looked at."""
    data = samples.rare()
    bare = [0]
    original = Phase.step

    def step(phase: Phase, loss: Tensor, optimizer: Any, **named: Any) -> None:
        absent = [task for task, count in phase.labelled.items() if not count]
        bare[0] += len(absent)
        for task, parameters in heads_of(phase._model).items():
            if task in absent and loss.requires_grad:
                found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
                moved = any(bool(gradient.any()) for gradient in found if gradient is not None)
                assert not moved, f"the head of `{task}` must get no gradient in a step without a label of it"
        original(phase, loss, optimizer, **named)

    with patch.object(Phase, "step", step):
        plain = method(data)
    assert bare[0], "every step had a label of every task: take a smaller `batch_size`"
    with poisoned(1000.0):
        other = method(data)
    same = weights_of(plain) == weights_of(other) and findings_of(plain) == findings_of(other)
    assert same, (
        "the loss of a task without a label in the step must not be looked at: leave out tasks with `labelled` 0"
    )


def names_the_task_whose_loss_is_not_finite(method: Method, folder: Path) -> None:
    """A NaN in the loss ends the training with the task's name."""
    data = samples.common()
    broken = dataclasses.replace(data.tasks["far"], elements=_broken)
    tasks = [broken if name == "far" else task for name, task in data.tasks.items()]
    said = ""
    try:
        method(MultiTaskData(tasks, samples.images(14), validation=samples.images(8, seed=5)))
    except FloatingPointError as error:
        said = str(error)
    assert "`far`" in said, (
        f"a loss of NaN must end the training with a `FloatingPointError` that names the task. Got: {said}"
    )


def _broken(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return prediction * torch.nan, target[:, 1:] > 0


CHECKS: tuple[Callable[[Method, Path], None], ...] = (
    trains_in_every_regime,
    trains_one_task,
    trains_ten_tasks,
    trains_selected_tasks_as_if_there_were_no_others,
    trains_hostile_models_or_refuses_them,
    ignores_what_is_not_labelled,
    divides_sums_of_losses_last,
    leaves_out_tasks_without_a_label,
    names_the_task_whose_loss_is_not_finite,
    is_a_function_of_its_seed,
    continues_where_it_was_stopped,
    loads_what_is_finished,
    saves_and_loads,
    leaves_no_global_state_behind,
    agrees_on_two_ranks,
)
"""All checks: `check(method, folder)`, with an empty folder."""
