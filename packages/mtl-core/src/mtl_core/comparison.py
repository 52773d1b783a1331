"""A result beside its baselines: every figure on the same data, relative gains, and a few predictions to look at."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Subset

from mtl_core.components import components_of, evaluating, placed, prepared
from mtl_core.data import MultiTaskData, Split, View
from mtl_core.evaluate import evaluate
from mtl_core.metrics.relative import Delta, delta
from mtl_core.resize import resize
from mtl_core.result import Result
from mtl_core.task import Task

SAMPLES = 4
"""Samples of each source that a report shows: two rows on a phone."""


def compare(result: Result, data: MultiTaskData, baselines: Mapping[str, Result | nn.Module] | None = None) -> Result:
    """Measure a result and its baselines on the test part (the validation part where there is none).

    Args:
        result: What a method gave.
        data: The data; their test part is looked at here, once per call.
        baselines: Results or models for the same tasks, by the name that the report gives them; not `ours`.

    Returns:
        The result with `part`, `metrics`, `baselines`, `directions`, `delta`, `notes`, `parameters`, `components` (where the
        method gave none) and `baseline_phases` in its report, and with samples.

    Raises:
        ValueError: If there is neither a test nor a validation part, or a baseline's name is not usable.

    Examples:
        >>> from mtl_core.model import SharedBackbone
        >>> from mtl_core.result import Report
        >>> from mtl_core.task import attribute
        >>> pairs = [(torch.tensor([1.0]), {"tall": 1.0}), (torch.tensor([-1.0]), {"tall": 0.0})]
        >>> data = MultiTaskData([attribute("tall")], train=pairs, test=pairs)
        >>> model = SharedBackbone(nn.Identity(), data.tasks, lambda c, t: nn.Identity(), example=torch.zeros(1, 1))
        >>> compare(Result(model, Report({})), data).report.metrics
        {'tall': {'accuracy': 1.0, 'f1': 1.0}}
    """
    part = "test" if data.test is not None else "validation"
    split = data.test or data.validation
    if split is None:
        raise ValueError("`data` must have a test or a validation part to compare on. Got data with neither.")
    given = dict(baselines or {})
    unusable = [name for name in given if name == "ours" or not name or "/" in name]
    if unusable:
        raise ValueError(f"`baselines` must have names without `/`, other than `ours`. Got `{unusable[0]}`.")
    models = {"ours": result.model}
    models |= {name: b.model if isinstance(b, Result) else b for name, b in given.items()}
    figures = {name: evaluate(model, split) for name, model in models.items()}
    gains, notes = {}, []
    for name in given:
        gain, note = _gains(figures["ours"], figures[name], name, split.tasks)
        gains[name] = {"tasks": gain.tasks, "overall": gain.overall}
        notes += note
    found: dict[str, Any] = {
        "tasks": {t.name: [t.channels, t.dense, t.weight, t.kind] for t in split.tasks.values()},
        "part": part,
        "part_samples": sum(len(source) for source in split.sources),
        "metrics": figures.pop("ours"),
        "baselines": figures,
        "directions": {
            n: up for t in split.tasks.values() for m in t.metrics() for n, up in m.higher_is_better.items()
        },
        "delta": gains,
        "notes": notes,
        "parameters": {name: _counts(model.parameters()) for name, model in models.items()},
        "baseline_phases": {n: b.report.get("phases", {}) for n, b in given.items() if isinstance(b, Result)},
    }
    if "components" not in result.report:
        found["components"] = {
            component: _counts({p for module in modules for p in module.parameters()})
            for component, modules in components_of(result.model).items()
        }
    return result.extended(samples=take_samples(models, split), **found)


def take_samples(models: Mapping[str, nn.Module], split: Split, number: int = SAMPLES) -> dict[str, Tensor]:
    """Inputs, targets and predictions of samples evenly spaced over each source.

    Args:
        models: By name.
        split: The part of the data to show.
        number: Samples of each source, at most.

    Returns:
        `input/<source>`, `truth/<source>/<task>` and `prediction/<source>/<model>/<task>`, sample first: classes and
        probabilities instead of logits, maps at the size of the truth.
    """
    found: dict[str, Tensor] = {}
    for source in split.sources:
        indices = torch.linspace(0, len(source) - 1, min(number, len(source))).round().long().unique().tolist()
        few = replace(source, data=Subset(source.data, indices))
        (view,) = replace(split, sources=(few,)).views(number)
        found[f"input/{source.index}"] = view.inputs
        for task, target in view.targets.items():
            found[f"truth/{source.index}/{task}"] = target
        for name, model in models.items():
            for task, prediction in _predict(model, view).items():
                shown = _shown(prediction, view.targets[task], split.tasks[task])
                found[f"prediction/{source.index}/{name}/{task}"] = shown
    return found


def _gains(
    ours: Mapping[str, Mapping[str, float]],
    theirs: Mapping[str, Mapping[str, float]],
    name: str,
    tasks: Mapping[str, Task],
) -> tuple[Delta, list[str]]:
    """Δ of the tasks that have metrics; NaN, with a note, where a figure of the baseline is 0."""
    gains, notes = {}, []
    for task in tasks:
        zero = [metric for metric, value in theirs[task].items() if value == 0]
        if zero:
            gains[task] = math.nan
            notes.append(f"No Δ of {task} against {name}: its {zero[0]} is 0, and nothing is relative to 0.")
        elif theirs[task]:
            gains[task] = delta(ours, theirs, [tasks[task]]).tasks[task]
    return Delta(gains, sum(gains.values()) / len(gains) if gains else math.nan), notes


def _counts(parameters: Any) -> dict[str, int]:
    several = list(parameters)
    return {
        "parameters": sum(p.numel() for p in several),
        "not zero": sum(int(torch.count_nonzero(p.detach())) for p in several),
    }


def _predict(model: nn.Module, view: View) -> dict[str, Tensor]:
    with evaluating(model), prepared(model):
        predictions = model(placed(view.inputs, model), list(view.targets))
    return {name: prediction.cpu() for name, prediction in predictions.items()}


def _shown(prediction: Tensor, target: Tensor, task: Task) -> Tensor:
    """What a picture shows of a prediction."""
    if task.dense:
        prediction = resize(prediction, target.shape[-2:])
    if not target.is_floating_point() and prediction.ndim > 1:
        return _small(prediction.argmax(1))
    if task.kind == "1 - cosine":
        return nn.functional.normalize(prediction.float(), dim=1)
    if task.kind in ("nats", "balanced nats"):
        return prediction.float().sigmoid().reshape(target.shape)
    return prediction.float()


def _small(values: Tensor) -> Tensor:
    """Class maps in bytes: a class is less than 255, and 255 is not labelled."""
    return values if values.is_floating_point() or values.ndim < 3 else values.to(torch.uint8)
