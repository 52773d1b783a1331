r"""The procedure: weights and assignment are trained together, once; what is left of the network is the result.

$$\min_{\theta, \Pi} \sum_i \sum_j G_{ij}(\Pi)\, \ell_{ij}(\theta), \qquad \text{group}(i) = \operatorname{arg\,max}_j \pi_{ij}$$

Gao, Jiang, Li, Yu, Xia, *DMTG: One-Shot Differentiable Multi-Task Grouping*. The poster prints no hyperparameter; one sample a
step, a constant temperature, logits of 1, equal branches and one optimizer are those of the authors' released code.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dmtg import plots
from dmtg.gain import relative_encoders
from dmtg.grouping import Distribution, GroupDistribution, grouped_loss
from dmtg.network import BranchedModel, groups_of
from mtl_core import Builder, MultiTaskData, Result, Run, begin, estimate_norms
from mtl_core import Config as PlainConfig
from mtl_core import fit as fit_plain
from mtl_core.components import Build
from mtl_core.phase import Phase
from mtl_core.types import Bool, Float


@dataclass(frozen=True)
class Config:
    """Configuration of DMTG.

    Args:
        groups: Largest number of groups, K; the search may leave some without a task.
        tau: Temperature of the relaxed assignment.
        tau_end: Temperature at the end of the search, reached geometrically; default constant.
        epochs: Passes of the longest source.
        batch_size: Samples per source and step (and per rank).
        lr: Learning rate of the weights.
        weight_decay: L2 decay of the weights.
        logits_lr: Learning rate of the logits; default `lr`, which needs many thousand steps to decide anything.
        lr_epochs: Epochs after which the learning rates are multiplied by `lr_factor`, again and again; 0: never.
        lr_factor: See `lr_epochs`.
        stem: Layer of the backbone up to which all groups share it; default: they share nothing.
        grad_scale: Multiply the gradient that the stem receives by 1/√K.
        init_noise: Noise on the branches' initial weights, in standard deviations; 0 starts them alike.
        drop_below: Drop a task's head from a branch whose probability stays below this; 0: never before the end.
        drop_after: After so many epochs on end.
        finetune_epochs: Train the final network on for so many epochs.
        distribution: Makes another distribution than the poster's: a function `(tasks, groups) -> Distribution`.

    Raises:
        ValueError: If a value is out of its range.
    """

    groups: int = 3
    tau: float = 2.5
    tau_end: float | None = None
    epochs: int = 30
    batch_size: int = 16
    lr: float = 1e-3
    weight_decay: float = 1e-4
    logits_lr: float | None = None
    lr_epochs: int = 0
    lr_factor: float = 0.5
    stem: str | None = None
    grad_scale: bool = True
    init_noise: float = 0.0
    drop_below: float = 0.0
    drop_after: int = 10
    finetune_epochs: int = 0
    distribution: Callable[[int, int], Distribution] | None = None

    def __post_init__(self) -> None:
        rules: dict[str, tuple[bool, str]] = {
            "groups": (isinstance(self.groups, int) and self.groups >= 1, "be a whole number of at least 1"),
            "tau": (0 < self.tau < math.inf, "be positive and finite"),
            "tau_end": (self.tau_end is None or 0 < self.tau_end < math.inf, "be positive and finite"),
            "lr": (0 < self.lr < math.inf, "be positive and finite"),
            "logits_lr": (self.logits_lr is None or 0 <= self.logits_lr < math.inf, "be >= 0 and finite"),
            "weight_decay": (0 <= self.weight_decay < math.inf, "be >= 0 and finite"),
            "lr_epochs": (self.lr_epochs >= 0, "be >= 0"),
            "lr_factor": (0 < self.lr_factor <= 1, "be in (0, 1]"),
            "init_noise": (0 <= self.init_noise < math.inf, "be >= 0 and finite"),
            "drop_below": (0 <= self.drop_below < 1 / max(1, self.groups), "be at least 0 and less than 1 / groups"),
            "drop_after": (self.drop_after >= 1, "be at least 1"),
            "finetune_epochs": (self.finetune_epochs >= 0, "be >= 0"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ValueError(f"`{name}` must {rule}. Got `{name} = {getattr(self, name)}`.")

    @staticmethod
    def authors(data: str) -> "Config":
        """The released code's values for K = 3. The poster prints none.

        On Taskonomy that code also halves the learning rate where the training loss has stopped falling, which is not
        offered here.

        Args:
            data: "celeba" or "taskonomy".

        Raises:
            ValueError: If it is another word.
        """
        if data == "celeba":
            return Config(3, tau=2.5, epochs=100, batch_size=256, lr=8e-4, weight_decay=0.0, lr_epochs=15)
        if data == "taskonomy":
            return Config(3, tau=4.0, epochs=100, batch_size=24, lr=1e-3, weight_decay=0.0)
        raise ValueError(f'`data` must be "celeba" or "taskonomy". Got `data = {data!r}`.')


def fit(build: Build, data: MultiTaskData, config: Config | None = None, run: Run | None = None) -> Result:
    """Find groups of tasks and train a network for each of them, in one run.

    Args:
        build: The architecture, `build(tasks) -> model`; called for all tasks and for the tasks of each final group.
        data: Tasks and their sources.
        config: How many groups, and how to train.
        run: Folder, device, seed; default nothing on disk.

    Returns:
        A `TaskGroups`. The report holds `groups` (`{group: [task names]}`), the final `probabilities`, the epochs in which
        the assignment changed, what was dropped early, and softmax(Π) epoch by epoch among the phase's curves.

    Raises:
        ValueError: If `build` makes something else for some of the tasks than for all, or cannot be split at `stem`.
        TypeError: If `data` or `config` is not of its type, or there is a stem and the model is no `SharedBackbone`.
    """
    config = config or Config()
    run = begin(run, "dmtg", config, data)
    build, names, K = Builder(build, anew=True), list(data.tasks), config.groups
    with run.seeded("model"):
        model = BranchedModel(
            build, data.tasks, K, config.stem, init_noise=config.init_noise, grad_scale=config.grad_scale
        )
        run.place(model)
        distribution = run.place(_distribution(len(names), config))
    weights = {"params": list(model.parameters()), "lr": config.lr, "weight_decay": config.weight_decay}
    logits = {"params": list(distribution.parameters()), "lr": config.lr, "weight_decay": 0.0}
    if config.logits_lr is not None:
        logits["lr"] = config.logits_lr
    optimizer = torch.optim.Adam([weights, logits], fused=True)
    rates = torch.optim.lr_scheduler.StepLR(optimizer, config.lr_epochs or 2**62, config.lr_factor)
    with run.phase("search", model=model, optimizer=optimizer, state=[distribution, rates]) as phase:
        model.keep(distribution.alive.tolist())
        for batch in phase.batches(data.train, epochs=config.epochs, batch_size=config.batch_size):
            losses, labelled = loss_table(phase.losses(model, batch), phase.labelled, distribution.alive)
            G = distribution.mix(losses.detach(), labelled, phase.generator("gumbel"), phase.progress)  # Eq. (1)
            phase.step(grouped_loss(losses[labelled], G[labelled]), optimizer)  # Eq. (2)
            if phase.ends_epoch:
                rates.step()
                _drop(distribution, model, config, phase)
                phase.record(**_curves(names, distribution.probabilities()))
    with run.seeded("groups"):
        final = run.place(model.pruned(build, distribution.assignment()))  # Eq. (3)
    # A branch has met the inputs of all tasks; its batch norms are to know those of its own.
    estimate_norms(final, data.train, batch_size=config.batch_size, seed=run.seed)
    if config.finetune_epochs:
        plain = PlainConfig(config.finetune_epochs, config.batch_size, config.lr, config.weight_decay)
        fit_plain(lambda tasks: final, data, plain, run.child("finetune"))
    found = _found(names, distribution, phase, config)
    cost = {"search": relative_encoders(model), "final": relative_encoders(final)}
    return phase.result(final, plots=plots.PLOTS, **found, encoders=cost)


def loss_table(
    losses: Mapping[str, Tensor], labelled: Mapping[str, int], alive: Bool[Tensor, "task groups"]
) -> tuple[Float[Tensor, "task groups"], Bool[Tensor, " task"]]:
    r"""The losses $\ell_{ij}$ of a step as a table, and which of its rows count.

    Args:
        losses: For each task one loss for each branch that it still has.
        labelled: Labelled elements of the step by task.
        alive: Which branches each task still has.

    Returns:
        The table, with 0 for a head that was dropped and in the row of a task without a label; and, by task, whether it has
        a label in this step.
    """
    whole = bool(alive.all())
    rows = []
    for i, (name, several) in enumerate(losses.items()):
        row = several.new_zeros(alive.shape[1])
        if labelled[name]:
            row = several if whole else row.masked_scatter(alive[i], several)
        rows.append(row)
    return torch.stack(rows), torch.tensor([labelled[name] > 0 for name in losses], device=alive.device)


def _distribution(tasks: int, config: Config) -> Distribution:
    if config.distribution is not None:
        return config.distribution(tasks, config.groups)
    return GroupDistribution(tasks, config.groups, config.tau, config.tau_end)


def _drop(distribution: Distribution, model: BranchedModel, config: Config, phase: Phase) -> None:
    """At the end of an epoch: heads that have been improbable for long are not computed any more."""
    epoch = max(map(len, phase.history.values()))
    if config.drop_below and distribution.drop(config.drop_below, config.drop_after, epoch):
        model.keep(distribution.alive.tolist())


def _curves(names: Sequence[str], probabilities: Tensor) -> dict[str, float]:
    rows = zip(names, probabilities.tolist(), strict=True)
    return {f"{name}.{j}": p for name, row in rows for j, p in enumerate(row)}


def _found(names: Sequence[str], distribution: Distribution, phase: Phase, config: Config) -> dict[str, Any]:
    probabilities = dict(zip(names, distribution.probabilities().tolist(), strict=True))
    groups = groups_of(names, distribution.assignment())
    where = [
        [max(range(config.groups), key=lambda j: phase.curves[f"{name}.{j}"][epoch]) for name in names]
        for epoch in range(config.epochs)
    ]
    gone = distribution.gone.tolist()
    lost = [(name, j, epoch) for name, row in zip(names, gone, strict=True) for j, epoch in enumerate(row) if epoch]
    heads = sum(config.epochs - epoch for _, _, epoch in lost) / (config.epochs * config.groups * len(names))
    emptied = [max(column) for column in zip(*gone, strict=True) if all(column)]
    branches = sum(config.epochs - epoch for epoch in emptied) / (config.epochs * config.groups)
    sure = min(probabilities, key=lambda name: max(probabilities[name]))
    return {
        "groups": groups,
        "probabilities": probabilities,
        "changed": [epoch + 1 for epoch in range(1, config.epochs) if where[epoch] != where[epoch - 1]],
        "dropped": [
            {"task": name, "group": f"group{j}", "epoch": epoch} for name, j, epoch in sorted(lost, key=_epoch)
        ],
        "saved": {"heads": heads, "branches": branches},
        "headline": [
            f"{len(names)} tasks in {len(groups)} of {config.groups} groups: "
            + "; ".join(", ".join(members) for members in groups.values())
            + ".",
            f"Least certain: {sure}, at {100 * max(probabilities[sure]):.0f} %.",
        ],
    }


def _epoch(lost: tuple[str, int, int]) -> int:
    return lost[2]
