"""A run's report as pages and pictures: `report.md`, `report.html`, `plots/`, `history.csv`.

Everything is made from `report.json` and `samples.safetensors` in the folder, so that it can be made again. Entries of a
report that have a place on the page, each optional: `headline` (sentences), `metrics`, `baselines`, `directions`, `delta`,
`notes`, `components` (`{component: {column: value}}`), `parameters`, `measured` (`{model: Measurement.values()}`),
`phases`, `baseline_phases`, `config`, `tasks` and what a run knows of itself. Other entries are for a method's own plots.
"""

import csv
import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mtl_core.checkpoint import StorageError, read_json, read_tensors, write_text
from mtl_core.measure import measured_notes, measured_table
from mtl_core.page import Picture, Section, Table, Text, html, markdown
from mtl_core.plots import loss_history, metrics_beside
from mtl_core.predictions import predictions
from mtl_core.result import Plots, Report

UNITS = {
    "absolute_error": " m",
    "mean_angle": "°",
    "median_angle": "°",
}
"""Units of core's figures; all others are shares, from 0 to 1."""


def write_report(folder: str | Path, plots: Plots = ()) -> None:
    """Write the pages and pictures of a saved result, again if they are there.

    Args:
        folder: What `Result.save` has written: at least `report.json`.
        plots: The method's functions `report -> figure`; one that gives None is left out.

    Raises:
        StorageError: If the report is missing or damaged.
        OSError: If the folder cannot be written.
    """
    folder = Path(folder)
    report = read_report(folder)
    path = folder / "samples.safetensors"
    samples = read_tensors(path) if path.exists() else {}
    figures = predictions(samples, report) if samples else {}
    beside, losses = _drawn([metrics_beside], report), _drawn([loss_history], report)
    own, shown = _drawn(plots, report), [picture(name, figure, "png") for name, figure in figures.items()]
    (folder / "plots").mkdir(exist_ok=True)
    for drawn in (*beside, *own, *losses, *shown):
        (folder / "plots" / f"{drawn.name}.png").write_bytes(drawn.png)
        (folder / "plots" / f"{drawn.name}.svg").write_bytes(drawn.svg)
    sections = [
        Section("", tuple(_headline(report))),
        Section("Metrics", (*_metrics(report), *beside)),
        Section("Relative gain", tuple(_delta(report))),
        Section("Predictions", tuple(shown)),
        Section("Components", tuple(_components(report))),
        Section("Size and speed", tuple(_measured(report))),
        Section("What was found", tuple(own)),
        Section("Training", (*_training(report), *losses)),
        Section("Configuration", tuple(_configuration(report))),
        Section("Run", tuple(_run(report))),
    ]
    sections = [section for section in sections if section.blocks]
    title = f"{report.get('method', 'Result')}: {', '.join(report.get('tasks', {}))}".removesuffix(": ")
    write_text(folder / "report.md", markdown(title, sections))
    write_text(folder / "report.html", html(title, sections))
    write_text(folder / "history.csv", history(report))


def read_report(folder: str | Path) -> Report:
    """Read the report of a saved result.

    Raises:
        StorageError: If there is none, or it is damaged.
    """
    path = Path(folder) / "report.json"
    if not path.is_file():
        raise StorageError(f"`{folder}` must hold a saved result. There is no `{path}`.")
    if not isinstance(read_json(path), dict):
        raise StorageError(f"`{path}` is not a report. Save the result again.")
    return Report.from_json(path.read_text(encoding="utf-8"))


def picture(name: str, figure: Any, shown: Any = "svg") -> Picture:
    """A matplotlib figure as a picture of the page; its label is the caption.

    Args:
        name: Name of its files.
        figure: A matplotlib figure.
        shown: What the page shows, `"svg"` or `"png"`.
    """
    from matplotlib import rc_context

    png, svg = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", dpi=160)
    # A fixed salt and no date: the same report gives the same bytes.
    with rc_context({"svg.hashsalt": "mtl-core", "svg.fonttype": "path"}):
        figure.savefig(svg, format="svg", metadata={"Date": None})
    return Picture(name, figure.get_label(), png.getvalue(), svg.getvalue(), shown)


def history(report: Mapping[str, Any]) -> str:
    """The training losses as CSV: phase, epoch, task, loss (task weights left out).

    Examples:
        >>> history({"phases": {"train": {"history": {"depth": [2.0, 0.5]}}}}).split()
        ['phase,epoch,task,loss', 'train,1,depth,2.0', 'train,2,depth,0.5']
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["phase", "epoch", "task", "loss"])
    for phase, facts in _phases(report).items():
        for task, losses in facts.get("history", {}).items():
            writer.writerows([phase, epoch, task, loss] for epoch, loss in enumerate(losses, 1))
    return text.getvalue()


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
            arrow = {True: " ↑", False: " ↓"}.get(higher, "")
            row = [task, metric.replace("_", " ") + arrow, _with_unit(value, metric)]
            for other in baselines.values():
                base = other.get(task, {}).get(metric, math.nan)
                row += [_with_unit(base, metric), _signed(_gain(value, base, higher))]
            rows.append(tuple(row))
    header = ("task", "metric", "ours", *(cell for name in baselines for cell in (name, "change")))
    return Table(header, tuple(rows), signed=tuple(range(4, len(header), 2)))


def number(value: Any) -> str:
    """A value with the digits that it deserves.

    Examples:
        >>> [number(v) for v in (1234567, 0.81249, 12.3456, 0.0001234, float("nan"), 0.0, True, "x")]
        ['1,234,567', '0.812', '12.35', '0.000123', '—', '0', 'yes', 'x']
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "—"
    size = abs(value)
    if size == 0 or size == math.inf:
        return f"{value:g}".replace("-", "−")
    digits = ".3g" if size < 0.01 or size >= 1e7 else ".3f" if size < 10 else ".2f" if size < 100 else ",.1f"
    return f"{value:{digits}}".replace("-", "−", 1)


def _with_unit(value: float, metric: str) -> str:
    return number(value) + ("" if math.isnan(value) else UNITS.get(metric, ""))


def _drawn(plots: Plots | list[Callable[..., Any]], report: Report) -> list[Picture]:
    found = []
    for plot in plots:
        figure = plot(report)
        if figure is not None:
            if not figure.get_label():
                figure.set_label((plot.__doc__ or "").strip().partition("\n")[0])
            found.append(picture(plot.__name__, figure))
    return found


def _headline(report: Report) -> list[Text]:
    sentences = list(report.get("headline", ()))
    for name, gain in report.get("delta", {}).items():
        if not math.isnan(gain["overall"]):
            sentences.append(f"Δ against {name}: {_signed(gain['overall'])} (mean relative gain over the tasks).")
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
    rows = [(task, *(_signed(gain["tasks"].get(task, math.nan)) for gain in gains.values())) for task in tasks]
    rows.append(("all tasks (Δ)", *(_signed(gain["overall"]) for gain in gains.values())))
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
        for phase, facts in _phases(report).items()
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
    rows = [(name, number(report[name])) for name in known if isinstance(report.get(name), (str, int))]
    rows += [(f"data, {part}", str(digest)) for part, digest in (report.get("data") or {}).items()]
    rows += [(f"{name} version", str(version)) for name, version in report.get("versions", {}).items()]
    return [Table(("", "value"), tuple(rows))] if rows else []


def _phases(report: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    found = dict(report.get("phases", {}))
    for name, phases in report.get("baseline_phases", {}).items():
        found |= {f"{name}/{phase}": facts for phase, facts in phases.items()}
    return found


def _gain(value: float, base: float, higher: bool | None) -> float:
    return math.nan if base == 0 or higher is None else (100 if higher else -100) * (value - base) / abs(base)


def _signed(percent: float) -> str:
    return "—" if math.isnan(percent) else f"{percent:+.1f} %".replace("-", "−")
