r"""The procedure: warm up all layers, search each task's connections, reduce, fine-tune what is left.

Warm-up: $\min_\Theta \mathcal L_{task} = \sum_k \mathcal L_{T_k}$ with $\alpha = \beta = \gamma = 0$, frozen.
Search, both levels at once: $\min_{\Theta, \mathcal A, \mathcal B, \Gamma} \mathcal L_{task} + \lambda_{sq} \mathcal L_{sq}$.
Fine-tuning: $\min_\Theta \mathcal L_{task}$ with what the reduction leaves in place of the sigmoids,
$\hat\alpha, \hat\beta, \hat\gamma \in \{0, 1\}$.

Choi and Im, *Dynamic Neural Network for Multi-Task Learning Searching across Diverse Network
Topologies*, Section 3.2, Eq. (7)-(9).
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from dagmtl import plots
from dagmtl.config import Config
from dagmtl.discrete import DiscreteNetwork
from dagmtl.network import CentralNetwork
from dagmtl.reduction import Subgraph
from dagmtl.squeeze import squeeze_loss
from dagmtl.topology import depth, shared_layers, skip_lengths, sparsity, width
from mtl_core import Builder, MultiTaskData, Result, Run, Task, begin, weighting

Space: TypeAlias = Callable[[dict[str, Task], int | None], CentralNetwork]
"""`space(tasks, flow) -> CentralNetwork`: makes a new network of all layers for exactly these tasks at each call."""


def fit(space: Space, data: MultiTaskData, config: Config | None = None, run: Run | None = None) -> Result:
    """Find a graph of shared layers for each task, and train the network of these graphs.

    Args:
        space: All layers that there are to choose from, `space(tasks, flow) -> CentralNetwork`.
        data: Tasks and their sources.
        config: How much to choose from, what to spend, how to train.
        run: Folder, device, seed; default nothing on disk.

    Returns:
        The network of what is left, a `DiscreteNetwork`. The report holds `paths` (each task's subgraph), `topology` (its depth,
        width and sparsity), `size` (parameters against one encoder), `evaluations` of layers, what tasks share, and the
        weights of the connections that were found.

    Raises:
        ValueError: If the space is not of these tasks, has fewer than two states, or is built of the same modules twice.
        TypeError: If `space` gives no `CentralNetwork`, or `data` or `config` is not of its type.
    """
    config = config or Config()
    run = begin(run, "dagmtl", config, data)
    build = _Spaces(space, data, config)
    with run.seeded("model"):
        central = run.place(build())
    _search(central, data, config, run)  # Eq. (7)-(9)
    subgraphs = {task: config.reduction(*central.matrices(task)) for task in data.tasks}  # Algorithm 1
    start = central
    if config.reinitialise:
        with run.seeded("fine-tune"):
            start = run.place(build())
    network = _finetune(start, subgraphs, data, config, run)
    return run.result(network, plots=plots.PLOTS, **_found(central, network, subgraphs))


def search(space: Space, data: MultiTaskData, config: Config | None = None, run: Run | None = None) -> CentralNetwork:
    """The first two stages alone: the network of all layers, with the weights of connections that were found.

    In the folder of a `fit` with the same configuration it loads what that has trained.

    Args:
        space: As for `fit`.
        data: As for `fit`.
        config: As for `fit`.
        run: As for `fit`.

    Raises:
        ValueError: As `fit`.
        TypeError: As `fit`.
    """
    config = config or Config()
    run = begin(run, "dagmtl", config, data)
    with run.seeded("model"):
        central = run.place(_Spaces(space, data, config)())
    _search(central, data, config, run)
    return central.eval()


def finetune(
    central: CentralNetwork,
    subgraphs: Mapping[str, Subgraph],
    data: MultiTaskData,
    config: Config | None = None,
    run: Run | None = None,
) -> Result:
    """The last stage alone: the network of subgraphs that are known, trained on from the weights of the search.

    Args:
        central: What `search` gives; it is not changed.
        subgraphs: What a reduction leaves, by task.
        data: As for `fit`.
        config: As for `fit`.
        run: As for `fit`.

    Returns:
        As `fit`.

    Raises:
        ValueError: If a task has no subgraph, or one through which nothing gets.
        TypeError: If `data` or `config` is not of its type.
    """
    config = config or Config()
    run = begin(run, "dagmtl", config, data)
    network = _finetune(central, subgraphs, data, config, run)
    return run.result(network, plots=plots.PLOTS, **_found(central, network, subgraphs))


def _search(central: CentralNetwork, data: MultiTaskData, config: Config, run: Run) -> None:
    """Warm-up and search."""
    ends = _ends(central, config)
    theta = [p for name, p in central.named_parameters() if not name.startswith("upper.")]
    lower = {"params": theta, "lr": config.lr, "weight_decay": config.weight_decay}
    if config.warmup_epochs:
        central.upper.requires_grad_(False)
        optimizer = torch.optim.Adam([lower], fused=True)
        with run.phase("warm-up", model=central, optimizer=optimizer) as phase:
            for batch in phase.batches(data.train, epochs=config.warmup_epochs, batch_size=config.batch_size):
                phase.step(weighting.equal(phase.losses(central, batch), phase.labelled), optimizer)  # Eq. (7)
        central.upper.requires_grad_(True)
    kappa = central.N - 1 if config.kappa is None else config.kappa
    upper = {"params": list(central.upper.parameters()), "lr": config.upper_lr, "weight_decay": 0.0}
    optimizer = torch.optim.Adam([lower, upper], fused=True)
    with run.phase("search", model=central, optimizer=optimizer) as phase:
        for batch in phase.batches(data.train, epochs=config.search_epochs, batch_size=config.batch_size):
            loss = weighting.equal(phase.losses(central, batch), phase.labelled)
            # A task without a label in the step says nothing about its layers: squeezed alone they would only vanish.
            present = [task for task, count in phase.labelled.items() if count]
            if present and config.lambda_sq:
                loss = loss + config.lambda_sq * squeeze_loss(central.gamma(present), kappa)  # Eq. (8)
            phase.step(loss, optimizer)
            if phase.ends_epoch:
                phase.record(**_layers_in_use(central))
    _warn_of_what_has_not_moved(ends, _ends(central, config))


def _finetune(
    central: CentralNetwork, subgraphs: Mapping[str, Subgraph], data: MultiTaskData, config: Config, run: Run
) -> DiscreteNetwork:
    network = run.place(central.discrete(subgraphs))
    run.context["paths"] = network.paths
    optimizer = torch.optim.Adam(network.parameters(), config.lr, weight_decay=config.weight_decay, fused=True)
    with run.phase("fine-tune", model=network, optimizer=optimizer) as phase:
        for batch in phase.batches(data.train, epochs=config.epochs, batch_size=config.batch_size):
            phase.step(weighting.equal(phase.losses(network, batch), phase.labelled), optimizer)  # Eq. (7)
    return network


class _Spaces:
    """The user's space, checked: made anew at each call, and of the data's tasks."""

    def __init__(self, space: Space, data: MultiTaskData, config: Config) -> None:
        self._build, self._tasks, self._config = Builder(lambda tasks: space(tasks, config.flow)), data.tasks, config

    def __call__(self) -> CentralNetwork:
        central: nn.Module = self._build(self._tasks)
        if not isinstance(central, CentralNetwork):
            raise TypeError(f"`space` must give a `CentralNetwork`. Got {type(central).__name__}.")
        if list(central.tasks) != list(self._tasks):
            raise ValueError(f"`space` must be of the tasks {list(self._tasks)}. Got {list(central.tasks)}.")
        central.ends_open = self._config.read_in_out
        return central


def _layers_in_use(central: CentralNetwork) -> dict[str, float]:
    r"""What the squeeze loss counts, $\sum_{ij} \sigma(\gamma_{ij}^k)$, by task."""
    with torch.no_grad():
        sums = torch.sigmoid(central.gamma(list(central.tasks))).sum(1).tolist()
    return dict(zip(central.tasks, sums, strict=True))


def _ends(central: CentralNetwork, config: Config) -> dict[tuple[str, str], Tensor]:
    """A copy of each task's α and β, where they have a part in it."""
    upper: Mapping[str, Any] = dict(central.upper.items()) if config.read_in_out else {}
    several = [
        ((task, name), values) for task, one in upper.items() for name, values in (("α", one.alpha), ("β", one.beta))
    ]
    return {key: values.detach().clone() for key, values in several}


def _warn_of_what_has_not_moved(
    before: Mapping[tuple[str, str], Tensor], after: Mapping[tuple[str, str], Tensor]
) -> None:
    still = [key for key, values in after.items() if torch.equal(values, before[key])]
    for task in dict.fromkeys(task for task, _ in still):
        names = " and ".join(name for other, name in still if other == task)
        warnings.warn(
            f"Task `{task}`: {names} did not move in the search, so its graph says nothing: the reduction begins at the largest "
            "of them, here the first state. Search longer, or look whether the task's labels are in the batches.",
            stacklevel=4,
        )


def _found(central: CentralNetwork, network: DiscreteNetwork, subgraphs: Mapping[str, Subgraph]) -> dict[str, Any]:
    live = {task: subgraphs[task].live() for task in network.tasks}
    topology = {
        task: {"depth": depth(g), "width": width(g), "sparsity": sparsity(g), "of complete": sparsity(g, complete=True)}
        for task, g in live.items()
    }
    layers = {task: path["layers"] for task, path in network.paths.items()}
    encoder, kept = central.encoder_parameters(), network.encoder_parameters()
    alone = {task: network.evaluations([task]) for task in network.tasks}
    weights = {task: dict(zip(("gamma", "alpha", "beta"), central.matrices(task), strict=True)) for task in live}
    parameters = {"encoder": encoder, "kept": kept, "relative": kept / encoder}
    evaluations = {"together": network.evaluations(), "alone": alone}
    return {
        "states": central.N,
        "flow": central.flow,
        "topology": topology,
        "size": parameters,
        "evaluations": evaluations,
        "shared layers": {f"{one}, {other}": n for (one, other), n in shared_layers(layers).items()},
        "skip lengths": skip_lengths(layers),
        "weights": weights,
        "headline": _headline(central, topology, parameters, evaluations),
    }


def _headline(
    central: CentralNetwork,
    topology: Mapping[str, Mapping[str, Any]],
    parameters: Mapping[str, Any],
    evaluations: Mapping[str, Any],
) -> list[str]:
    """What was found, in sentences."""
    alone = sum(evaluations["alone"].values())
    graphs = "; ".join(f"{task} {f['depth']} deep, {f['width']} wide" for task, f in topology.items())
    return [
        f"Of {len(central.layers)} layers between {central.N} states (M = {central.flow}): {graphs}.",
        f"The encoder has {parameters['kept']:,} parameters, {parameters['relative']:.2f} of one single-task encoder.",
        f"All tasks together compute {evaluations['together']} layers; each for itself, they would compute {alone}.",
    ]
