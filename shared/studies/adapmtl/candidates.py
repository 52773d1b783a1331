"""Other ways to set the differences between thresholds, tried beside AdapMTL's gradient; the overall sparsity is held alike.

A rule sets `model.u` once in ten steps; then the common level is solved anew. All else is `adapmtl.fit` with its defaults, and
network, data and steps are those of the study `rules`, whose rows stand beside. All rules have two seeds at 95 %, where rules
differ most; those of `BEST`, which did best there, five at 90 and 95 %.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from pruned import BATCH, THREE, build, gain_cell, measured
from rows import Rows
from study import Study
from torch import nn

import adapmtl
from adapmtl import AdaptiveWeights, Thresholded
from adapmtl.components import Groups, weight_names
from adapmtl.fit import SOLVED_EVERY
from adapmtl.level import asked_sparsity
from adapmtl.weighting import factor
from mtl_core import Batch, Run, datasets

FEW, MANY = (0, 1), (0, 1, 2, 3, 4)
RATE = 0.05
"""How far, in ten steps, a threshold moves whose removal costs the mean of all costs more than the mean."""
EXTRA = 0.01
"""Share of all weights that is taken from a group to see what that costs."""

Rule = Callable[[Thresholded, Sequence[Sequence[str]], Callable[[nn.Module], float], float], None]
"""`(model, names of each group's weights, loss of a model on the batch at hand, sparsity asked for now)`; sets `model.u`."""


def equal_shares(model: Thresholded, names: Sequence[Sequence[str]], loss: Any, asked: float) -> None:
    """Every group loses the same share: each threshold at that quantile of its own weights."""
    for c, sizes in enumerate(absolute(model.model, names)):
        quantile = float(sizes.kthvalue(max(1, round(asked * len(sizes)))).values)
        model.u[c] = math.log(max(quantile, 1e-12))


def scale(power: float) -> Rule:
    """Thresholds as the scale of a group's weights to some power: 1 treats all scales alike, 0 is a common threshold."""

    def rule(model: Thresholded, names: Sequence[Sequence[str]], loss: Any, asked: float) -> None:
        for c, sizes in enumerate(absolute(model.model, names)):
            model.u[c] = power * math.log(max(float(sizes.square().mean().sqrt()), 1e-12))

    return rule


def removal_cost(
    model: Thresholded, names: Sequence[Sequence[str]], loss: Callable[[nn.Module], float], asked: float
) -> None:
    """Move each threshold by what the loss rises when its group's smallest surviving weights go: measured, not estimated."""
    baked = adapmtl.bake(model)
    before, costs = loss(baked), []
    size = sum(len(sizes) for sizes in absolute(baked, names))
    for mine, sizes in zip(names, absolute(baked, names), strict=True):
        left = sizes[sizes > 0]
        count = min(max(1, round(EXTRA * size)), len(left) // 4)
        if not count:
            costs.append(math.inf)
            continue
        bound, weights = left.kthvalue(count).values, [baked.get_parameter(name) for name in mine]
        kept = [weight.clone() for weight in weights]
        for weight in weights:
            weight.masked_fill_(weight.abs() <= bound, 0.0)
        costs.append((loss(baked) - before) / count)
        for weight, old in zip(weights, kept, strict=True):
            weight.copy_(old)
    found = torch.tensor(costs)
    found[found.isinf()] = found[found.isfinite()].max()
    model.u.sub_(RATE * ((found - found.mean()) / found.abs().mean().clamp(min=1e-12)).clamp(-2, 2))


CANDIDATES: dict[str, tuple[Groups, Rule]] = {
    "equal shares": (adapmtl.per_component, equal_shares),
    "removal cost": (adapmtl.per_component, removal_cost),
    "removal cost of layers": (adapmtl.per_layer, removal_cost),
    "scale of layers": (adapmtl.per_layer, scale(1.0)),
    "root of the scale of layers": (adapmtl.per_layer, scale(0.5)),
}


BEST = ("equal shares",)


def train(folder: Path, *, rule: str, sparsity: float, seed: int, epochs: int = 38) -> dict[str, Any]:
    groups, apply = CANDIDATES[rule]
    data, run, config = datasets.rooms(THREE), Run(folder, seed=seed, progress=False), adapmtl.Config()
    with run.seeded("model"):
        model = Thresholded(build(data.tasks), groups)
    model.u.requires_grad_(False)
    chosen = groups(model.model)
    names = [weight_names(model.model, chosen[name]) for name in model.names]
    weights = AdaptiveWeights(factor(model.model, config.lambda_), config.window)
    optimizer = torch.optim.Adam(model.model.parameters(), config.lr, weight_decay=config.weight_decay, fused=True)
    with run.phase("prune", model=model, optimizer=optimizer, state=[weights]) as phase:
        for batch in phase.batches(data.train, epochs=epochs, batch_size=BATCH):
            phase.step(weights(phase.losses(model, batch), phase.labelled), optimizer)
            if phase.step_number % SOLVED_EVERY == 0:
                asked = asked_sparsity(sparsity, phase.progress, config.reach)
                with torch.no_grad():
                    apply(model, names, loss_on(batch, weights.beta, phase.step_number), asked)
                model.center()
                model.level(asked)
        model.level(sparsity)
    return measured(adapmtl.bake(model), data, seed, {}).found


def loss_on(batch: Batch, beta: dict[str, float], seed: int) -> Callable[[nn.Module], float]:
    """The weighted sum of a batch's losses, with the same dropout at each call."""

    def loss(model: nn.Module) -> float:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            total = 0.0
            for view in batch:
                found = model(view.inputs, list(view.targets))
                for name, target in view.targets.items():
                    values, valid = batch.tasks[name].elements(found[name], target)
                    total += beta[name] * float(values[valid].mean())
        return total

    return loss


def absolute(model: nn.Module, names: Sequence[Sequence[str]]) -> list[torch.Tensor]:
    """Sizes of the weights of each group."""
    return [torch.cat([model.get_parameter(name).abs().flatten() for name in mine]) for mine in names]


def table(rows: Rows) -> str:
    """Δ of each rule beside those of the study `rules`."""
    dense, others = {"rule": "dense", "sparsity": 0.0}, Rows("adapmtl", "rules", STUDY.key)
    lines = ["| Δ, % | 95 %, two seeds | 90 %, five seeds | 95 %, five seeds |", "|---|---|---|---|"]

    def cell(rule: str, sparsity: float, seeds: tuple[int, ...]) -> str:
        source = rows if rule in CANDIDATES else others
        found = [
            (mine, other)
            for seed in seeds
            if (mine := source.find(rule=rule, sparsity=sparsity, seed=seed))
            and (other := others.find(**dense, seed=seed))
        ]
        return gain_cell(found) if len(found) == len(seeds) else ""

    for rule in ("one threshold", "AdapMTL", *CANDIDATES):
        cells = [cell(rule, 0.95, FEW), cell(rule, 0.9, MANY), cell(rule, 0.95, MANY)]
        lines.append(f"| {rule} | {' | '.join(cells)} |")
    return "\n".join(lines)


STUDY = Study(
    key=("rule", "sparsity", "seed"),
    trainings=[
        *({"rule": rule, "sparsity": 0.95, "seed": seed} for seed in FEW for rule in CANDIDATES),
        *(
            {"rule": rule, "sparsity": sparsity, "seed": seed}
            for seed in MANY
            for rule in BEST
            for sparsity in (0.9, 0.95)
            if (sparsity, seed) not in [(0.95, few) for few in FEW]
        ),
    ],
    train=train,
    seconds=90,
    tiny={"rule": "removal cost", "sparsity": 0.9, "seed": 0, "epochs": 1},
    tables={"candidates": table},
)
