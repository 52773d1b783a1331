r"""The procedure: weights and thresholds are trained together, and the overall sparsity is held at what was asked for.

$$\min_{W, \theta} \sum_t \beta_t L_t\big(S(W, \sigma(\theta))\big) \ \text{s. t.}\ \text{share of zeros} = \text{asked}$$

Xiang et al., *AdapMTL: Adaptive pruning framework for multitask learning model*, Eq. (1) and (3). The paper gives the target
as a constraint and names no force that raises the thresholds; here $\theta_c = u_c + s(t)$, where $u_c$ follows the gradient of
Eq. (3) and the common level $s(t)$ is solved for every ten steps. So the differences between components are learned, and
their common level is asked for. `Config.authors()` is the released code's rule instead: a start picked by hand, L2 decay on
$\theta$, and no step of $\theta$ while the target is met.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from adapmtl import plots
from adapmtl.authors import AuthorsWeights
from adapmtl.components import Groups, per_component, prunable
from adapmtl.thresholded import Thresholded, bake, sparsity
from adapmtl.weighting import AdaptiveWeights, factor
from mtl_core import Builder, MultiTaskData, Result, Run, begin, estimate_norms
from mtl_core.components import Build
from mtl_core.phase import Phase

SOLVED_EVERY = 10
"""Steps between two solutions of the common level: often enough to follow the schedule, seldom enough to cost nothing."""


@dataclass(frozen=True)
class Config:
    """Configuration of AdapMTL.

    Args:
        sparsity: Share of zeros asked for, among all prunable weights, in (0, 1).
        epochs: Passes of the longest source.
        batch_size: Samples per source and step (and per rank).
        lr: Learning rate of the weights.
        weight_decay: L2 decay of the weights; it is what makes weights under the threshold vanish.
        theta_lr: Learning rate of what each threshold learns, u; 0 gives one common threshold.
        reach: Part of the training after which the asked sparsity is reached and held.
        max_component: Largest share of its weights that a component may lose (or halfway between `sparsity` and 1 where
            that is more).
        lambda_: Factor of the task weights, Eq. (6).
        window: Steps over which a task's loss changes are averaged, Eq. (6); 1 is the paper's "without sliding window".
        lr_steps: Steps after which the learning rates are multiplied by `lr_factor`, again and again; 0: never.
        lr_factor: See `lr_steps`.
        beta_1: Adam's decay of the mean of gradients.
        theta_start: Where all thresholds start under the released code's rule; None holds the sparsity instead.
        authors_weights: Weigh tasks as the released code does, not by Eq. (6).
        groups: Which layers share a threshold: a function `model -> {name: modules}`.

    Raises:
        ValueError: If a value is out of its range.
    """

    sparsity: float = 0.9
    epochs: int = 30
    batch_size: int = 16
    lr: float = 1e-3
    weight_decay: float = 1e-4
    theta_lr: float = 0.004
    reach: float = 0.7
    max_component: float = 0.99
    lambda_: float = 5.0
    window: int = 400
    lr_steps: int = 0
    lr_factor: float = 0.5
    beta_1: float = 0.9
    theta_start: float | None = None
    authors_weights: bool = False
    groups: Groups = per_component

    def __post_init__(self) -> None:
        rules: dict[str, tuple[bool, str]] = {
            "sparsity": (0 < self.sparsity < 1, "be a share in (0, 1): 0.9 prunes 90 %"),
            "reach": (0 < self.reach <= 1, "be in (0, 1]"),
            "max_component": (0 < self.max_component <= 1, "be in (0, 1]"),
            "lambda_": (self.lambda_ > 0, "be positive"),
            "window": (self.window >= 1, "be at least 1"),
            "lr": (self.lr > 0, "be positive"),
            "theta_lr": (self.theta_lr >= 0, "be >= 0"),
            "weight_decay": (self.weight_decay >= 0, "be >= 0"),
            "lr_steps": (self.lr_steps >= 0, "be >= 0"),
            "beta_1": (0 <= self.beta_1 < 1, "be in [0, 1)"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ValueError(f"`{name}` must {rule}. Got `{name} = {getattr(self, name)}`.")

    @staticmethod
    def paper() -> "Config":
        """The values that the paper prints: 90 %, window 400, lambda 5."""
        return Config(sparsity=0.9, window=400, lambda_=5.0)

    @staticmethod
    def authors(theta_start: float = -15.0, weight_decay: float = 6e-5) -> "Config":
        """The released code's values for NYU-v2 and ResNet-34; for MobileNetV2 they are -18 and 1e-6.

        Args:
            theta_start: Where the thresholds start.
            weight_decay: L2 decay of weights and thresholds: the force that raises the thresholds there.
        """
        return Config(
            weight_decay=weight_decay,
            theta_lr=1e-3,
            lr_steps=4000,
            beta_1=0.5,
            window=500,
            theta_start=theta_start,
            authors_weights=True,
        )


def fit(build: Build, data: MultiTaskData, config: Config | None = None, run: Run | None = None) -> Result:
    """Train a multi-task model, in one run, to the overall sparsity asked for; the sparsity of each component is learned.

    Args:
        build: The architecture, `build(tasks) -> model`; called once, so it may give a trained model.
        data: Tasks and their sources.
        config: What to ask for, and how to train.
        run: Folder, device, seed; default nothing on disk.

    Returns:
        The baked model: zeros in plain layers, no trace of the thresholds. The report holds `sparsity` and `components`
        (weights, sparsity, u and alpha of each), `layers`, and the curves over the training.

    Raises:
        ValueError: If nothing can be pruned, or (under `theta_start`) the target cannot be reached.
        TypeError: If `data` or `config` is not of its type.
    """
    config = config or Config()
    run = begin(run, "adapmtl", config, data)
    with run.seeded("model"):
        model = run.place(Thresholded(Builder(build)(data.tasks), config.groups, max_component=config.max_component))
    follow = _follow_schedule if config.theta_start is None else _follow_authors
    theta_decay = 0.0 if config.theta_start is None else _start_as_authors(model, config, data, run)
    factors = factor(model.model, config.lambda_)
    weights = (
        AuthorsWeights(data.tasks) if config.authors_weights else AdaptiveWeights(factors, config.window)
    )  # Eq. (6)
    # L2 decay, not AdamW: under AdamW the common factor of Eq. (6) would have no effect.
    optimizer = torch.optim.Adam(
        [
            {"params": list(model.model.parameters()), "lr": config.lr, "weight_decay": config.weight_decay},
            {"params": [model.u], "lr": config.theta_lr, "weight_decay": theta_decay},
        ],
        betas=(config.beta_1, 0.999),
        fused=True,
    )
    rates = torch.optim.lr_scheduler.StepLR(optimizer, config.lr_steps or 2**62, config.lr_factor)
    with run.phase("prune", model=model, optimizer=optimizer, state=[weights, rates]) as phase:
        for batch in phase.batches(data.train, epochs=config.epochs, batch_size=config.batch_size):
            losses = phase.losses(model, batch)
            phase.step(weights(losses, phase.labelled), optimizer)  # Eq. (3)-(5)
            rates.step()
            follow(model, config, phase)
            phase.record(**_curves("sparsity", model.sparsity()), **_curves("beta", weights.beta))
        if not phase.finished:
            if config.theta_start is None:
                model.level(config.sparsity)  # what the last step has moved
            estimate_norms(model, data.train, batch_size=config.batch_size, seed=run.seed)
    baked = bake(model)
    return phase.result(baked, plots=plots.PLOTS, **_found(model, baked, config))


def _follow_schedule(model: Thresholded, config: Config, phase: Phase) -> None:
    """Bring the overall sparsity to what the schedule asks for at this moment (Eq. 1), and hold it in between."""
    model.center()
    if phase.step_number % SOLVED_EVERY == 0:
        model.hold(config.sparsity, phase.progress, config.reach)


def _follow_authors(model: Thresholded, config: Config, phase: Phase) -> None:
    """The released code's rule: no step of the thresholds while the target is met."""
    model.u.requires_grad_(model.sparsity()["overall"] < config.sparsity)


def _start_as_authors(model: Thresholded, config: Config, data: MultiTaskData, run: Run) -> float:
    """Start all thresholds at `theta_start`; refuse a start from which the target is out of reach. Gives their decay."""
    steps = data.train.steps(config.batch_size * run.world) * config.epochs
    travel = sum(config.theta_lr * config.lr_factor ** (i // (config.lr_steps or 2**62)) for i in range(steps))
    assert config.theta_start is not None
    with torch.no_grad():
        model.level(config.sparsity)
        needed = float(model.s)
        model.cap.fill_(20.0)
        model.s.zero_()
        model.u.fill_(config.theta_start)
    if config.theta_start + travel < needed:
        raise ValueError(
            f"`theta_start` must be at least {needed - travel:.2f} to reach {config.sparsity:.0%} in {steps} steps: Adam moves a "
            f"threshold by no more than {travel:.2f}. Got `theta_start = {config.theta_start}`."
        )
    return config.weight_decay


def _curves(name: str, values: dict[str, float]) -> dict[str, float]:
    return {f"{name}.{key}": value for key, value in values.items()}


def _found(model: Thresholded, baked: nn.Module, config: Config) -> dict[str, Any]:
    reached = sparsity(baked)
    thresholds = {
        name: {"u": u, "alpha": alpha}
        for name, u, alpha in zip(model.names, model.u.tolist(), model.alphas().tolist(), strict=True)
    }
    layers: dict[str, dict[str, float]] = {}
    sizes: dict[str, int] = {}
    for name, component in prunable(baked).items():
        weight = baked.get_parameter(name)
        layers.setdefault(component, {})[name.removesuffix(".weight")] = float((weight == 0).float().mean())
        sizes[component] = sizes.get(component, 0) + weight.numel()
    return {
        "sparsity": reached,
        "asked": config.sparsity,
        "components": {c: {"weights": n, "sparsity": reached[c], **thresholds.get(c, {})} for c, n in sizes.items()},
        "thresholds": thresholds,
        "layers": layers,
        "headline": [
            f"{100 * reached['overall']:.1f} % of the prunable weights are zero; {100 * config.sparsity:.1f} % was asked for."
        ],
    }
