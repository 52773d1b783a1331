"""Plain training: equal to a loop written by hand, both baselines, the best weights, and bad input in one line."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

import mtl_core as core
from mtl_core.task import Task, attribute, classification

KIND, TALL = classification("kind", 3), attribute("tall", weight=0.5)


def build(tasks: Mapping[str, Task]) -> core.SharedBackbone:
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh())
    return core.SharedBackbone(backbone, tasks, lambda c, t: nn.Linear(c, t.channels), example=torch.zeros(2, 1, 2, 2))


def source(count: int, seed: int, names: tuple[str, ...] = ("kind", "tall")) -> list[Any]:
    g = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(count):
        x = torch.rand(1, 2, 2, generator=g)
        targets = {"kind": int(x.sum() * 3 / 4.001), "tall": float(x[0, 0, 0] > x[0, 1, 1])}
        made.append((x, {name: targets[name] for name in names}))
    return made


def data(**rest: Any) -> core.MultiTaskData:
    return core.MultiTaskData([KIND, TALL], source(16, 0), source(8, 1), **rest)


def run(**rest: Any) -> core.Run:
    return core.Run(progress=False, **rest)


def test_training_equals_a_loop_written_by_hand() -> None:
    """Bit by bit: order, means, weights, schedule, momentum, norms."""
    part, config = data(), core.Config(3, 4, lr=0.1, cosine=True, optimizer=partial(torch.optim.SGD, momentum=0.9))
    result = core.fit(build, part, config, run())
    with run().seeded("model"):
        model = build(part.tasks)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12)
    for epoch in range(3):
        for step in range(4):
            (view,) = part.train.batch(0, epoch, step, 4)
            found = model(view.inputs)
            kind = nn.functional.cross_entropy(found["kind"], view.targets["kind"])
            tall = nn.functional.binary_cross_entropy_with_logits(found["tall"][:, 0], view.targets["tall"])
            (kind + 0.5 * tall).backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    torch.testing.assert_close(result.model.state_dict(), model.state_dict(), rtol=1e-5, atol=1e-7)
    assert result.report.method == "mtl_core.fit"
    assert result.report.config["epochs"] == 3
    assert [len(values) for values in result.report.phases["train"]["history"].values()] == [3, 3]


def test_training_learns_what_can_be_learned() -> None:
    """Well above chance on data that were held out."""
    part = core.MultiTaskData([KIND, TALL], source(200, 0), source(100, 1))
    result = core.fit(build, part, core.Config(epochs=15, lr=0.02), run(), weigh=core.weighting.Uncertainty)
    assert not result.model.training
    figures = core.evaluate(result.model, part.validation)
    assert figures["tall"]["accuracy"] > 0.85
    assert figures["kind"]["accuracy"] > 0.75


def test_a_task_alone_is_trained_as_if_there_were_no_other() -> None:
    """Each group equals core's fit on the selected data; the report holds a history for each."""
    part, config = data(), core.Config(2, 4)
    both = core.fit_single_tasks(build, part, config, run())
    assert isinstance(both.model, core.TaskGroups)
    assert sorted(both.report.phases) == ["kind", "tall"]
    for name in part.tasks:
        alone = core.fit(build, part.select([name]), config, run()).model
        torch.testing.assert_close(both.model.groups[name].state_dict(), alone.state_dict(), rtol=0, atol=0)
    assert list(core.evaluate(both.model, part.validation)) == ["kind", "tall"]
    assert both.report.config == core.fit(build, part, config, run()).report.config


def test_the_best_weights_are_those_with_the_smallest_validation_loss() -> None:
    """Not the last ones where training has left the valley; a task without validation labels does not count."""
    held_out = [(x, {"kind": t["kind"], "tall": math.nan}) for x, t in source(8, 1)]
    for validation in (source(8, 1), held_out):
        part = core.MultiTaskData([KIND, TALL], source(16, 0), validation)
        losses = []
        for epochs in (1, 2, 3, 4):
            config = core.Config(epochs, 4, lr=1.5, optimizer=torch.optim.SGD)
            measured = core.mean_losses(core.fit(build, part, config, run()).model, part.validation)
            losses.append(sum(v for v in measured.values() if not math.isnan(v)))
        config = core.Config(4, 4, lr=1.5, optimizer=torch.optim.SGD, keep_best=True)
        best = core.mean_losses(core.fit(build, part, config, run()).model, part.validation)
        assert sum(v for v in best.values() if not math.isnan(v)) == pytest.approx(min(losses))
        assert min(losses) < losses[-1]  # else the last weights would pass, too


def test_a_frozen_branch_stays_and_an_unused_head_does_no_harm() -> None:
    """Parameters without a gradient are those of the beginning."""

    def frozen(tasks: Mapping[str, Task]) -> nn.Module:
        model = build({**tasks, "spare": attribute("spare")})
        model.backbone[1].requires_grad_(False)
        return model

    with run().seeded("model"):
        before = frozen(data().tasks)
    model = core.fit(frozen, data(), core.Config(1, 4), run()).model
    for name in ("backbone.1.weight", "heads.spare.weight"):
        assert torch.equal(model.get_parameter(name), before.get_parameter(name))
    assert not torch.equal(model.get_parameter("heads.kind.weight"), before.get_parameter("heads.kind.weight"))


def test_bad_input_is_refused_in_one_line() -> None:
    """Numbers out of range, wrong types, missing validation data, a build that gives a module twice, reserved names."""
    for name, value in (("epochs", 0), ("batch_size", -1), ("epochs", 2.5)):
        with pytest.raises(ValueError, match=rf"`{name}` must be a whole number of at least 1. Got `{name} = {value}`"):
            core.Config(**{name: value})  # type: ignore[arg-type]
    for name, value in (("lr", 0.0), ("lr", math.nan), ("weight_decay", -1.0)):
        with pytest.raises(ValueError, match=rf"`{name}` must be .* and finite. Got `{name} = {value}`"):
            core.Config(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"`data` must be a `MultiTaskData`. Got `list`"):
        core.fit(build, source(3, 0))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"`config` must be a configuration object. Got `\{'epochs': 3\}`"):
        core.fit(build, data(), {"epochs": 3})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`keep_best` must have validation data. Got data without them"):
        core.fit(build, core.MultiTaskData([KIND], source(4, 0)), core.Config(keep_best=True))
    same = build({"kind": KIND})
    with pytest.raises(ValueError, match=r"`build` must make a new model at each call"):
        core.fit_single_tasks(lambda tasks: same, data(), core.Config(1, 4), run())
    stem = classification("stem", 3)
    with pytest.raises(ValueError, match=r"`tasks` must have names .* Got `stem`"):
        core.fit_single_tasks(build, core.MultiTaskData([stem], [(torch.zeros(1, 2, 2), {"stem": 1})]), None, run())


def test_bad_samples_end_a_training_in_one_line() -> None:
    """NaN in an input, and a class out of range, wherever in the data they are."""
    for bad, message in (
        (
            (torch.full((1, 2, 2), math.nan), {"kind": 0}),
            r"Inputs must be finite. Got NaN or Inf in sample 15 of source 0",
        ),
        (
            (torch.zeros(1, 2, 2), {"kind": 3}),
            r"`target` of task `kind` must be a class from 0 to 2.* Got `target = 3`",
        ),
    ):
        part = core.MultiTaskData([KIND], [*source(15, 0, ("kind",)), bad])
        with pytest.raises(ValueError, match=message) as caught:
            core.fit(build, part, core.Config(1, 4), run())
        assert "\n" not in str(caught.value)
