"""A phase: exact means over labelled elements, the guard against what is not finite, history, and what it leaves behind."""

import copy
import math
import random
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mtl_core as core
from mtl_core.task import Task, attribute, classification, depth

FAR, KIND, TALL = depth("far", weight=3.0), classification("kind", 3), attribute("tall")


class Net(nn.Module):
    """A backbone with norm and dropout, a head per task; `several` predictions of each where asked for."""

    def __init__(self, names: Sequence[str] = ("far", "kind", "tall"), several: int = 0, plain: bool = False) -> None:
        super().__init__()
        torch.manual_seed(1)
        extra: list[nn.Module] = [] if plain else [nn.BatchNorm2d(4), nn.Dropout(0.1)]
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), *extra, nn.Tanh())
        sizes, self.several = {"far": 0, "kind": 3, "tall": 1, "own": 1}, several
        self.heads = nn.ModuleDict({n: nn.Conv2d(4, 1, 1) if not sizes[n] else nn.Linear(100, sizes[n]) for n in names})
        self.entered = 0

    def forward(self, x: Tensor, tasks: Sequence[str] | None = None) -> dict[str, Any]:
        features = self.body(x)
        names = list(self.heads) if tasks is None else tasks
        found = {n: self.heads[n](features if n == "far" else features.flatten(1)) for n in names}
        return {n: tuple(p * (k + 1) for k in range(self.several)) for n, p in found.items()} if self.several else found

    @contextmanager
    def prepared(self) -> Iterator[None]:
        self.entered += 1
        yield


def pairs(count: int, names: Sequence[str], seed: int = 0) -> list[tuple[Tensor, dict[str, Tensor]]]:
    """Labels missing by sample and by pixel."""
    g = torch.Generator().manual_seed(seed)
    made = []
    for index in range(count):
        far = torch.rand(1, 5, 5, generator=g) * (torch.rand(1, 5, 5, generator=g) < 0.5)
        targets = {"far": far, "kind": torch.tensor(index % 3), "tall": torch.tensor(index % 2 * 1.0)}
        made.append(
            (torch.rand(1, 5, 5, generator=g), {n: targets[n] for n in names if (index + len(n)) % 4 or not index})
        )
    return made


def data(*sources: Any, tasks: Sequence[Task] = (FAR, KIND, TALL)) -> core.MultiTaskData:
    return core.MultiTaskData(tasks, list(sources))


def mixture() -> core.MultiTaskData:
    return data(pairs(9, ["far", "kind"]), pairs(8, ["kind", "tall"], 1))


def quiet(folder: Path | None = None, **rest: Any) -> core.Run:
    return core.Run(folder, progress=False, **rest)


def sgd(model: nn.Module, **rest: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, **rest)


def test_the_loss_is_the_mean_over_labelled_elements_of_all_views() -> None:
    """Values and gradients equal a loop over views, samples and pixels; the weight multiplies the loss, not the history."""
    part, model = mixture(), Net(plain=True)
    twin = copy.deepcopy(model).double()
    run, optimizer = quiet(precision="float64"), sgd(model)
    with run.phase("p", model=model, optimizer=optimizer) as phase:
        for batch in phase.batches(part.train, epochs=1, batch_size=8):
            losses, labelled = phase.losses(model, batch), dict(phase.labelled)
            sum(losses.values(), torch.zeros(())).backward()
            expected: dict[str, list[Tensor]] = {"far": [], "kind": [], "tall": []}
            for view in batch:
                for index, x in enumerate(view.inputs):
                    found = twin(x[None], list(view.targets))
                    for name, target in view.targets.items():
                        if name == "far":
                            hits = target[index] > 0
                            expected[name] += list((found[name][0] - target[index])[hits].abs())
                        elif name == "kind" and target[index] >= 0:
                            expected[name].append(-found[name][0].log_softmax(0)[target[index]])
                        elif name == "tall" and not target[index].isnan():
                            sign = 2 * target[index] - 1
                            expected[name].append(-nn.functional.logsigmoid(sign * found[name][0, 0]))
            assert labelled == {name: len(terms) for name, terms in expected.items()}
            means = {name: torch.stack(terms).mean() for name, terms in expected.items()}
            weighted = {name: mean * part.tasks[name].weight for name, mean in means.items()}
            torch.testing.assert_close(losses, weighted)
            sum(weighted.values(), torch.zeros(())).backward()
            for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
                torch.testing.assert_close(ours.grad, theirs.grad)
            model.zero_grad()
            assert phase.history == {name: [pytest.approx(mean.item())] for name, mean in means.items()}


def test_several_predictions_give_a_loss_each() -> None:
    """`[K]` for every task, also for one without a label in this step; each equals the loss of that prediction alone."""
    part, model = data(pairs(8, ["far", "kind"]), pairs(8, ["tall"])), Net(several=2, plain=True)
    one = Net(plain=True)
    with quiet().phase("p", model=model, optimizer=sgd(model)) as phase:
        batch = next(phase.batches(part.train, epochs=1, batch_size=8))
        found = phase.losses(model, core.Batch(batch[:1], batch.tasks))
        assert {name: tuple(loss.shape) for name, loss in found.items()} == dict.fromkeys(part.tasks, (2,))
        assert found["tall"].tolist() == [0, 0]
        torch.testing.assert_close(found["kind"][0], phase.losses(one, batch)["kind"])


def test_some_tasks_may_be_asked_for() -> None:
    """Only those are computed; an unknown one is refused."""
    part, model = mixture(), Net()
    with quiet().phase("p", model=model, optimizer=sgd(model)) as phase:
        batch = next(phase.batches(part.train, epochs=1, batch_size=4))
        assert list(phase.losses(model, batch, ["tall"])) == ["tall"]
        with pytest.raises(ValueError, match=r"`tasks` must be among \['far', 'kind', 'tall'\]. Got \['near'\]"):
            phase.losses(model, batch, ["near"])


def test_a_loss_that_is_only_a_mean_trains() -> None:
    """It counts as one element of each view."""
    own = Task("own", 1, lambda p, t: ((p[:, 0] - t).square().mean(), torch.tensor(True)))
    source = [(torch.rand(1, 5, 5), {"own": float(i)}) for i in range(4)]
    part, model = data(source, tasks=[own]), Net(["own"], plain=True)
    with quiet().phase("p", model=model, optimizer=sgd(model)) as phase:
        for batch in phase.batches(part.train, epochs=1, batch_size=4):
            expected = (model(batch[0].inputs)["own"][:, 0] - batch[0].targets["own"]).square().mean()
            torch.testing.assert_close(phase.losses(model, batch)["own"], expected)
            assert phase.labelled == {"own": 1}


def test_prepared_is_entered_once_around_all_views() -> None:
    """What a model computes for all views is computed once a step."""
    part, model = mixture(), Net()
    with quiet().phase("p", model=model, optimizer=sgd(model)) as phase:
        steps = 0
        for batch in phase.batches(part.train, epochs=1, batch_size=4):
            assert len(batch) == 2
            phase.losses(model, batch)
            steps += 1
    assert model.entered == steps


def test_a_task_without_a_label_in_a_step_has_loss_zero_and_moves_nothing() -> None:
    """Labelled 0, no gradient in its head, no entry in the history; the dict of losses names it all the same."""
    sparse = [(torch.rand(1, 5, 5), {"kind": i % 3, **({"tall": 1.0} if i == 0 else {})}) for i in range(8)]
    part, model = data(sparse, tasks=[KIND, TALL]), Net(["kind", "tall"])
    head = copy.deepcopy(model.heads["tall"].state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with quiet().phase("p", model=model, optimizer=optimizer) as phase:
        counts = []
        for batch in phase.batches(part.train, epochs=1, batch_size=2):
            losses = phase.losses(model, batch)
            assert list(losses) == ["kind", "tall"]
            counts.append(phase.labelled["tall"])
            before = copy.deepcopy(model.heads["tall"].state_dict())
            phase.step(core.weighting.equal(losses, phase.labelled), optimizer)
            if not counts[-1]:
                assert losses["tall"].item() == 0
                torch.testing.assert_close(model.heads["tall"].state_dict(), before, rtol=0, atol=0)
    assert sorted(counts) == [0, 0, 0, 1]
    assert not torch.equal(head["weight"], model.heads["tall"].weight)


def test_a_step_without_any_label_changes_nothing() -> None:
    """Not one parameter, though momentum and decay are on."""
    sparse = [(torch.rand(1, 5, 5), {"kind": 1} if i == 0 else {}) for i in range(4)]
    part, model = data(sparse, tasks=[KIND]), Net(["kind"])
    optimizer, weights = sgd(model, weight_decay=0.1), core.weighting.Uncertainty(["kind"])
    changed = []
    with quiet().phase("p", model=model, optimizer=optimizer, state=[weights]) as phase:
        for batch in phase.batches(part.train, epochs=1, batch_size=1):
            before = [p.clone() for p in model.parameters()]
            phase.step(weights(phase.losses(model, batch), phase.labelled), optimizer)
            changed.append(not all(map(torch.equal, before, model.parameters())))
            assert changed[-1] == bool(phase.labelled["kind"])
    assert sum(changed) == 1


def state(model: nn.Module, optimizer: torch.optim.Optimizer, folder: Path) -> list[Any]:
    files = {f: f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}
    return [copy.deepcopy(model.state_dict()), copy.deepcopy(optimizer.state_dict()), files]


def unchanged(before: list[Any], after: list[Any]) -> bool:
    torch.testing.assert_close(before[:2], after[:2], rtol=0, atol=0, equal_nan=True)
    return bool(before[2] == after[2])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_its_task_and_changes_nothing(tmp_path: Path, bad: float) -> None:
    """Parameters, running means of norms, optimizer and checkpoints are those of before the step."""
    part, model = mixture(), Net()
    optimizer = sgd(model)
    with (  # noqa: PT012
        pytest.raises(
            FloatingPointError, match=r"The loss of task `far` must be finite. Got (nan|inf) at step 2 of phase `p`"
        ),
        quiet(tmp_path, checkpoint_seconds=0).phase("p", model=model, optimizer=optimizer) as phase,
    ):
        for batch in phase.batches(part.train, epochs=9, batch_size=4):
            if phase.step_number == 2:
                before = state(model, optimizer, tmp_path)
                model.heads["far"].register_forward_hook(lambda _m, _x, found: found * bad)
            phase.step(core.weighting.equal(phase.losses(model, batch), phase.labelled), optimizer)
    assert unchanged(before, state(model, optimizer, tmp_path))


@pytest.mark.parametrize("where", ["gradient", "loss"])
def test_a_gradient_that_is_not_finite_makes_no_step(tmp_path: Path, where: str) -> None:
    """A finite loss may have an infinite gradient, and finite losses an infinite sum."""
    part, model = mixture(), Net()
    optimizer = sgd(model)
    with (  # noqa: PT012
        pytest.raises(
            FloatingPointError, match=rf"The {where} of step 1 must be finite. Got (NaN or Inf|inf); no step"
        ),
        quiet(tmp_path, checkpoint_seconds=0).phase("p", model=model, optimizer=optimizer) as phase,
    ):
        for batch in phase.batches(part.train, epochs=9, batch_size=4):
            before = state(model, optimizer, tmp_path)
            loss = phase.losses(model, batch)["kind"]
            if phase.step_number == 1:
                if where == "gradient":
                    loss.register_hook(lambda gradient: gradient * math.inf)
                else:
                    loss = loss * math.inf
            phase.step(loss, optimizer)
    assert unchanged(before, state(model, optimizer, tmp_path))
    assert all(p.grad is None for p in model.parameters())


def test_a_large_finite_gradient_is_no_infinity() -> None:
    """Its norm may overflow."""
    part, model = mixture(), Net(plain=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with quiet().phase("p", model=model, optimizer=optimizer) as phase:
        batch = next(phase.batches(part.train, epochs=1, batch_size=4))
        phase.step(phase.losses(model, batch)["kind"] * 1e25, optimizer)


def test_a_loss_of_several_numbers_is_refused() -> None:
    """The method has to reduce K losses itself."""
    part, model = mixture(), Net(several=2)
    optimizer = sgd(model)
    with quiet().phase("p", model=model, optimizer=optimizer) as phase:
        losses = phase.losses(model, next(phase.batches(part.train, epochs=1, batch_size=4)))
        with pytest.raises(ValueError, match=r"`loss` must be one number. Got `loss.shape = \(2,\)`"):
            phase.step(losses["kind"], optimizer)


def test_clipping_bounds_the_norm_of_the_gradient() -> None:
    """The step is as long as the learning rate times the bound."""
    part, model = mixture(), Net(plain=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with quiet().phase("p", model=model, optimizer=optimizer) as phase:
        batch = next(phase.batches(part.train, epochs=1, batch_size=4))
        before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
        phase.step(phase.losses(model, batch)["kind"] * 100, optimizer, clip=0.5)
        after = torch.cat([p.detach().flatten() for p in model.parameters()])
    torch.testing.assert_close((after - before).norm(), torch.tensor(0.5), rtol=1e-4, atol=0)


def test_bad_batches_are_refused_before_anything_is_learned() -> None:
    """A model without a prediction, one of a wrong shape, a task without a label, numbers below 1, a second loop."""
    part, model = mixture(), Net()

    def enter(part: core.MultiTaskData, model: nn.Module, **rest: Any) -> None:
        with quiet().phase("p", model=model, optimizer=sgd(model)) as phase:
            for batch in phase.batches(part.train, **{"epochs": 1, "batch_size": 2, **rest}):
                phase.losses(model, batch)
            for _ in phase.batches(part.train, epochs=1, batch_size=2):
                pass

    silent = Net()
    silent.forward = lambda x, tasks=None: {}  # type: ignore[method-assign,assignment]
    with pytest.raises(ValueError, match=r"The model must give a prediction of every task asked for. Got none of `"):
        enter(part, silent)
    wrong = Net()
    wrong.heads["kind"] = nn.Linear(100, 4)
    with pytest.raises(ValueError, match=r"`prediction` of task `kind` must be float, \[2, 3\]. Got .*\[2, 4\]"):
        enter(part, wrong)
    bare = data([(torch.zeros(1, 5, 5), {"kind": -1, "tall": 1.0})] * 3, tasks=[KIND, TALL])
    with pytest.raises(ValueError, match=r"`train` must hold at least one label of each task. Got none for \['kind'\]"):
        enter(bare, model)
    for name, value in (("epochs", 0), ("batch_size", 0), ("epochs", 1.5)):
        with pytest.raises(ValueError, match=rf"`{name}` must be a whole number of at least 1. Got `{name} = {value}`"):
            enter(part, model, **{name: value})
    with pytest.raises(RuntimeError, match=r"`batches` must be called once in a phase. Got a second call in phase `p`"):
        enter(part, model)


def test_progress_history_and_curves_follow_the_steps() -> None:
    """Progress from 0 to 1, one value of the history an epoch, a curve's values in order."""
    part, model = mixture(), Net()
    optimizer, run = sgd(model), quiet()
    with run.phase("p", model=model, optimizer=optimizer) as phase:
        shown = []
        for batch in phase.batches(part.train, epochs=2, batch_size=4):
            shown.append(phase.progress)
            phase.step(core.weighting.equal(phase.losses(model, batch), phase.labelled), optimizer)
            phase.record(a=phase.step_number)
        assert shown == [0, 0.25, 0.5, 0.75]
        assert (phase.progress, phase.step_number) == (1, 4)
    assert [len(values) for values in phase.history.values()] == [2, 2, 2]
    assert phase.curves == {"a": [0, 1, 2, 3]}
    facts = phase.result(model, found=[1]).report
    assert (facts.phases["p"]["steps"], facts.found, facts.seed) == (4, [1], 0)


def test_generators_are_functions_of_seed_phase_name_and_step() -> None:
    """Equal in every training alike, different for each of the four."""
    part, drawn = mixture(), []
    for seed, phase_name, name in ((0, "p", "g"), (0, "p", "g"), (1, "p", "g"), (0, "q", "g"), (0, "p", "h")):
        model = Net()
        with quiet(seed=seed).phase(phase_name, model=model, optimizer=sgd(model)) as phase:
            loop = phase.batches(part.train, epochs=1, batch_size=4)
            drawn.append([float(torch.rand((), generator=phase.generator(name))) for _ in loop])
    assert drawn[0] == drawn[1]
    assert len({value for values in drawn[1:] for value in values}) == 8


@pytest.mark.parametrize("ends", ["well", "badly"])
def test_a_phase_leaves_no_global_state_behind(tmp_path: Path, ends: str) -> None:
    """Random numbers, default type, determinism, gradients, signal handlers, threads."""

    def everything() -> list[Any]:
        draws = [torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()]
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        modes = [torch.get_default_dtype(), torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled()]
        return [*draws, *handlers, *modes, torch.is_autocast_enabled("cpu"), threading.active_count()]

    part, model = mixture(), Net()
    optimizer = sgd(model)
    before = everything()
    run = quiet(tmp_path, deterministic=True, precision="bfloat16", checkpoint_seconds=0)
    try:
        with run.phase("p", model=model, optimizer=optimizer) as phase:
            for batch in phase.batches(part.train, epochs=1, batch_size=4):
                assert torch.are_deterministic_algorithms_enabled()
                assert signal.getsignal(signal.SIGTERM) != before[4]
                phase.step(core.weighting.equal(phase.losses(model, batch), phase.labelled), optimizer)
                random.random(), np.random.rand()
                if ends == "badly":
                    raise KeyError
    except KeyError:
        pass
    assert everything() == before


def test_what_is_drawn_in_a_phase_does_not_depend_on_what_ran_before() -> None:
    """Dropout and whatever else draws global numbers is a function of seed and phase."""
    drawn = []
    for noise in (0, 5):
        torch.rand(noise), random.random()
        model = Net()
        with quiet().phase("p", model=model, optimizer=sgd(model)):
            drawn.append([float(torch.rand(())), random.random(), float(np.random.rand())])
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(("precision", "tolerance"), [("float64", 0.0), ("bfloat16", 0.05)])
def test_every_precision_of_a_cpu_learns(precision: str, tolerance: float) -> None:
    """Losses are float32 or float64, near those of float32; weights stay in full precision."""
    part, found = mixture(), {}
    for kind in ("float32", precision):
        model = Net(plain=True)
        optimizer = sgd(model)
        with quiet(precision=kind).phase("p", model=model, optimizer=optimizer) as phase:
            for batch in phase.batches(part.train, epochs=4, batch_size=4):
                losses = phase.losses(model, batch)
                phase.step(core.weighting.equal(losses, phase.labelled), optimizer)
        dtype = torch.float64 if kind == "float64" else torch.float32
        assert {p.dtype for p in model.parameters()} == {dtype} == {loss.dtype for loss in losses.values()}
        found[kind] = phase.history
        assert phase.history["kind"][-1] < phase.history["kind"][0]
    for name, values in found["float32"].items():
        assert values == pytest.approx(found[precision][name], rel=max(tolerance, 1e-4))


def test_a_method_may_leave_the_loop_early() -> None:
    """The phase is then finished where it was left."""
    part, model = mixture(), Net()
    with quiet().phase("p", model=model, optimizer=sgd(model)) as phase:
        for _ in phase.batches(part.train, epochs=5, batch_size=4):
            if phase.step_number == 3:
                break
    assert (phase.finished, phase.step_number) == (True, 3)
