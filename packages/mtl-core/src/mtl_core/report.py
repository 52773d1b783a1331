"""A run's report as pages and pictures: `report.md`, `report.html`, `plots/`, `history.csv`.

Everything is made from `report.json` and `samples.safetensors` in the folder, so that it can be made again; what has a place on
the page is listed in `mtl_core.sections`. `compare` puts several runs on one page.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mtl_core.checkpoint import StorageError, read_json, read_tensors, write_text
from mtl_core.contest import against_size, figure_table, models_of, reference_of, size_table
from mtl_core.page import Picture, Section, Table, Text, html, markdown, number
from mtl_core.plots import loss_history, metrics_beside
from mtl_core.predictions import predictions
from mtl_core.result import Plots, Report
from mtl_core.sections import phases, sections


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
    made = sections(report, beside=beside, found=own, losses=losses, shown=shown)
    title = f"{report.get('method', 'Result')}: {', '.join(report.get('tasks', {}))}".removesuffix(": ")
    write_text(folder / "report.md", markdown(title, made))
    write_text(folder / "report.html", html(title, made))
    write_text(folder / "history.csv", history(report))


def compare(folders: Sequence[str | Path], path: str | Path = "comparison.html") -> None:
    """Put several runs on one page: figures, gains, sizes, and the picture of gain against parameters.

    Runs that differ in nothing but their seed are one model, shown as mean ± standard deviation.

    Args:
        folders: What `Result.save` or the command line has written, measured on the same part of the same data.
        path: The page, one self-contained HTML file.

    Raises:
        ValueError: If there is no folder, or their results cannot be compared.
        StorageError: If a report is missing or damaged.
        OSError: If the page cannot be written.
    """
    if not folders:
        raise ValueError("`folders` must name at least one saved result. Got none.")
    reports = [read_report(folder) for folder in folders]
    models = models_of(reports)
    reference, directions = reference_of(models), reports[0].get("directions", {})
    drawn = against_size(models, reference, directions)
    pictures = []
    if drawn is not None:
        drawn.set_label("Gain against size: up and to the left is better; bars are one standard deviation.")
        pictures.append(picture("against_size", drawn))
    said = [f"Measured on the {reports[0].get('part')} part ({number(reports[0].get('part_samples', 0))} samples)."]
    said.append("Mean ± standard deviation over the seeds. ↑ higher is better, ↓ lower is better.")
    said.append(
        f"Δ: mean over tasks of the mean relative change of their metrics against {reference.name}, + is better."
    )
    if len({json.dumps(report.get("data")) for report in reports}) > 1:
        said.append("The training data of these runs differ.")
    made = [
        Section("", (Text(tuple(said)), size_table(models, reference, directions), *pictures)),
        Section("Metrics", (figure_table(models, directions),)),
        Section("Runs", (Table(("folder", "method", "seed", "command"), tuple(map(_origin, folders, reports))),)),
    ]
    write_text(Path(path), html(f"{len(models)} models: {', '.join(reports[0]['tasks'])}", made))


def _origin(folder: str | Path, report: Report) -> tuple[str, str, str, str]:
    return str(folder), str(report.get("method", "")), str(report.get("seed", "")), str(report.get("command", ""))


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
    for phase, facts in phases(report).items():
        for task, losses in facts.get("history", {}).items():
            writer.writerows([phase, epoch, task, loss] for epoch, loss in enumerate(losses, 1))
    return text.getvalue()


def _drawn(plots: Plots | list[Callable[..., Any]], report: Report) -> list[Picture]:
    found = []
    for plot in plots:
        figure = plot(report)
        if figure is not None:
            if not figure.get_label():
                figure.set_label((plot.__doc__ or "").strip().partition("\n")[0])
            found.append(picture(plot.__name__, figure))
    return found
