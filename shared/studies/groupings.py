"""Trainings that the studies of grouping compare: one network, one a task, groups given, random or found, and what they show.

Every training has the same optimizer, learning rate and number of steps; a figure is of the test part.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rows import Rows, mean_and_deviation

import dmtg
import mtl_core
from mtl_core import Build, MultiTaskData, Run, Task, TaskGroups
from mtl_core.model import nn

Groups = Sequence[Sequence[str]]

WORDS = {
    "naive": "one network (naive multi-task learning)",
    "single": "a network for each task",
    "random": "random groups",
    "families": "the families, given",
    "dmtg": "DMTG",
    "annealed": "annealed assignment",
    "scratch": "DMTG's groups, trained again from scratch",
    "from naive": "DMTG's groups, trained on from the one network",
}


@dataclass(frozen=True)
class Setting:
    """What all trainings of a study share.

    Args:
        data: Makes the data of a seed.
        build: The architecture.
        batch: Samples a source and step.
        lr: Learning rate.
        logits_lr: That of DMTG's logits: the released code makes 63,000 steps at 8e-4, these studies some hundred.
    """

    data: Callable[[int], MultiTaskData]
    build: Build
    batch: int = 16
    lr: float = 1e-3
    logits_lr: float = 0.02

    def train(self, folder: Path, *, seed: int, **asked: Any) -> nn.Module:
        """The model that a method gives, for `_train`; batch norms are estimated anew, as DMTG does it at its end."""
        model = self._train(folder, seed=seed, **asked).train()
        mtl_core.estimate_norms(model, self.data(seed).train, batch_size=self.batch, seed=seed)
        return model.eval()

    def row(
        self, rows: Rows, folder: Path, *, method: str, groups: int, seed: int, epochs: int
    ) -> dict[str, float | str]:
        """Train and measure; what is to be trained again are the groups that DMTG found under the same key."""
        asked = {"groups": groups, "seed": seed, "epochs": epochs}
        found = self._found(rows, folder, **asked) if method in ("scratch", "from naive") else ()
        return self.figures(self.train(folder, method=method, found=found, **asked), seed)

    def _found(self, rows: Rows, folder: Path, *, groups: int, seed: int, epochs: int) -> Groups:
        """The groups of DMTG's row, or else of a training of its own."""
        row = rows.find(method="dmtg", groups=groups, seed=seed)
        if row is not None:
            return read(row["found"])
        return grouping_of(self.train(folder / "search", method="dmtg", groups=groups, seed=seed, epochs=epochs))

    def _train(
        self, folder: Path, *, method: str, groups: int, seed: int, epochs: int, found: Groups = ()
    ) -> nn.Module:
        """Train one.

        Args:
            folder: For the runs.
            method: A key of `WORDS`.
            groups: K; of no meaning for `naive` and `single`.
            seed: Seeds data, weights and random groups.
            epochs: Passes of the data.
            found: Groups for `scratch`, `from naive` and `families`.
        """
        data, run = self.data(seed), Run(folder, seed=seed, progress=False)
        plain = mtl_core.Config(epochs=epochs, batch_size=self.batch, lr=self.lr)
        if method == "single":
            return mtl_core.fit_single_tasks(self.build, data, plain, run).model
        if method in ("dmtg", "annealed"):
            other: dict[str, Any] = {"logits_lr": self.logits_lr}
            if method == "annealed":
                other = {"distribution": dmtg.AnnealedAssignment, "init_noise": 0.5}
            config = dmtg.Config(groups, epochs=epochs, batch_size=self.batch, lr=self.lr, **other)
            return dmtg.fit(self.build, data, config, run).model
        if method in ("naive", "from naive"):
            naive = mtl_core.fit(self.build, data, plain, run.child("naive")).model
            if method == "naive":
                return naive
            start = [dmtg.extract(naive, self.build, {name: data.tasks[name] for name in group}) for group in found]
            return mtl_core.fit(lambda tasks: _together(start), data, plain, run).model
        if method == "random":
            found = random_groups(list(data.tasks), groups, seed)

        def build(tasks: dict[str, Task]) -> TaskGroups:
            return _together([self.build({name: tasks[name] for name in group}) for group in found])

        return mtl_core.fit(build, data, plain, run).model

    def figures(self, model: nn.Module, seed: int) -> dict[str, float | str]:
        """Groups, and for each task its test loss and, where it has one, accuracy."""
        data = self.data(seed)
        measured = mtl_core.evaluate(model, data.test)
        errors = {f"accuracy.{n}": m["accuracy"] for n, m in measured.items() if "accuracy" in m}
        losses = {f"loss.{n}": loss for n, loss in mtl_core.mean_losses(model, data.test).items()}
        encoders = dmtg.relative_encoders(model)
        return {"found": written(grouping_of(model)), "encoders": encoders, **errors, **losses}


def _together(models: Sequence[nn.Module]) -> TaskGroups:
    return TaskGroups({f"group{j}": model for j, model in enumerate(models)})


def random_groups(names: Sequence[str], groups: int, seed: int) -> Groups:
    """The tasks shuffled and dealt out, so that sizes differ by one at most.

    Examples:
        >>> sorted(map(len, random_groups(list("abcdefg"), 3, seed=0)))
        [2, 2, 3]
    """
    shuffled = random.Random(seed).sample(list(names), len(names))
    return [shuffled[j::groups] for j in range(groups)]


def grouping_of(model: nn.Module) -> Groups:
    """The tasks of each group of a model; one group for a single network."""
    if not isinstance(model, TaskGroups):
        return [list(getattr(model, "tasks", ()))]
    return [part["tasks"] for part in model.structure()["groups"].values()]


def written(groups: Groups) -> str:
    """Groups in a cell.

    Examples:
        >>> written([["a", "b"], ["c"]]), read(written([["a", "b"], ["c"]]))
        ('a b | c', [['a', 'b'], ['c']])
    """
    return " | ".join(" ".join(group) for group in groups)


def read(cell: str) -> Groups:
    """What `written` wrote."""
    return [group.split() for group in cell.split(" | ")]


# What a README shows ------------------------------------------------------------------------------------------------


def values_of(row: dict[str, str], kind: str) -> dict[str, float]:
    """Errors (1 − accuracy) or losses of a row, by task."""
    start = {"error": "accuracy.", "loss": "loss."}[kind]
    cells = {name.removeprefix(start): float(cell) for name, cell in row.items() if name.startswith(start) and cell}
    return {name: 1 - value for name, value in cells.items()} if kind == "error" else cells


def gain(row: dict[str, str], naive: dict[str, str], kind: str) -> float:
    """NormGain against the naive training of the seed; a task that the latter solves without an error is left out."""
    ours, theirs = values_of(row, kind), values_of(naive, kind)
    names = [name for name in theirs if theirs[name] > 0]
    return dmtg.norm_gain([ours[name] for name in names], [theirs[name] for name in names])


def total_table(
    rows: Rows, kinds: Sequence[str], order: Sequence[tuple[str, int]], seeds: Sequence[int] = (0, 1, 2), **where: Any
) -> str:
    """Total Error or Total Loss and NormGain of each method and K, mean and deviation over the seeds."""
    kept = {str(seed) for seed in seeds}
    names = {"error": ("Total Error ↓", "NormGain_E, % ↑"), "loss": ("Total Loss ↓", "NormGain_L, % ↑")}
    lines = [f"| | K | {' | '.join(name for kind in kinds for name in names[kind])} | encoders | seeds |"]
    lines.append("|---" * (4 + 2 * len(kinds)) + "|")
    naive = {row["seed"]: row for row in rows.where(method="naive", **where)}
    for method, groups in order:
        mine = rows.where(method=method, groups=groups, **where)
        mine = [row for row in mine if row["seed"] in naive and row["seed"] in kept]
        if not mine:
            continue
        cells = []
        for kind in kinds:
            totals = [sum(values_of(row, kind).values()) * (100 if kind == "error" else 1) for row in mine]
            gains = [gain(row, naive[row["seed"]], kind) for row in mine]
            cells += [mean_and_deviation(totals, 1 if kind == "error" else 3)]
            cells += ["0" if method == "naive" else mean_and_deviation(gains)]
        used = mean_and_deviation([float(row["encoders"]) for row in mine])
        K = groups if method in ("random", "dmtg", "annealed", "scratch", "from naive") else ""
        lines.append(f"| {WORDS[method]} | {K} | {' | '.join(cells)} | {used} | {len(mine)} |")
    return "\n".join(lines)


def gain_bars(rows: Rows, kind: str, order: Sequence[tuple[str, int]], seeds: Sequence[int] = (0, 1, 2)) -> Any:
    """NormGain of each method and K, mean over the seeds."""
    from dmtg.plots import norm_gain_bars

    kept = {str(seed) for seed in seeds}
    naive = {row["seed"]: row for row in rows.where(method="naive")}
    found = {}
    for method, groups in order:
        mine = [row for row in rows.where(method=method, groups=groups) if row["seed"] in naive and row["seed"] in kept]
        if mine and method != "naive":
            name = WORDS[method] + (f", K = {groups}" if groups else "")
            found[name] = sum(gain(row, naive[row["seed"]], kind) for row in mine) / len(mine)
    return norm_gain_bars(found)


def task_table(
    rows: Rows, kind: str, methods: Sequence[tuple[str, int]], seeds: Sequence[int] = (0, 1, 2), **where: Any
) -> str:
    """Accuracy in percent, or loss, of each task under each method, mean and deviation over the seeds."""
    kept = {str(seed) for seed in seeds}
    found = {
        method: [row for row in rows.where(method=method, groups=groups, **where) if row["seed"] in kept]
        for method, groups in methods
    }
    found = {method: mine for method, mine in found.items() if mine}
    lines = [f"| {'accuracy, %' if kind == 'error' else 'loss'} | {' | '.join(WORDS[method] for method in found)} |"]
    lines.append("|---" * (1 + len(found)) + "|")
    for task in next((values_of(mine[0], kind) for mine in found.values()), {}):
        cells = []
        for mine in found.values():
            values = [values_of(row, kind)[task] for row in mine]
            shown = [100 * (1 - value) for value in values] if kind == "error" else values
            cells.append(mean_and_deviation(shown, 1 if kind == "error" else 3))
        lines.append(f"| {task} | {' | '.join(cells)} |")
    return "\n".join(lines)
