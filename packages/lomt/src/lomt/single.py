r"""Phase 1: one task alone under group sparsity.

$$\min_{\theta = \{\theta_b, \theta_t\}} L(\theta) + \sum_g \lambda_g \lVert\theta_b^g\rVert_2$$

The penalty is on all convolutions of the backbone $\theta_b$, not on the head $\theta_t$, and acts through the proximal step.

Upadhyay et al., *Giving each task what it needs*, Eq. (1) and (2).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import nn

from lomt.config import Config
from lomt.lasso import GroupLasso
from lomt.layers import Density, choose_layer, convolutions, densities, is_active, zeros
from mtl_core import Builder, MultiTaskData, Run, estimate_norms, weighting
from mtl_core.randomness import key


class Setting(NamedTuple):
    """One training of phase 1: task, strength, which of the strengths it is, and which of the seeds."""

    task: str
    lambda_: float
    place: int = 0
    repeat: int = 0

    @property
    def name(self) -> str:
        """Name of its folder: the place and not the strength, so that a folder refuses another strength at once."""
        return f"{self.task}.{self.place}.{self.repeat}"


@dataclass(frozen=True)
class Sparse:
    """A network for one task, trained under group sparsity.

    Attributes:
        model: The network.
        pattern: Groups left in each layer of the main branch, in forward order.
        zeros: Shares of `groups` and of `weights` that are zero, over all convolutions of the backbone.
    """

    model: nn.Module
    pattern: Mapping[str, Density]
    zeros: Mapping[str, float]


def train_sparse(
    builder: Builder, data: MultiTaskData, config: Config, run: Run, lambdas: Sequence[float]
) -> dict[Setting, Sparse]:
    """Train each task alone, for each strength and seed; several ranks share the trainings out.

    Args:
        builder: The architecture.
        data: Tasks and sources.
        config: How to train.
        run: The method's run.
        lambdas: Strengths.
    """
    settings = [
        Setting(task, lambda_, place, repeat)
        for task in data.tasks
        for place, lambda_ in enumerate(lambdas)
        for repeat in range(config.seeds)
    ]
    named = {setting.name: setting for setting in settings}
    found = run.spread(list(named), lambda name, child: _train(builder, data, config, child, named[name]))
    return {named[name]: sparse for name, sparse in found.items()}


def _train(builder: Builder, data: MultiTaskData, config: Config, run: Run, setting: Setting) -> Sparse:
    if setting.repeat:
        run = run.child("repeat", seed=key(run.seed, "repeat", setting.repeat))
    mine = data.select([setting.task])
    with run.seeded("sparse", setting.task):
        model = run.place(builder(mine.tasks))
    inner = config.optimizer(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    optimizer = GroupLasso(inner, convolutions(model).values(), setting.lambda_, group=config.group)
    with run.phase("sparse", model=model, optimizer=optimizer) as phase:
        for batch in phase.batches(
            mine.train, epochs=config.sparse_epochs or config.epochs, batch_size=config.batch_size
        ):
            losses = phase.losses(model, batch)
            phase.step(weighting.equal(losses, phase.labelled), optimizer)  # Eq. (2)
            if phase.ends_epoch:
                phase.record(**{f"zero {name}": share for name, share in zeros(model, config.group).items()})
        if not phase.finished:
            estimate_norms(model, mine.train, batch_size=config.batch_size, seed=run.seed)
    pattern = densities(model, group=config.group, layers=config.layers)
    return Sparse(model, pattern, zeros(model, config.group))


def layer_of(task: str, found: Mapping[Setting, Sparse], config: Config, lambda_: float) -> str | None:
    """The layer of a task at one strength, from all its seeds; None for the backbone's output.

    Raises:
        ValueError: If no layer is active.
    """
    patterns = [
        {layer: is_active(density, config.min_density) for layer, density in sparse.pattern.items()}
        for setting, sparse in found.items()
        if (setting.task, setting.lambda_) == (task, lambda_)
    ]
    return choose_layer(patterns, task=task, lambda_=lambda_, rule=config.rule)


def shares(task: str, found: Mapping[Setting, Sparse], lambda_: float) -> dict[str, Any]:
    """What is zero in a task's networks at one strength, means over the seeds; of each layer, the smallest share left."""
    mine = [s for setting, s in found.items() if (setting.task, setting.lambda_) == (task, lambda_)]
    return {
        "zero groups": sum(s.zeros["groups"] for s in mine) / len(mine),
        "zero weights": sum(s.zeros["weights"] for s in mine) / len(mine),
        "phase": next(f"{s.name}/sparse" for s in found if (s.task, s.lambda_) == (task, lambda_)),
        "pattern": {
            layer: min(s.pattern[layer].left / s.pattern[layer].groups for s in mine) for layer in mine[0].pattern
        },
    }
