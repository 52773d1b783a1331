"""Stored state is compared with what takes it, and each way of not fitting is named by its place."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from mtl_core import stored
from mtl_core.checkpoint import pack, unpack
from mtl_core.history import History


def training(steps: int = 2) -> tuple[nn.Module, torch.optim.Optimizer, list[Any]]:
    """A net, its optimizer with state, a schedule, a module, and something that core does not know."""
    torch.manual_seed(0)
    model, other = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), nn.Linear(1, 1)
    groups = [{"params": list(model.parameters())}, {"params": list(other.parameters()), "lr": 0.5}]
    optimizer = torch.optim.Adam(groups, lr=1)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=9)
    for _ in range(steps):
        sum((p.sum() for group in optimizer.param_groups for p in group["params"]), torch.zeros(())).backward()
        optimizer.step()
        rates.step()
    return model, optimizer, [rates, other, History()]


def state(steps: int = 2) -> dict[str, Any]:
    model, optimizer, items = training(steps)
    made = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "state": [i.state_dict() for i in items]}
    return copy.deepcopy({**made, "scaler": {}, "history": {}, "step": 7, "seconds": 1.5, "finished": False})


def check(shared: Any) -> None:
    stored.check(shared, Path("runs/p/checkpoint-7"), *training(0))


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_what_a_training_has_stored_fits_the_same_training_begun_anew(steps: int) -> None:
    """Whatever it has done: rates that were whole numbers, state of optimizers that was not there yet."""
    check(state(steps))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update(step=8), "`step` must be 7, as the folder says. Got 8"),
        (lambda s: s.update(step=7.0), "`step` must be 7, as the folder says. Got 7.0"),
        (lambda s: s.update(finished=1), "`finished` must be a truth value and `seconds` finite"),
        (lambda s: s.update(seconds=float("nan")), "`finished` must be a truth value and `seconds` finite"),
        (lambda s: s.update(history=[]), "`checkpoint.history` must be a dict. Got list"),
        (lambda s: s.pop("scaler"), "`checkpoint` must hold `scaler`"),
        (lambda s: s.update(model=3), "`model` must be tensors by name. Got int"),
        (lambda s: s["model"].pop("0.bias"), r"names of the module. Missing key \['0.bias'\], too many \[\]"),
        (lambda s: s["model"].update(x=1), r"names of the module. Missing key \[\], too many \['x'\]"),
        (lambda s: s["model"].update({"0.bias": 1}), r"`model.0.bias` must be torch.float32 \[3\]. Got int"),
        (lambda s: s["state"].pop(), "`state` must have 3 entries"),
        (lambda s: s["state"][0].update(last_epoch="x"), "`state.0.last_epoch` must be a int. Got str"),
        (lambda s: s["state"][0].update(step=1), "`state.0` must not replace a method. Got `step`"),
        (lambda s: s["state"][1].pop("bias"), "`state.1` must have the names of the module"),
        (lambda s: s["optimizer"]["param_groups"][1].update(params=[0]), "must name the parameters of this training"),
        (lambda s: s["optimizer"]["param_groups"].pop(), "must name the parameters of this training"),
        (lambda s: s["optimizer"]["param_groups"][0].pop("lr"), "`optimizer.param_groups.0` must hold `lr`"),
        (lambda s: s["optimizer"]["state"].update({6: {}}), "`optimizer.state.6` must be the state of one of 6 param"),
        (lambda s: s["optimizer"]["state"].update({0: []}), "`optimizer.state.0` must be the state of one of 6 param"),
        (lambda s: s["optimizer"]["state"][1].pop("exp_avg"), "`optimizer.state.1` must hold what the states"),
        (
            lambda s: s["optimizer"]["state"][0].update(exp_avg=torch.zeros(1)),
            r"`optimizer.state.0.exp_avg` must be torch.float32 \[3, 2\]. Got torch.float32 \[1\]",
        ),
    ],
)
def test_what_does_not_fit_is_named(change: Callable[[dict[str, Any]], Any], message: str) -> None:
    """With the place, the rule and what is there."""
    shared = state()
    change(shared)
    with pytest.raises(ValueError, match=message):
        check(shared)


def test_curves_must_be_rows_of_numbers() -> None:
    """Not a table, nor whole numbers."""
    for values in (torch.zeros(2, 2, dtype=torch.float64), torch.zeros(2)):
        with pytest.raises(ValueError, match="`curves` must be one row of float64 each"):
            History().load_state_dict({"sums": {}, "curves": {"a": values}})


OPTIMIZERS = ["SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "RMSprop", "Rprop", "ASGD"]


@pytest.mark.parametrize("name", [*OPTIMIZERS, "Adafactor"])
def test_no_state_of_torchs_optimizers_is_refused(name: str) -> None:
    """With momentum and averages where there are any, one parameter that never had a gradient, through a file's form."""
    options: dict[str, dict[str, Any]] = {
        "SGD": {"momentum": 0.9},
        "Adam": {"amsgrad": True},
        "RMSprop": {"momentum": 0.5, "centered": True},
    }

    def begun(steps: int) -> tuple[nn.Module, torch.optim.Optimizer]:
        model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
        made = [{"params": list(model[0].parameters())}, {"params": list(model[1].parameters()), "lr": 0.5}]
        optimizer = getattr(torch.optim, name)(made, lr=0.1, **options.get(name, {}))
        for _ in range(steps):
            (model[0].weight.square().sum() + model[1].weight.sum() + model[1].bias.sum()).backward()
            optimizer.step()
        return model, optimizer

    model, optimizer = begun(3)
    facts = {"scaler": {}, "history": {}, "step": 3, "seconds": 1, "finished": True, "state": []}
    kept = unpack(*pack({**facts, "model": model.state_dict(), "optimizer": optimizer.state_dict()}))
    stored.check(kept, Path("checkpoint-3"), *begun(0), [])


SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [1, 3, 9]),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2, 2),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda step: 0.9**step),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o), lr_scheduler.ExponentialLR(o, 0.9)], [2]
    ),
}


@pytest.mark.filterwarnings("ignore:The epoch parameter:UserWarning")
@pytest.mark.parametrize("name", SCHEDULES)
def test_no_state_of_torchs_schedules_is_refused(name: str) -> None:
    """After some steps it is compared with one that has just been made."""

    def begun(steps: int) -> tuple[nn.Module, torch.optim.Optimizer, list[Any]]:
        model = nn.Linear(1, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=1)
        rates = SCHEDULES[name](optimizer)
        for step in range(steps):
            optimizer.step()
            rates.step(*([float(step)] if name == "ReduceLROnPlateau" else []))
        return model, optimizer, [rates]

    model, optimizer, items = begun(5)
    facts = {"scaler": {}, "history": {}, "step": 5, "seconds": 1, "finished": False}
    states = {"state": [items[0].state_dict()], "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    stored.check(unpack(*pack({**facts, **states})), Path("checkpoint-5"), *begun(0))
