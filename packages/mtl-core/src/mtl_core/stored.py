"""Whether stored state fits what it is to be loaded into: found out before anything is changed.

Checksums tell damage, not intent: whoever changes a file can write its checksum, too. So names, shapes and types are compared
with those of what takes the state. An optimizer's kernels would read past the end of a tensor that is too short.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

_ELEMENTWISE = tuple(
    getattr(torch.optim, name)
    for name in ["SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "RMSprop", "Rprop", "ASGD"]
)
"""Optimizers whose state has the shape of the weights; of others it is not known."""


def check(shared: Any, folder: Path, model: nn.Module, optimizer: Any, items: Sequence[Any]) -> None:
    """Compare the state of a phase's checkpoint with what it is to be loaded into.

    Args:
        shared: The state that all ranks share.
        folder: The checkpoint; its name says the step.
        model: The phase's model.
        optimizer: The phase's optimizer.
        items: What else has state.

    Raises:
        ValueError: If something does not fit, with its place.
    """
    _equal_kind(shared, {"finished": False, "seconds": 0.0, "step": 0, "history": {}, "scaler": {}}, "checkpoint")
    step = int(folder.name.rpartition("-")[2])
    if type(shared["step"]) is not int or shared["step"] != step:
        raise ValueError(f"`step` must be {step}, as the folder says. Got {shared['step']!r}")
    if not isinstance(shared["finished"], bool) or not math.isfinite(shared["seconds"]):
        raise ValueError("`finished` must be a truth value and `seconds` finite")
    check_module(shared.get("model"), model, "model")
    _check_optimizer(shared.get("optimizer"), optimizer)
    stored = shared.get("state")
    if not isinstance(stored, list) or len(stored) != len(items):
        raise ValueError(f"`state` must have {len(items)} entries")
    for place, (state, item) in enumerate(zip(stored, items, strict=True)):
        if isinstance(item, nn.Module):
            check_module(state, item, f"state.{place}")
        elif isinstance(item, LRScheduler):
            _equal_kind(state, item.state_dict(), f"state.{place}")
            for name in state:
                if callable(getattr(type(item), name, None)):
                    raise ValueError(f"`state.{place}` must not replace a method. Got `{name}`")


def check_module(stored: Any, module: nn.Module, what: str) -> None:
    """Compare a stored `state_dict` with a module: names, shapes and types.

    Raises:
        ValueError: If something does not fit, with its name.
    """
    if not isinstance(stored, Mapping):
        raise ValueError(f"`{what}` must be tensors by name. Got {type(stored).__name__}")
    own = module.state_dict()
    missing, more = [n for n in own if n not in stored], [n for n in stored if n not in own]
    if missing or more:
        raise ValueError(f"`{what}` must have the names of the module. Missing key {missing[:3]}, too many {more[:3]}")
    for name, tensor in own.items():
        if isinstance(tensor, Tensor):
            _check_tensor(stored[name], tensor, f"{what}.{name}")


def _check_tensor(stored: Any, own: Tensor, what: str) -> None:
    if not isinstance(stored, Tensor) or stored.shape != own.shape or stored.dtype != own.dtype:
        found = f"{stored.dtype} {list(stored.shape)}" if isinstance(stored, Tensor) else type(stored).__name__
        raise ValueError(f"`{what}` must be {own.dtype} {list(own.shape)}. Got {found}")


def _check_optimizer(stored: Any, optimizer: Any) -> None:
    if not isinstance(optimizer, torch.optim.Optimizer):
        return  # its own `load_state_dict` has to know
    own = optimizer.state_dict()
    _equal_kind(stored, own, "optimizer")
    if [group.get("params") for group in stored["param_groups"]] != [group["params"] for group in own["param_groups"]]:
        raise ValueError("`optimizer.param_groups` must name the parameters of this training")
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    group_of = [place for place, group in enumerate(optimizer.param_groups) for _ in group["params"]]
    names: dict[int, set[str]] = {}
    for index, state in stored["state"].items():
        what = f"optimizer.state.{index}"
        if not isinstance(index, int) or not 0 <= index < len(parameters) or not isinstance(state, Mapping):
            raise ValueError(f"`{what}` must be the state of one of {len(parameters)} parameters")
        if not isinstance(optimizer, _ELEMENTWISE):
            continue
        if state and set(state) != names.setdefault(group_of[index], set(state)):
            raise ValueError(f"`{what}` must hold what the states of the parameters beside it hold")
        for name, value in state.items():
            if isinstance(value, Tensor) and value.ndim:
                _check_tensor(value, parameters[index], f"{what}.{name}")


def _equal_kind(stored: Any, own: Any, what: str) -> None:
    """Refuse a number where a text was, a list where a dict was; entries that are new, or were or are None, do not count."""
    if own is None or (stored is None and not isinstance(own, (Mapping, list))):
        return
    kinds = (Tensor, bool, int, float), str, Mapping, (list, tuple)
    if not any(isinstance(stored, kind) and isinstance(own, kind) for kind in kinds):
        raise ValueError(f"`{what}` must be a {type(own).__name__}. Got {type(stored).__name__}")
    if isinstance(own, Mapping):
        for name, value in own.items():
            if name not in stored:
                raise ValueError(f"`{what}` must hold `{name}`")
            _equal_kind(stored[name], value, f"{what}.{name}")
    elif isinstance(own, (list, tuple)):
        for place, (there, here) in enumerate(zip(stored, own, strict=False)):
            _equal_kind(there, here, f"{what}.{place}")
