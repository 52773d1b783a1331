"""What a training would do, how long it would take and what it would leave on disk, found without doing it.

Time is a measured training step of what `build` makes, multiplied by the steps of each stage and by the number of such models
that the stage trains side by side. So it is an estimate: a stage may hold less than it could.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

import torch
from torch import nn

from mtl_core import cuda, weighting
from mtl_core.commands.training import Plan
from mtl_core.components import components_of
from mtl_core.data import MultiTaskData
from mtl_core.page import Table, aligned
from mtl_core.phase import Phase
from mtl_core.run import Run

STEPS = 5
"""Steps that are timed, after one that is not."""


Stages: TypeAlias = Callable[[Any, Sequence[str]], Mapping[str, tuple[int, float]]]
"""`stages(config, tasks) -> {stage: (epochs, models)}`."""


def preview(name: str, plan: Plan, stages: Stages | None = None) -> str:
    """Say what a plan would train, in how much time, and what it would leave on disk.

    Args:
        name: Name of the command.
        plan: What the options ask for. Nothing is trained or written.
        stages: The method's; default one training of one model.
    """
    data, batch = plan.data, plan.config.batch_size
    with torch.random.fork_rng(devices=[]):
        model = plan.architecture.build(data.tasks)
    parameters = _count(model)
    samples = sum(len(source) for source in data.train.sources)
    several = dict(stages(plan.config, list(data.tasks)) if stages else {"training": (plan.config.epochs, 1)})
    if plan.plain is not None:
        several["plain model beside it"] = (plan.plain.epochs, 1)
    second, steps = _step_time(model, data, batch, plan.run), data.train.steps(batch)
    rows = [
        (stage, f"{epochs:,}", f"{epochs * steps:,}", f"{models:g}", _duration(epochs * steps * models * second))
        for stage, (epochs, models) in several.items()
    ]
    times = [epochs * steps * models * second for epochs, models in several.values()]
    # A finished stage keeps its last checkpoint: weights and two moments. A running one has two while it writes.
    stored = [12 * parameters * models for _, models in several.values()]
    parts = {component: sum(map(_count, modules)) for component, modules in components_of(model).items()}
    tasks = f"{len(data.tasks)} task{'s' * (len(data.tasks) > 1)} ({', '.join(data.tasks)})"
    return "\n".join(
        [
            f"`{name}` would train {tasks} on {samples:,} samples, in {plan.out}.",
            f"Model: {plan.architecture}, {parameters:,} parameters "
            f"({', '.join(f'{component} {count:,}' for component, count in parts.items())}).",
            *aligned(Table(("stage", "epochs", "steps", "models, at most", "time, about"), tuple(rows))),
            f"In all about {_duration(sum(times))}: a step of one model takes {1e3 * second:.0f} ms here. "
            f"Checkpoints take {_size(sum(stored) + max(stored))} of disk at most.",
            "Nothing was trained or written.",
        ]
    )


def _step_time(model: nn.Module, data: MultiTaskData, batch: int, options: Mapping[str, Any]) -> float:
    """Seconds of a training step, the median of some; the model is spent."""
    known = {key: options[key] for key in ("seed", "device", "precision", "deterministic")}
    run = Run(progress=False, **known)
    model = run.place(model)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    seconds: list[float] = []
    with run.phase("timing", model=model, optimizer=optimizer) as phase:
        for step in phase.batches(data.train, epochs=STEPS + 1, batch_size=batch):
            seconds.append(cuda.seconds(partial(_step, phase, model, step, optimizer), run.device))
            if len(seconds) > STEPS:
                break
    return statistics.median(seconds[1:])


def _step(phase: Phase, model: nn.Module, batch: Any, optimizer: torch.optim.Optimizer) -> None:
    phase.step(weighting.equal(phase.losses(model, batch), phase.labelled), optimizer)


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    return f"{seconds:.0f} s" if seconds < 100 else f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def _size(count: float) -> str:
    return f"{count / 1e6:,.0f} MB" if count >= 1e6 else f"{count / 1e3:,.0f} kB"
