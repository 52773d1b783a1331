r"""The procedure: each task alone under group sparsity finds its layer, then one model with each decoder at its layer.

Phase 1, for each task: $\min_\theta L(\theta) + R(\theta_b)$ by proximal steps, $\theta_b$ the backbone's convolutions.
Phase 2, from new weights: $\min \sum_t \tfrac12 e^{-s_t} L_t + \tfrac12 s_t$ with learned $s_t = \log\sigma_t^2$.
Nothing but the chosen layers passes from one phase to the other.

Upadhyay et al., *Giving each task what it needs*, Section 3.
"""

import warnings
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from lomt import plots
from lomt.attach import attach, compression, prefix_parameters, shared
from lomt.branch import after_activation, main_branch
from lomt.config import Config
from lomt.grid import check_validation, choose_lambda, measured
from lomt.single import Setting, Sparse, layer_of, shares, train_sparse
from mtl_core import Build, Builder, MultiTaskData, Result, Run, TaskGroups, begin, estimate_norms, weighting
from mtl_core.components import check_names
from mtl_core.cut import OUTPUT

NO_WAY_ROUND = (
    "The backbone has no way round its layers (no residual connections): an empty layer would cut the signal, so none becomes "
    "empty, and every task takes the last one. Choose a backbone with by-passes."
)


def fit(build: Build, data: MultiTaskData, config: Config | None = None, run: Run | None = None) -> Result:
    """Find each task's layer by group sparsity, and train a multi-task model with each decoder at its layer.

    Args:
        build: The architecture: gives a `SharedBackbone`, with an `example` if the result is to be loaded again.
        data: Tasks and their sources.
        config: What to ask for, and how to train.
        run: Folder, device, seed; default nothing on disk. Several ranks share the tasks of phase 1 out.

    Returns:
        The multi-task model. The report holds `layers` (`"output"` where a task takes the backbone's own output), `sparsity`
        (of each task's network), `compression` (Table 5), and the curves over the training.

    Raises:
        ValueError: If a task has no layer left at this `lambda_`, the backbone cannot be traced and does not give its
            layers, it has no convolution, or `lambdas` are given without validation data.
        TypeError: If `build` gives no `SharedBackbone`, or `data` or `config` is not of its type.
    """
    config = config or Config()
    run = begin(run, "lomt", config, data)
    builder = Builder(build, anew=True)
    backbone = _check(builder, data, config, run)
    sparse = train_sparse(builder, data, config, run, config.lambdas or (config.lambda_,))  # Phase 1, Eq. (1)-(3)
    rows = measured(sparse, data, config) if config.lambdas else []
    lambda_ = choose_lambda(rows) if rows else config.lambda_
    layers = {task: layer_of(task, sparse, config, lambda_) for task in data.tasks}
    model = _train_attached(builder, data, layers, config, run)  # Phase 2
    found = _found(layers, sparse, lambda_, backbone, config)
    if rows:
        found |= {"grid": rows}
    return run.result(model, plots=plots.PLOTS, **found)


def fit_sparse(build: Build, data: MultiTaskData, config: Config | None = None, run: Run | None = None) -> Result:
    """Phase 1 alone: a network of its own for each task, trained under group sparsity.

    In the folder of a `fit` with the same configuration it loads what that has trained.

    Args:
        build: The architecture.
        data: Tasks and their sources.
        config: How to train; `lambdas` do not matter, and of several seeds the first one's networks are given.
        run: Folder, device, seed; several ranks share the tasks out.

    Returns:
        A `TaskGroups` with one group a task; the report holds `layers`, `sparsity` and `compression` as that of `fit`.

    Raises:
        ValueError: If a task has no layer left at this `lambda_`, or the architecture is refused as by `fit`.
        TypeError: If `build` gives no `SharedBackbone`, or `data` or `config` is not of its type.
    """
    config = config or Config()
    run = begin(run, "lomt", config, data)
    check_names("tasks", data.tasks, "head", "stem")
    builder = Builder(build, anew=True)
    backbone = _check(builder, data, config, run)
    sparse = train_sparse(builder, data, config, run, (config.lambda_,))
    layers = {task: layer_of(task, sparse, config, config.lambda_) for task in data.tasks}
    model = TaskGroups({task: sparse[Setting(task, config.lambda_)].model for task in data.tasks})
    return run.result(model, plots=plots.PLOTS, **_found(layers, sparse, config.lambda_, backbone, config))


def fit_attached(
    build: Build,
    data: MultiTaskData,
    layers: Mapping[str, str | None],
    config: Config | None = None,
    run: Run | None = None,
) -> Result:
    """Phase 2 alone: a multi-task model with decoders at layers that are known.

    Args:
        build: The architecture: gives a `SharedBackbone`.
        data: Tasks and their sources.
        layers: Layer by task; None or `"output"`, or no entry: the backbone's own output.
        config: How to train.
        run: Folder, device, seed.

    Returns:
        The multi-task model; the report holds `layers` and `compression`.

    Raises:
        ValueError: If a task or a layer is not there, or the backbone can neither be traced nor gives its layers.
        TypeError: If `build` gives no `SharedBackbone`, or `data` or `config` is not of its type.
    """
    config = config or Config()
    run = begin(run, "lomt", config, data)
    run.context["layers"] = {task: layer or OUTPUT for task, layer in layers.items()}
    taps = {task: None if layer == OUTPUT else layer for task, layer in layers.items()}
    builder = Builder(build, anew=True)
    with run.seeded("trial"):
        backbone = shared(builder(data.tasks)).backbone
    model = _train_attached(builder, data, taps, config, run)
    wanted = {task: taps.get(task) for task in data.tasks}
    saved = compression(_sizes(backbone, wanted, config), prefix_parameters(backbone, None))
    return run.result(model, layers={task: layer or OUTPUT for task, layer in wanted.items()}, compression=saved)


def _check(builder: Builder, data: MultiTaskData, config: Config, run: Run) -> nn.Module:
    """Refuse before phase 1 what phase 2 could not build, and say what phase 1 cannot find; gives a backbone."""
    if config.lambdas:
        check_validation(data)
    with run.seeded("trial"):
        backbone = shared(builder(data.tasks)).backbone
        branch = main_branch(backbone, config.layers)
        attach(builder, data.tasks, dict.fromkeys(data.tasks, branch.layers[0]), _example(data), tap=config.tap)
    if branch.bypassed is False:
        warnings.warn(NO_WAY_ROUND, stacklevel=3)
    return backbone


def _train_attached(
    builder: Builder, data: MultiTaskData, layers: Mapping[str, str | None], config: Config, run: Run
) -> nn.Module:
    """Phase 2: from new weights, with uncertainty weighting."""
    with run.seeded("model"):
        model = run.place(attach(builder, data.tasks, layers, _example(data), tap=config.tap))
    weights = weighting.Uncertainty(data.tasks)
    groups = [{"params": list(model.parameters())}, {"params": list(weights.parameters()), "weight_decay": 0.0}]
    optimizer = config.optimizer(groups, lr=config.lr, weight_decay=config.weight_decay)
    with run.phase("joint", model=model, optimizer=optimizer, state=[weights]) as phase:
        for batch in phase.batches(data.train, epochs=config.epochs, batch_size=config.batch_size):
            losses = phase.losses(model, batch)
            phase.step(weights(losses, phase.labelled), optimizer)
        if not phase.finished:
            estimate_norms(model, data.train, batch_size=config.batch_size, seed=run.seed)
    return model


def _found(
    layers: Mapping[str, str | None],
    sparse: Mapping[Setting, Sparse],
    lambda_: float,
    backbone: nn.Module,
    config: Config,
) -> dict[str, Any]:
    sizes = _sizes(backbone, layers, config)
    saved = compression(sizes, prefix_parameters(backbone, None))
    sparsity = {task: {**shares(task, sparse, lambda_), "parameters to the layer": sizes[task]} for task in layers}
    return {
        "layers": {task: layer or OUTPUT for task, layer in layers.items()},
        "lambda": lambda_,
        "sparsity": sparsity,
        "compression": saved,
        "headline": _headline(layers, sparsity, saved, lambda_, main_branch(backbone, config.layers).bypassed),
    }


def _headline(
    layers: Mapping[str, str | None],
    sparsity: Mapping[str, Mapping[str, Any]],
    saved: Mapping[str, float],
    lambda_: float,
    bypassed: bool | None,
) -> list[str]:
    """What was found, in sentences."""
    groups = ", ".join(f"{task} {100 * found['zero groups']:.0f} %" for task, found in sparsity.items())
    said = [f"At lambda {lambda_:g} group sparsity has emptied of the channels: {groups}."]
    if not any(found["zero groups"] for found in sparsity.values()):
        said.append("No group became zero: `lambda_` is too small for this training.")
    if any(layers.values()):
        places = "; ".join(f"{task} at {layer or 'the output'}" for task, layer in layers.items())
        said.append(f"Decoders: {places}. (Plain multi-task learning: all at the output.)")
    else:
        said.append("No layer became empty: every decoder is at the output, as in plain multi-task learning.")
    said.append(
        f"The backbone has {saved['parameters']:,} parameters, 1/{saved['against multi-task']:.2f} of the whole one and "
        f"1/{saved['against single-task']:.2f} of a whole one for each task."
    )
    return said + ([NO_WAY_ROUND] if bypassed is False else [])


def _sizes(backbone: nn.Module, layers: Mapping[str, str | None], config: Config) -> dict[str, int]:
    """Parameters of the backbone up to each task's tap."""
    taps = dict(layers)
    if config.tap == "activated":
        taps = {task: layer and after_activation(backbone, layer) for task, layer in layers.items()}
    return {task: prefix_parameters(backbone, tap) for task, tap in taps.items()}


def _example(data: MultiTaskData) -> Tensor:
    """One input of the training part."""
    inputs: Tensor = next(data.train.views(1)).inputs
    return inputs
