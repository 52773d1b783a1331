"""Makes a method's command line, and turns what the user did wrong into one line on standard error.

Exit status: 0 done; 1 something on disk; 2 a wrong option or wrong data; 130 Ctrl-C; 141 a reader that has gone away; 143
SIGTERM. A warning is one line too. Under `python -X dev` errors keep their traceback, and warnings their place.
"""

import contextlib
import dataclasses
import io
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from mtl_core import ranks
from mtl_core.checkpoint import StorageError
from mtl_core.result import Plots


def command_line(
    name: str,
    config_class: type[Any],
    fit: Callable[..., Any],
    *,
    plots: Plots = (),
    description: str = "",
    demo: dict[str, dict[str, Any]] | None = None,
    demo_data: Literal["rooms", "domains"] = "rooms",
    plain: Callable[[Any], Any] | None = None,
    backbones: Mapping[str, Callable[..., Any]] | None = None,
    assemble: Callable[..., Any] | None = None,
    stages: Callable[[Any, Sequence[str]], Mapping[str, tuple[int, float]]] | None = None,
) -> Callable[..., int]:
    """Make the command line of a method: subcommands `demo`, `fit`, `report`, `measure` and `export`.

    Args:
        name: Name of the command.
        config_class: The method's configuration, a dataclass; its docstring is the help.
        fit: `fit(build, data, config, run) -> Result`.
        plots: The method's plots, for `report`.
        description: What the method does, in one sentence.
        demo: Values of the configuration for `demo`, by data set, besides the kit's own.
        demo_data: What `demo` trains on where it is not told.
        plain: `plain(config) -> mtl_core.Config`: how the plain model beside it is trained; default: with the method's
            epochs, batch size, learning rate and weight decay, and Adam.
        backbones: What `--backbone` may name in the place of the kit's backbones, `shape -> module`; the first is the default.
        assemble: `assemble(backbone, tasks, head, example=...) -> model`, in the place of `SharedBackbone`. If that model has
            `shared_bottom()`, what this gives is the plain model beside it.
        stages: `stages(config, tasks) -> {stage: (epochs, models)}`, for `--dry-run`: how many models of the size of what
            `build` makes each stage trains side by side, at most; default one stage of one.

    Returns:
        `main(arguments=None) -> exit status`.
    """

    method = _Method(name, config_class, fit, plots, demo or {}, demo_data, plain, backbones, assemble, stages)

    def main(arguments: Sequence[str] | None = None) -> int:
        try:
            given = sys.argv[1:] if arguments is None else arguments
            options = _parsed(name, config_class, description, list(backbones or ()), given)
            if options is None:
                return 0
            with _warnings_in_one_line(name):
                _done(method, options, given)
        except KeyboardInterrupt:
            print(f"{name}: interrupted. The same command continues.", file=sys.stderr)
            return 130
        except BrokenPipeError:  # who reads has gone away, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at its end
            return 141
        except (ValueError, TypeError, OSError, FloatingPointError) as error:
            if sys.flags.dev_mode:
                raise
            print(_line(name, error), file=sys.stderr)
            return 1 if isinstance(error, (StorageError, FloatingPointError, ConnectionError)) else 2
        return 0

    return main


def _line(name: str, said: object) -> str:
    return f"{name}: {' '.join(str(said).split())}"


@contextlib.contextmanager
def _warnings_in_one_line(name: str) -> Iterator[None]:
    """Write warnings as errors are written: without the place in our sources that gave them."""
    usual = warnings.formatwarning
    if not sys.flags.dev_mode:
        warnings.formatwarning = lambda message, *_: _line(name, message) + "\n"
    try:
        yield
    finally:
        warnings.formatwarning = usual


class _Method(NamedTuple):
    """What `command_line` was given."""

    name: str
    config_class: type[Any]
    fit: Callable[..., Any]
    plots: Plots
    demo: dict[str, dict[str, Any]]
    demo_data: Literal["rooms", "domains"]
    plain: Callable[[Any], Any] | None
    backbones: Mapping[str, Callable[..., Any]] | None
    assemble: Callable[..., Any] | None
    stages: Callable[[Any, Sequence[str]], Mapping[str, tuple[int, float]]] | None


def _done(method: _Method, options: Any, given: Sequence[str]) -> None:
    """Do what the options of a subcommand ask for."""
    from mtl_core.commands import deploy, preview, training
    from mtl_core.commands.architecture import Parts
    from mtl_core.commands.options import Demo, Export, Measure, Report

    own = {"backbones": method.backbones, "assemble": method.assemble}
    parts = Parts(**{key: value for key, value in own.items() if value is not None})  # type: ignore[arg-type]
    if isinstance(options, Report):
        training.report(method.name, options.folders, method.plots, options.out)
    elif isinstance(options, Measure):
        device = training.checked_device(options.device)
        deploy.measure_run(options.folder, options.batch, options.repeats, device, options.backbone, parts)
    elif isinstance(options, Export):
        deploy.export_run(options.folder, options.path, options.backbone, parts)
    else:
        if isinstance(options, Demo):
            data: Literal["rooms", "domains"] = options.data or method.demo_data
            out = options.out or Path(f"{method.name}-demo" + ("" if data == method.demo_data else f"-{data}"))
            options = dataclasses.replace(options, data=data, out=out)
        plan = training.planned(method.name, method.config_class, options, method.demo, method.plain, parts)
        plan = dataclasses.replace(plan, command=shlex.join([method.name, *given]))
        if options.dry_run:
            print(preview.preview(method.name, plan, method.stages))
            return
        training.train(plan, method.fit)
        if isinstance(options, Demo) and ranks.connect()[0] == 0:
            deploy.export_demo(plan.out, parts)


def _parsed(
    name: str, config_class: type[Any], description: str, backbones: Sequence[str], arguments: Sequence[str]
) -> Any:
    """The options of the subcommand asked for; None after `--help`.

    tyro's errors are boxes of several lines; here they become a `ValueError` of one.
    """
    import tyro

    from mtl_core.commands.options import Demo, Export, Measure, Report, fit_options

    subcommand = tyro.conf.subcommand
    fit = fit_options(config_class, backbones)
    choices: Any = (
        Annotated[Demo, subcommand("demo", description="Train on data that come along, and report.")]
        | Annotated[fit, subcommand("fit", description="Train, compare with the plain model, report.")]
        | Annotated[Report, subcommand("report", description="Write a saved result's pages again, or compare several.")]
        | Annotated[Measure, subcommand("measure", description="Size, operations, time and memory of a saved model.")]
        | Annotated[Export, subcommand("export", description="Write a saved model to one file: .onnx or .pt2.")]
    )
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(choices, args=list(arguments), prog=name, description=description)
    except SystemExit as end:
        if not end.code:
            return None
        raise ValueError(_in_one_line(said.getvalue(), name)) from None


def _in_one_line(box: str, name: str) -> str:
    """What a box says between its title and the advice at its end.

    The title stands in the frame, or, where the terminal has no characters for one, in a part of its own.
    """
    parts: list[list[str]] = [[]]
    for line in box.splitlines():
        text = line.strip(" │|")
        if re.match(r"[─-]{5,}$", text):
            parts.append([])
        elif text and not text.startswith(("╭", "╰")):
            parts[-1].append(text)
    said = parts[0] if "╭" in box or len(parts) == 1 else parts[1]
    return f"{' '.join(said).rstrip('.')}. `{name} --help` shows the options."
