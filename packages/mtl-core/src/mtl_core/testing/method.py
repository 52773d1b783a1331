"""A method under test, and what the checks of the conformance suite look at."""

import dataclasses
import itertools
import json
import os
import random
import signal
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mtl_core.components import Build, components_of, tasks_of
from mtl_core.data import MultiTaskData
from mtl_core.evaluate import evaluate
from mtl_core.randomness import digest, random_state
from mtl_core.result import Result
from mtl_core.run import Run
from mtl_core.testing.models import EXAMPLE_SHAPE, HOSTILE, network


@dataclass(frozen=True)
class Method:
    """A method under test.

    Args:
        file: `__file__` of the module that has this object as `METHOD`.
        fit: The method.
        config: A configuration that trains a few steps; its field `batch_size` is varied.
        build: What the method is given as its architecture; it must neither hold norms over the batch nor dropout.
        models: Hostile architectures by name.
        refuses: Names of those that the method refuses, with `ValueError` or `TypeError`.
        loads: What `mtl_core.load` is given; default `build`.
    """

    file: str
    fit: Callable[..., Result]
    config: Any
    build: Build = network
    models: Mapping[str, Build] = dataclasses.field(default_factory=lambda: HOSTILE)
    refuses: Collection[str] = ("one task only",)
    loads: Build | None = None

    def __call__(
        self,
        data: MultiTaskData,
        folder: Path | None = None,
        *,
        build: Build | None = None,
        batch: int = 0,
        **options: Any,
    ) -> Result:
        """Fit on data; `batch` is another batch size, `options` are the `Run`'s."""
        disturb()
        config = dataclasses.replace(self.config, batch_size=batch) if batch else self.config
        run = Run(folder, progress=False, checkpoint_seconds=0, **options)
        return self.fit(build or self.build, data, config, run)


_disturbances = itertools.count(1)


def disturb() -> None:
    """Put the global generators somewhere else: nothing may depend on them."""
    number = next(_disturbances)
    torch.manual_seed(number)
    np.random.seed(number)
    random.seed(number)


def check_result(result: Result, data: MultiTaskData, where: str) -> None:
    """What every result is: a model in evaluation mode with the data's tasks, finite, and a report of JSON values."""
    model = result.model
    assert not any(module.training for module in model.modules()), f"{where}, the model must be in evaluation mode"
    assert sorted(tasks_of(model)) == sorted(data.tasks), f"{where}, the model must have the data's tasks"
    components_of(model)
    measured = evaluate(model, data.validation)
    assert sorted(measured) == sorted(data.tasks), f"{where}, each task must be measured"
    finite = all(bool(torch.isfinite(tensor).all()) for tensor in model.state_dict().values())
    assert finite, f"{where}, weights must be finite"
    predictions = model(torch.rand(2, *EXAMPLE_SHAPE[1:]))
    assert sorted(predictions) == sorted(data.tasks), f"{where}, the model must answer for each task"
    single = all(isinstance(prediction, Tensor) for prediction in predictions.values())
    assert single, f"{where}, the model must give one prediction of each task"
    json.loads(result.report.to_json())


def weights_of(result: Result) -> str:
    """A hash of every bit of the model's state."""
    return digest(result.model.state_dict())


def findings_of(result: Result) -> str:
    """The report without the time that it took."""
    return json.dumps(_untimed(json.loads(result.report.to_json())), sort_keys=True)


def _untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _untimed(part) for name, part in value.items() if name != "seconds"}
    return [_untimed(part) for part in value] if isinstance(value, list) else value


def predictions_of(model: nn.Module, inputs: Tensor) -> str:
    """A hash of every bit of what a model predicts."""
    with torch.no_grad():
        return digest(model(inputs))


def heads_of(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Trainable parameters that belong to one task, by task; of the first module inside that has components."""
    found: dict[str, list[nn.Parameter]] = {}
    holder: Any = next((module for module in model.modules() if hasattr(module, "components")), None)
    for name, modules in ({} if holder is None else holder.components()).items():
        kind, task = ["", *name.split(".")][-2:]
        parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        if kind == "head" and parameters:
            found.setdefault(task, []).extend(parameters)
    return found


def global_state() -> dict[str, Any]:
    """What a library must not change, by name."""
    return {
        "random numbers": digest(dict(_flat(random_state()))),
        "threads": torch.get_num_threads(),
        "default dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "determinism": torch.are_deterministic_algorithms_enabled(),
        "anomaly detection": torch.is_anomaly_enabled(),
        "precision of products": torch.get_float32_matmul_precision(),
        "warning filters": list(warnings.filters),
        "signal handlers": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "environment": dict(os.environ),
        "working directory": Path.cwd(),
    }


def _flat(state: Any, path: str = "") -> list[tuple[str, Tensor]]:
    if isinstance(state, Tensor):
        return [(path, state)]
    if isinstance(state, dict):
        return [found for name, part in state.items() for found in _flat(part, f"{path}.{name}")]
    if isinstance(state, (list, tuple)):
        return [found for place, part in enumerate(state) for found in _flat(part, f"{path}.{place}")]
    return []
