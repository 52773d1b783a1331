"""The sections of a report's page: tables and sentences of what a report holds.

Entries of a report that have a place on the page, each optional: `headline` (sentences), `metrics`, `baselines`, `directions`,
`delta`, `notes`, `components` (`{component: {column: value}}`), `parameters`, `measured` (`{model: Measurement.values()}`),
`phases`, `baseline_phases`, `config`, `tasks`, `command` and what a run knows of itself. Other entries are for a method's own
plots.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mtl_core.measure import measured_notes, measured_table
from mtl_core.page import Picture, Section, Table, Text, number, signed
from mtl_core.result import Report

UNITS = {
    "absolute_error": " m",
    "mean_angle": "°",
    "median_angle": "°",
}
"""Units of core's figures; all others are shares, from 0 to 1."""


def metric_table(report: Mapping[str, Any]) -> Table:
    """Every figure of every task: ours, each baseline's, and the change, + for better.

    Args:
        report: With `metrics`, and with `baselines` and `directions` where there are baselines.
    """
    baselines = report.get("baselines", {})
    rows = []
    for task, figures in report.get("metrics", {}).items():
        for metric, value in figures.items():
            higher = report.get("directions", {}).get(metric)
            row = [task, metric_name(metric, higher), with_unit(value, metric)]
            for other in baselines.values():
                base = other.get(task, {}).get(metric, math.nan)
                row += [with_unit(base, metric), signed(gain(value, base, higher))]
            rows.append(tuple(row))
    header = ("task", "metric", "ours", *(cell for name in baselines for cell in (name, "change")))
    return Table(header, tuple(rows), signed=tuple(range(4, len(header), 2)))


def sections(
    report: Report,
    *,
    beside: Sequence[Picture],
    found: Sequence[Picture],
    losses: Sequence[Picture],
    shown: Sequence[Picture],
) -> list[Section]:
    """What the page of a run holds, section by section; those without anything are left out.

    Args:
        report: The run's.
        beside: Pictures of the figures beside the baselines'.
        found: The method's pictures.
        losses: Pictures of the training.
        shown: Pictures of predictions.
    """
    made = [
        Section("", tuple(_headline(report))),
        Section("Metrics", (*_metrics(report), *beside)),
        Section("Relative gain", tuple(_delta(report))),
        Section("Predictions", tuple(shown)),
        Section("Components", tuple(_components(report))),
        Section("Size and speed", tuple(_measured(report))),
        Section("What was found", tuple(found)),
        Section("Training", (*_training(report), *losses)),
        Section("Configuration", tuple(_configuration(report))),
        Section("Run", tuple(_run(report))),
    ]
    return [section for section in made if section.blocks]


def _headline(report: Report) -> list[Text]:
    sentences = list(report.get("headline", ()))
    for name, gain in report.get("delta", {}).items():
        if not math.isnan(gain["overall"]):
            sentences.append(f"Δ against {name}: {signed(gain['overall'])} (mean relative gain over the tasks).")
    return [Text(tuple(sentences), listed=True)] if sentences else []


def _metrics(report: Report) -> list[Text | Table]:
    table = metric_table(report)
    if not table.rows:
        return []
    said = [f"Measured on the {report.get('part', '')} part ({number(report.get('part_samples', 0))} samples)."]
    said += ["There is no test part."] if report.get("part") == "validation" else []
    said.append("↑ higher is better, ↓ lower is better; m: metres, °: degrees, all others: shares from 0 to 1.")
    said += ["Change: relative to the baseline, + is better."] if len(table.header) > 3 else []
    return [Text(tuple(said)), table]


def _delta(report: Report) -> list[Text | Table]:
    gains = report.get("delta", {})
    if not gains:
        return []
    tasks = list(dict.fromkeys(task for gain in gains.values() for task in gain["tasks"]))
    rows = [(task, *(signed(gain["tasks"].get(task, math.nan)) for gain in gains.values())) for task in tasks]
    rows.append(("all tasks (Δ)", *(signed(gain["overall"]) for gain in gains.values())))
    header = ("task", *(f"against {name}" for name in gains))
    explained = Text(("The mean of a task's changes, and the mean over the tasks; + is better, 0 is the baseline.",))
    table = Table(header, tuple(rows), signed=tuple(range(1, len(header))))
    return [explained, table, *(Text((note,)) for note in report.get("notes", ()))]


def _components(report: Report) -> list[Table]:
    found = []
    for first, entry in (("component", report.get("components", {})), ("model", report.get("parameters", {}))):
        columns = list(dict.fromkeys(column for values in entry.values() for column in values))
        rows = [(name, *(number(values.get(c, "")) for c in columns)) for name, values in entry.items()]
        found += [Table((first, *columns), tuple(rows))] if rows else []
    return found


def _measured(report: Report) -> list[Text | Table]:
    measured = report.get("measured", {})
    return [Text(tuple(measured_notes(measured))), measured_table(measured)] if measured else []


def _training(report: Report) -> list[Table]:
    rows = tuple(
        (phase, number(facts.get("steps", "")), number(float(facts["seconds"])) + " s" if "seconds" in facts else "")
        for phase, facts in phases(report).items()
    )
    return [Table(("phase", "steps", "time"), rows)] if rows else []


def _configuration(report: Report) -> list[Table]:
    rows = tuple((name, number(value)) for name, value in report.get("config", {}).items())
    tasks = tuple(
        (name, number(channels), "map" if dense else "image", f"{weight:g}", kind)
        for name, (channels, dense, weight, kind) in report.get("tasks", {}).items()
    )
    found = [Table(("setting", "value"), rows)] if rows else []
    return found + ([Table(("task", "channels", "predicts a", "weight", "unit of the loss"), tasks)] if tasks else [])


def _run(report: Report) -> list[Table]:
    known = ("seed", "device", "threads", "ranks", "precision", "model", "weighting", "augment")
    command = report.get("command")
    rows = [("command, again or elsewhere", command)] if command else []
    rows += [(name, number(report[name])) for name in known if isinstance(report.get(name), (str, int))]
    rows += [(f"data, {part}", str(digest)) for part, digest in (report.get("data") or {}).items()]
    rows += [(f"{name} version", str(version)) for name, version in report.get("versions", {}).items()]
    return [Table(("", "value"), tuple(rows))] if rows else []


def metric_name(metric: str, higher: bool | None) -> str:
    """A metric in words, with the direction that is better."""
    arrow = "" if higher is None else " ↑" if higher else " ↓"
    return metric.replace("_", " ") + arrow


def with_unit(value: float, metric: str) -> str:
    """A figure with its unit."""
    return number(value) + ("" if math.isnan(value) else UNITS.get(metric, ""))


def phases(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Facts of each phase, those of the baselines under `BASELINE/PHASE`."""
    found = dict(report.get("phases", {}))
    for name, phases in report.get("baseline_phases", {}).items():
        found |= {f"{name}/{phase}": facts for phase, facts in phases.items()}
    return found


def gain(value: float, base: float, higher: bool | None) -> float:
    """A figure's change against another in percent, + for better; NaN where nothing can be relative to it."""
    return math.nan if base == 0 or higher is None else (100 if higher else -100) * (value - base) / abs(base)
