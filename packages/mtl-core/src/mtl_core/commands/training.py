"""What the subcommands do: train a method and the plain model beside it, compare, report."""

import dataclasses
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mtl_core.commands.architecture import Architecture, Parts
from mtl_core.commands.deploy import measured
from mtl_core.commands.names import find_data
from mtl_core.commands.options import DEMOS, Common, Demo, Training, config_of
from mtl_core.comparison import compare
from mtl_core.data import MultiTaskData
from mtl_core.fit import Config as PlainConfig
from mtl_core.fit import fit as fit_plain
from mtl_core.norms import estimate_norms
from mtl_core.page import aligned
from mtl_core.report import compare as compare_runs
from mtl_core.report import read_report, write_report
from mtl_core.result import Plots, Report, Result
from mtl_core.run import Run
from mtl_core.sections import metric_table

NOTHING_NEW = "was finished before: nothing was trained. `--again` starts afresh."


@dataclass(frozen=True)
class Plan:
    """A training that a command asks for.

    Attributes:
        out: The folder.
        data: Tasks and sources.
        architecture: What its `build` makes.
        config: The method's configuration.
        plain: The configuration of the plain model beside it, or None.
        run: Options of the run.
        command: What was typed, for the report; nothing where it was not a command.
    """

    out: Path
    data: MultiTaskData
    architecture: Architecture
    config: Any
    plain: PlainConfig | None
    run: dict[str, Any]
    command: str = ""


def planned(
    name: str,
    config_class: type[Any],
    options: Common,
    demo: Mapping[str, Mapping[str, Any]],
    plain: Callable[[Any], PlainConfig] | None = None,
    parts: Parts | None = None,
) -> Plan:
    """Turn options into data, architecture and configuration.

    Args:
        name: Name of the command.
        config_class: The method's configuration.
        options: Of `fit` or `demo`.
        demo: The method's values for `demo`, by data set.
        plain: The plain model's configuration, of the method's.
        parts: What architectures are made of.

    Raises:
        ValueError: If a name or a value is not usable.
    """
    changes: dict[str, Any] = {}
    parts = parts or Parts()
    if isinstance(options, Demo):
        assert options.data is not None  # the command line has filled both in
        assert options.out is not None
        setting = DEMOS[options.data]
        changes = {f: getattr(setting, f) for f in ("epochs", "batch_size", "lr")} | dict(demo.get(options.data, {}))
        changes |= {} if options.epochs is None else {"epochs": options.epochs}
        options = Training(
            **{field.name: getattr(options, field.name) for field in dataclasses.fields(Common)},
            data=options.data,
            out=options.out,
            backbone=setting.backbone if setting.backbone in parts.backbones else next(iter(parts.backbones)),
            width=setting.width,
            output_stride=setting.output_stride,
            head_width=setting.head_width,
        )
    assert isinstance(options, Training)
    config = config_of(config_class, options, changes)
    run: dict[str, Any] = {
        "seed": options.seed,
        "device": checked_device(options.device),
        "precision": options.precision,
    }
    run |= {"deterministic": options.deterministic, "checkpoint_seconds": options.checkpoint_seconds}
    data = find_data(options.data, options.tasks, options.workers)
    architecture = Architecture.asked(data, options, parts)
    beside = (plain or _plain_config)(config) if options.dense else None
    return Plan(options.out, data, architecture, config, beside, run | {"again": options.again})


def train(plan: Plan, fit: Callable[..., Result]) -> Report:
    """Train, compare and save; what is finished is loaded, what was interrupted continues.

    Args:
        plan: What to train.
        fit: The method.

    Returns:
        The report as it was saved.
    """
    run = Run(plan.out, **plan.run)
    result = fit(plan.architecture.build, plan.data, plan.config, run)
    beside = {}
    if plan.plain is not None:
        beside["dense"] = fit_plain(plan.architecture.plain, plan.data, plan.plain, run.child("dense"))
        # As a method that prunes does at its end, so that nothing else differs.
        model = beside["dense"].model.train()
        estimate_norms(model, plan.data.train, batch_size=plan.plain.batch_size, seed=run.seed)
    stored = _stored(plan.out)
    # The seconds of a phase are part of it: equal phases were not trained again, and the test part has been looked at.
    if stored is not None and _trained(stored) == _trained(result.report, beside):
        report = stored
        if run.rank == 0:  # the pages may be missing: a run can be stopped while it writes them
            write_report(plan.out, result.plots)
        _say(run, f"{plan.out} {NOTHING_NEW}")
    else:
        result = compare(result, plan.data, beside)
        result = result.extended(
            model=str(plan.architecture), architecture=plan.architecture.values(), command=plan.command
        )
        if run.rank == 0:
            models = {"ours": result.model} | {name: other.model for name, other in beside.items()}
            result = result.extended(measured=measured(models, plan.architecture.example()))
            result.save(plan.out)
        report = result.report
    _say(run, summary(report, plan.out))
    return report


def report(method: str, folders: Sequence[Path], plots: Plots, out: Path) -> None:
    """Write the pages of a saved result again and show its table; put several on one page.

    Args:
        method: Name of the method.
        folders: What `fit` or `demo` has written; several may be of any methods.
        plots: The method's plots.
        out: The page of several.

    Raises:
        ValueError: If there is none, one is of another method, or several cannot be compared.
        StorageError: If there is no saved result.
    """
    if len(folders) > 1:
        compare_runs(folders, out)
        print(f"Comparison of {len(folders)} runs: {out}")
        return
    if not folders:
        raise ValueError("`report` must be given the folder of a run, or several. Got none.")
    saved = read_report(folders[0])
    makers = [*shlex.split(saved.get("command", ""))[:1], saved.get("method", method)]
    if method not in makers:
        raise ValueError(
            f"`{folders[0]}` must hold a result of {method}. Got one of {makers[0]}, whose pages `{makers[0]} report` writes."
        )
    write_report(folders[0], plots)
    print(summary(saved, folders[0]))


def summary(report: Report, folder: Path) -> str:
    """The headline, the table of figures and where the page is, as text for a terminal."""
    said = [str(sentence) for sentence in report.get("headline", ())]
    table = metric_table(report)
    gains = {name: gain["overall"] for name, gain in report.get("delta", {}).items()}
    known = {name: value for name, value in gains.items() if not math.isnan(value)}
    said += [f"Δ against {name}: {value:+.1f} % (+ is better)".replace("-", "−") for name, value in known.items()]
    said += report.get("notes", ()) if known != gains else ()
    return "\n".join([*aligned(table), *said, f"Report: {folder / 'report.html'}"])


def _plain_config(config: Any) -> PlainConfig:
    """Plain training with the method's epochs, batch size and learning rate, as far as it has them."""
    names = [name for name in ("epochs", "batch_size", "lr", "weight_decay") if hasattr(config, name)]
    return PlainConfig(**{name: getattr(config, name) for name in names})


def checked_device(name: str | None) -> str | None:
    """A device that is there, or None.

    Raises:
        ValueError: If it is not.
    """
    if name is None:
        return None
    try:
        kind = torch.device(name).type
    except RuntimeError as error:
        raise ValueError(f"`--device` must be cpu or cuda. Got `--device {name}`.") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"`--device` must be there. Got `--device {name}`, and torch finds no GPU.")
    return name


def _stored(folder: Path) -> Report | None:
    return read_report(folder) if (folder / "report.json").exists() else None


def _trained(report: Report, beside: Mapping[str, Result] | None = None) -> str:
    """What was trained, as text: phases with their losses and seconds. Text, because NaN is not equal to itself."""
    others = report.get("baseline_phases", {})
    if beside is not None:
        others = {name: result.report.get("phases", {}) for name, result in beside.items()}
    return Report({"ours": report.get("phases", {}), "others": others}).to_json()


def _say(run: Run, text: str) -> None:
    if run.rank == 0:
        print(text)
