"""What a step of the search costs as tasks and groups grow: processor time on one thread, forward, backward and update.

Core's tiny network, 16 images of 32 pixels, a linear head for each yes-or-no task; beside it, in turns, the step of one network
for all tasks (naive multi-task learning), so that a ratio holds whatever else the machine does.
"""

import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from pairs import work
from rows import Rows
from study import Study

import dmtg
from dmtg.fit import loss_table
from mtl_core import MultiTaskData, Run, SharedBackbone, Task, backbones, heads, weighting
from mtl_core.datasets import arrays
from mtl_core.task import attribute

TASKS, GROUPS = (5, 10, 20, 40), (1, 2, 3, 4, 5, 6, 7, 8)
REPEATS, BATCH, PIXELS = 15, 16, 32


def build(tasks: dict[str, Task]) -> SharedBackbone:
    return SharedBackbone(backbones.tiny(), tasks, heads.linear())


def train(folder: Path, *, tasks: int, groups: int, repeats: int = REPEATS) -> dict[str, float]:
    g = torch.Generator().manual_seed(0)
    images = torch.rand(BATCH, 3, PIXELS, PIXELS, generator=g)
    names = [f"task{i}" for i in range(tasks)]
    labels = {name: torch.randint(0, 2, (BATCH,), generator=g).float() for name in names}
    data = MultiTaskData([attribute(name) for name in names], arrays(images, labels))
    with ExitStack() as stack:
        naive, search = _naive(stack, data), _search(stack, data, groups)
        pairs = [(work(naive), work(search)) for _ in range(repeats + 2)][2:]
    return {
        "naive_ms": 1e3 * statistics.median(a for a, _ in pairs),
        "search_ms": 1e3 * statistics.median(b for _, b in pairs),
        "ratio": statistics.median(b / a for a, b in pairs),
    }


def _batches(
    stack: ExitStack, data: MultiTaskData, model: Any, optimizer: Any, state: Any = ()
) -> tuple[Any, Iterator[Any]]:
    phase = stack.enter_context(Run(progress=False).phase("steps", model=model, optimizer=optimizer, state=state))
    return phase, phase.batches(data.train, epochs=10**6, batch_size=BATCH)


def _naive(stack: ExitStack, data: MultiTaskData) -> Callable[[], None]:
    model = build(data.tasks)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    phase, batches = _batches(stack, data, model, optimizer)

    def step() -> None:
        phase.step(weighting.equal(phase.losses(model, next(batches)), phase.labelled), optimizer)

    return step


def _search(stack: ExitStack, data: MultiTaskData, groups: int) -> Callable[[], None]:
    model = dmtg.BranchedModel(build, data.tasks, groups)
    distribution = dmtg.GroupDistribution(len(data.tasks), groups)
    optimizer = torch.optim.Adam([*model.parameters(), *distribution.parameters()], fused=True)
    phase, batches = _batches(stack, data, model, optimizer, [distribution])

    def step() -> None:
        losses, labelled = loss_table(phase.losses(model, next(batches)), phase.labelled, distribution.alive)
        G = distribution.mix(losses.detach(), labelled, phase.generator("gumbel"), phase.progress)
        phase.step(dmtg.grouped_loss(losses[labelled], G[labelled]), optimizer)

    return step


def picture(rows: Rows) -> Any:
    """Time of a step against K for each N, and against N for each K of 1, 2, 4, 8."""
    from mtl_core.plots import COLOURS, canvas

    figure, axes = canvas(1, 2, height=2.6)
    for place, (axis, label, outer, inner) in enumerate(
        zip(axes[0], ("K, groups", "N, tasks"), (TASKS, (1, 2, 4, 8)), (GROUPS, TASKS), strict=True)
    ):
        for colour, o in zip(COLOURS, outer, strict=False):
            keys = [{"tasks": o, "groups": i} if place == 0 else {"tasks": i, "groups": o} for i in inner]
            found = [(i, rows.find(**key)) for i, key in zip(inner, keys, strict=True)]
            done = [(i, float(row["search_ms"])) for i, row in found if row]
            axis.plot(*zip(*done, strict=True), "o-", color=colour, label=f"{'NK'[place]} = {o}", markersize=3)
        axis.set(xlabel=label, ylabel="step, ms", ylim=(0, None))
        axis.legend(frameon=False, fontsize=7)
    return figure


def table(rows: Rows) -> str:
    """A step of the search in steps of one network, by K and N."""
    lines = [
        f"| step / step of one network | {' | '.join(f'N = {n}' for n in TASKS)} |",
        "|---" * (1 + len(TASKS)) + "|",
    ]
    for groups in GROUPS:
        found = [rows.find(tasks=tasks, groups=groups) for tasks in TASKS]
        cells = [f"{float(row['ratio']):.2f}" if row else "" for row in found]
        lines.append(f"| K = {groups} | {' | '.join(cells)} |")
    return "\n".join(lines)


STUDY = Study(
    key=("tasks", "groups"),
    trainings=[{"tasks": tasks, "groups": groups} for tasks in TASKS for groups in GROUPS],
    train=train,
    seconds=10,
    tiny={"tasks": 5, "groups": 2, "repeats": 1},
    tables={"scaling": table},
    pictures={"step_over_tasks_and_groups": picture},
)
