"""Several runs side by side: each model's figures, mean and standard deviation over its seeds, and its gain over a reference.

A model is what runs that differ in nothing but their seed have trained; the plain models beside them are models, too, one for
all runs that have trained the same. The reference is the first plain model, or, where there is none, the first model.
"""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mtl_core.page import Table, number, signed
from mtl_core.plots import COLOURS, canvas
from mtl_core.result import Report
from mtl_core.sections import UNITS, gain, metric_name

MARKERS = "osD^v<>P"

Figures = Mapping[str, Mapping[str, float]]
"""`{task: {metric: value}}`."""


@dataclass
class Model:
    """A model of several runs.

    Attributes:
        name: What tells it from the others.
        figures: Of each seed, on the test part.
        measured: Sizes and times of each seed's, as `Measurement.values()["whole"]`.
        plain: Whether it is a plain model beside a method's.
    """

    name: str
    figures: dict[int, Figures] = field(default_factory=dict)
    measured: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    plain: bool = False


def models_of(reports: Sequence[Report]) -> list[Model]:
    """The models of some runs, plain ones last.

    Args:
        reports: Of the runs, each with `metrics`.

    Raises:
        ValueError: If a run was not measured, two were measured on other tasks or another part of the data, or one is there
            twice.
    """
    for report in reports:
        if "metrics" not in report:
            raise ValueError(
                "`folders` must hold results that were measured (`mtl_core.comparison.compare`). Got one without."
            )
        ours, theirs = (json.dumps([r["tasks"], r.get("part"), r.get("part_samples")]) for r in (report, reports[0]))
        if ours != theirs:
            raise ValueError(
                "`folders` must hold results of the same tasks, measured on the same part of the data. "
                f"Got {_where(reports[0])} and {_where(report)}."
            )
    several: dict[str, list[Report]] = {}
    for report in reports:
        several.setdefault(_same(report), []).append(report)
    names = dict(zip(several, _names([group[0] for group in several.values()]), strict=True))
    found: list[Model] = []
    plain: dict[str, Model] = {}
    for key, group in several.items():
        model = Model(names[key])
        for report in group:
            seed = report.get("seed", 0)
            if seed in model.figures:
                raise ValueError(f"`folders` must hold each run once. Got two of {model.name} with seed {seed}.")
            model.figures[seed] = report["metrics"]
            model.measured |= _measured(report, "ours", seed)
            for name, figures in report.get("baselines", {}).items():
                _add_plain(plain, (name, model.name), seed, figures, _measured(report, name, seed))
        found.append(model)
    return [*found, *plain.values()]


def gains_of(model: Model, reference: Model, directions: Mapping[str, bool]) -> list[float]:
    """Δ of each seed in percent: the mean over tasks of the mean over their metrics, + for better.

    Args:
        model: What gains.
        reference: Against its figures of the same seed, or, where it has none, against their mean.
        directions: Whether higher is better, by metric.
    """
    means = {
        task: {metric: statistics.fmean(_values(reference, task, metric)) for metric in figures}
        for task, figures in next(iter(reference.figures.values())).items()
    }
    found = []
    for seed, figures in model.figures.items():
        beside = reference.figures.get(seed, means)
        tasks = []
        for task, mine in figures.items():
            changes = [
                gain(value, beside[task].get(metric, math.nan), directions.get(metric))
                for metric, value in mine.items()
            ]
            tasks += [statistics.fmean(changes)] if changes else []
        found.append(statistics.fmean(tasks) if tasks else math.nan)
    return found


def figure_table(models: Sequence[Model], directions: Mapping[str, bool]) -> Table:
    """Every figure of every task by model."""
    rows = []
    for task, metrics in next(iter(models[0].figures.values())).items():
        for metric in metrics:
            cells = [_spread(_values(model, task, metric), UNITS.get(metric, "")) for model in models]
            rows.append((task, metric_name(metric, directions.get(metric)), *cells))
    return Table(("task", "metric", *(model.name for model in models)), tuple(rows))


def size_table(models: Sequence[Model], reference: Model, directions: Mapping[str, bool]) -> Table:
    """Gain, sizes and time by model."""
    rows = []
    for model in models:
        gains = gains_of(model, reference, directions)
        change = "0" if model is reference else _spread(gains, " %", sign=True)
        columns = (("parameters", 1), ("survivors", 1), ("nonzero_flops", 1e-6), ("seconds", 1e3), ("disk", 2**-10))
        cells = [_spread([scale * m[key] for m in model.measured.values()]) for key, scale in columns]
        rows.append((model.name, number(len(model.figures)), change, *cells))
    header = (
        "model",
        "seeds",
        f"Δ against {reference.name}",
        "parameters",
        "not zero",
        "MFLOP, not zero",
        "ms",
        "file, KiB",
    )
    return Table(header, tuple(rows), signed=(2,))


def against_size(models: Sequence[Model], reference: Model, directions: Mapping[str, bool]) -> Any:
    """Gain over the reference against the parameters that are not zero; None where no model has both."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    figure, axes = canvas(height=3.2)
    axis = axes[0, 0]
    for place, model in enumerate(models):
        sizes = [float(m["survivors"]) for m in model.measured.values()]
        gains = gains_of(model, reference, directions)
        if not sizes or any(map(math.isnan, gains)):
            continue
        spread = statistics.stdev(gains) if len(gains) > 1 else 0.0
        point = (statistics.fmean(sizes), statistics.fmean(gains))
        look: dict[str, Any] = {"color": COLOURS[place % len(COLOURS)], "marker": MARKERS[place % len(MARKERS)]}
        axis.errorbar(*point, yerr=spread or None, **look, linestyle="", markersize=6, capsize=3, label=model.name)
    if not axis.containers:
        return None
    axis.axhline(0, color="#b8bfc7", linewidth=0.8, zorder=0)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(EngFormatter(sep=""))
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.margins(0.1)
    figure.legend(loc="outside lower left", ncols=2, frameon=False, fontsize=8)
    axis.set(xlabel="parameters that are not zero", ylabel=f"Δ against {reference.name}, %")
    return figure


def reference_of(models: Sequence[Model]) -> Model:
    """The first plain model, or, where there is none, the first model."""
    return next((model for model in models if model.plain), models[0])


def _same(report: Report) -> str:
    """Equal for runs that differ in nothing but their seed."""
    return json.dumps(
        [report.get(name) for name in ("method", "config", "model", "weighting", "augment")], sort_keys=True
    )


def _names(reports: Sequence[Report]) -> list[str]:
    """A name for each run: its method, and the settings in which those of the same method differ."""
    found = []
    for report in reports:
        method = str(report.get("method", "model"))
        others = [r for r in reports if r.get("method", "model") == method]
        said = []
        for name, value in {**report.get("config", {}), "model": report.get("model")}.items():
            if any({**r.get("config", {}), "model": r.get("model")}.get(name) != value for r in others):
                said.append(str(value) if name == "model" else f"{name.rstrip('_')} {_short(value)}")
        found.append(", ".join([method.removeprefix("mtl_core."), *said]))
    return found


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _add_plain(
    plain: dict[str, Model],
    name: tuple[str, str],
    seed: int,
    figures: Figures,
    measured: Mapping[int, Mapping[str, Any]],
) -> None:
    """Put a plain model's seed where it belongs: a training that was done alike gives the same figures."""
    if any(model.figures.get(seed) == figures for model in plain.values()):
        return
    free = name[0] not in plain or seed not in plain[name[0]].figures
    place = name[0] if free else f"{name[0]} beside {name[1]}"
    model = plain.setdefault(place, Model(place, plain=True))
    model.figures[seed] = figures
    model.measured |= measured


def _measured(report: Report, name: str, seed: int) -> dict[int, Mapping[str, Any]]:
    found = report.get("measured", {}).get(name)
    return {seed: found["whole"]} if found else {}


def _values(model: Model, task: str, metric: str) -> list[float]:
    return [figures[task].get(metric, math.nan) for figures in model.figures.values()]


def _spread(values: Iterable[float], unit: str = "", sign: bool = False) -> str:
    """Mean ± standard deviation with as many decimals; values that are all equal, and one value, alone."""
    several = list(values)
    if not several:
        return ""
    mean = statistics.fmean(several)
    if math.isnan(mean):
        return number(mean)
    whole = all(isinstance(value, int) for value in several)
    text = signed(mean).removesuffix(" %") if sign else number(round(mean) if whole else mean)
    if len(set(several)) > 1:
        text += f" ± {statistics.stdev(several):,.{len(text.partition('.')[2])}f}"
    return text + unit


def _where(report: Report) -> str:
    return f"{report.get('method', 'a result')} ({', '.join(report.get('tasks', {}))}; {report.get('part_samples')} samples)"
