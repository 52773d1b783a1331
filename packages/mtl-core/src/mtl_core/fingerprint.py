"""Fingerprints: what a stored phase was trained with, so that a folder never answers with the result of another training."""

import dataclasses
import json
import re
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from mtl_core import checkpoint, randomness
from mtl_core.checkpoint import StorageError


def check(folder: Path, mine: dict[str, Any], *, writes: bool) -> None:
    """Compare a fingerprint with the one that a phase's folder holds, or store it there.

    Args:
        folder: The phase's folder.
        mine: The fingerprint, JSON values.
        writes: Whether this rank stores it where there is none.

    Raises:
        StorageError: If they differ, with what differs; or if it cannot be written.
    """
    mine = json.loads(json.dumps(mine))
    path = folder / "fingerprint.json"
    if path.exists():
        try:
            stored = checkpoint.read_json(path)
            different = _differences(stored if isinstance(stored, dict) else {}, mine)
        except (StorageError, RecursionError) as error:
            raise StorageError(f"`{path}` cannot be used ({error}). Delete `{folder}` to start it again.") from error
        if different:
            more = f"; and {len(different) - 6} more" if len(different) > 6 else ""
            raise StorageError(
                f"`{folder}` holds another training ({'; '.join(different[:6])}{more}). "
                "Choose another folder, or start afresh with `again=True` (`--again`)."
            )
    elif writes:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            checkpoint.write_text(path, json.dumps(mine, indent=1))
        except OSError as error:
            raise StorageError(f"`{folder}` cannot be written: {error}. Choose another folder or make room.") from error


def of_training(model: nn.Module, optimizer: Any) -> dict[str, Any]:
    """Names, shapes and initial values of the weights, and the settings of the optimizer.

    What wraps an optimizer says by `settings() -> dict` what its groups do not tell.
    """
    settings: dict[str, Any] = getattr(optimizer, "settings", dict)()
    groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
    return {
        "parameters": {name: [list(p.shape), p.requires_grad] for name, p in model.named_parameters()},
        "initial weights": randomness.digest(model.state_dict()),
        "optimizer": [type(optimizer).__name__, json.loads(json.dumps(groups, default=_without_address))],
        **({"optimizer settings": settings} if settings else {}),
    }


def config_values(config: Any) -> dict[str, Any]:
    """A configuration as JSON values; functions by their name."""
    found = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        found[field.name] = function_name(value) if callable(value) else value
    values: dict[str, Any] = json.loads(json.dumps(found))
    return values


def function_name(function: Any) -> str:
    """Where a function or an object's class is defined, with the arguments of a partial application.

    Examples:
        >>> function_name(partial(json.dumps, indent=1))
        'json:dumps(indent=1)'
    """
    if isinstance(function, partial):
        arguments = [_without_address(v) for v in function.args]
        named = [f"{k}={_without_address(v)}" for k, v in function.keywords.items()]
        return f"{function_name(function.func)}({', '.join(arguments + named)})"
    named_thing = function if hasattr(function, "__qualname__") else type(function)
    return f"{named_thing.__module__}:{named_thing.__qualname__}"


def forget_phases(folder: Path) -> None:
    """Delete every phase under a folder, and nothing that is not a phase's."""
    for fingerprint in list(folder.rglob("fingerprint.json")):
        try:
            ours = "initial weights" in checkpoint.read_json(fingerprint)
        except (StorageError, TypeError):  # damaged, or somebody else's
            ours = any((found / "manifest.json").exists() for found in checkpoint.checkpoints(fingerprint.parent))
        if ours:
            try:
                fingerprint.unlink()
                checkpoint.forget(fingerprint.parent, keep=0)
            except OSError as error:
                raise StorageError(f"`{fingerprint.parent}` cannot be deleted: {error}. Change its rights.") from error


def _without_address(value: Any) -> str:
    """What an object calls itself; its place in memory differs from process to process and says nothing."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))


def _differences(there: Any, now: Any, path: str = "") -> list[str]:
    """Each value that differs, by its path; values that only the stored fingerprint has do not count."""
    if isinstance(there, dict) and isinstance(now, dict):
        places = [(there.get(key), value, f"{path}.{key}" if path else key) for key, value in now.items()]
        return [found for place in places for found in _differences(*place)]
    same = json.dumps(there) == json.dumps(now)  # not `==`: NaN is itself
    return [] if same else [f"{path}: {_short(there)} there, {_short(now)} now"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
