r"""The procedure: each task alone, groups of similar tasks, weights by difficulty, and each group's sparse network together.

$$\mathcal{L}_{total} = \sum_k \mathcal{L}_{ce}^{G_k} + \lVert w^{G_k}\rVert_2$$

Groups share nothing, so each is trained by itself; the regulariser is weight decay (see the README, difference 6).

Choi, Jin, Kim, *Task-Aware Dynamic Model Optimization for Multi-Task Learning*, Section III.
"""

import warnings
from collections.abc import Mapping

import torch
from torch import nn

from dmo import plots
from dmo.allocation import Merged, allocate
from dmo.backbones import backbone_of, copy_backbone, prunable_parts
from dmo.config import Config
from dmo.findings import findings
from dmo.single import Single, sgd, train, train_singles
from mtl_core import Build, Builder, MultiTaskData, Result, Run, TaskGroups, begin, keep_zeros
from mtl_core.randomness import digest


def fit(build: Build, data: MultiTaskData, config: Config | None = None, run: Run | None = None) -> Result:
    """Find which tasks share a network and how many weights each needs, and train these networks.

    Args:
        build: The architecture; it must give one and the same backbone whatever the tasks are.
        data: Tasks and their sources. Losses of different kinds (metres, nats) have no common difficulty: a warning.
        config: How to group, how much to keep, how to train.
        run: Folder, device, seed; default nothing on disk. Several ranks share the tasks of stage 1 out.

    Returns:
        A `TaskGroups` whose pruned weights are exact zeros. The report holds `groups` (`{group: [task names]}`),
        `similarity` (S_W, S_L, S), `difficulty`, `keep` and `allocation` (parameters per task, per group, in all, and the
        ratio to single-task networks).

    Raises:
        ValueError: If `build` gives different backbones, or nothing in them can be pruned.
        TypeError: If `data` or `config` is not of its type.
    """
    config = config or Config()
    run = begin(run, "dmo", config, data)
    builder = Builder(build, anew=True)
    _check(builder, data, run)
    singles = train_singles(builder, data, config, run)  # Stage 1
    return _groups(builder, data, singles, config, run)


def fit_singles(
    build: Build, data: MultiTaskData, config: Config | None = None, run: Run | None = None
) -> dict[str, Single]:
    """Stage 1 alone: a network of its own for each task, from common initial weights.

    In the folder of a `fit` with the same configuration it loads what that has trained.

    Args:
        build: The architecture.
        data: Tasks and their sources.
        config: How to train.
        run: Folder, device, seed; several ranks share the tasks out.

    Returns:
        By task, in alphabetical order: the network, its loss curve, and the losses of its samples.

    Raises:
        ValueError: If `build` gives different backbones, or nothing in them can be pruned.
        TypeError: If `data` or `config` is not of its type.
    """
    config = config or Config()
    run = begin(run, "dmo", config, data)
    builder = Builder(build, anew=True)
    _check(builder, data, run)
    return train_singles(builder, data, config, run)


def fit_groups(
    build: Build,
    data: MultiTaskData,
    singles: Mapping[str, Single],
    config: Config | None = None,
    run: Run | None = None,
) -> Result:
    """Stages 2 to 4 alone: other thresholds and temperatures without training the single tasks again.

    Args:
        build: The architecture of `singles`.
        data: Tasks and their sources.
        singles: What `fit_singles` gave for the same tasks; it is not changed.
        config: How to group, how much to keep, how to train.
        run: Folder, device, seed.

    Returns:
        As `fit`.

    Raises:
        ValueError: If `singles` are not those of the data's tasks, or `build` gives another backbone.
        TypeError: If `data` or `config` is not of its type.
    """
    config = config or Config()
    run = begin(run, "dmo", config, data)
    if sorted(singles) != sorted(data.tasks):
        raise ValueError(f"`singles` must be those of the tasks {sorted(data.tasks)}. Got {sorted(singles)}.")
    run.context["singles"] = {name: digest(single.model.state_dict()) for name, single in sorted(singles.items())}
    return _groups(Builder(build, anew=True), data, singles, config, run)


def _groups(builder: Builder, data: MultiTaskData, singles: Mapping[str, Single], config: Config, run: Run) -> Result:
    found = allocate(singles, config)  # Stages 2 and 3
    models = {
        group: _train_group(builder, data.select(members), group, found.merged[group], singles, config, run)
        for group, members in found.groups.items()
    }  # Stage 4
    return run.result(TaskGroups(models), plots=plots.PLOTS, **findings(found, singles, models, config))


def _train_group(
    builder: Builder,
    data: MultiTaskData,
    group: str,
    merged: Merged,
    singles: Mapping[str, Single],
    config: Config,
    run: Run,
) -> nn.Module:
    """Stage 4 for one group: its sparse network, from the weights that its tasks have put together."""
    members = list(data.tasks)
    with run.seeded("joint", *members):
        model = run.place(builder(data.tasks))  # new heads
    copy_backbone(singles[members[merged.hardest]].model, model)  # norms and biases of the hardest task
    with torch.no_grad():
        for name, weight in prunable_parts(model).items():
            weight.copy_(merged.values[name])
    optimizer, rates = sgd(model, config)
    pruned = {name: ~mask for name, mask in merged.mask.items()}
    with (
        keep_zeros(backbone_of(model), optimizer, pruned),  # momentum and decay would revive them
        run.phase(f"joint.{group}", model=model, optimizer=optimizer, state=[rates]) as phase,
    ):
        train(phase, model, data.train, config, optimizer, rates)  # Eq. (5)
    return model


def _check(builder: Builder, data: MultiTaskData, run: Run) -> None:
    """Refuse before stage 1 what stage 4 could not build, and warn of losses that cannot be compared."""
    with run.seeded("trial"):
        whole = builder(data.tasks)
        if not prunable_parts(whole):
            raise ValueError("`build` must give a backbone with a convolution or a linear layer. Got none to prune.")
        for name, task in data.tasks.items():
            copy_backbone(whole, builder({name: task}))
    kinds = {name: task.kind or "of its own kind" for name, task in data.tasks.items()}
    if len(set(kinds.values())) > 1:
        _warn_of_kinds(kinds)


def _warn_of_kinds(kinds: Mapping[str, str]) -> None:
    said = ", ".join(f"{name}: {kind}" for name, kind in kinds.items())
    warnings.warn(
        f"The tasks' losses are of different kinds ({said}), so their difficulties have no common measure: DMO is defined for "
        "classification.",
        stacklevel=4,
    )
