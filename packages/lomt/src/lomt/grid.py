r"""The strength of the group sparsity, by trial: sparsity and metric against $\lambda$.

The paper tries ten values from 1e-4 to 1e-3, equally far apart on a logarithmic scale, and picks one by eye. What
$\lambda$ does depends on the optimizer, the number of steps and the size of the gradients, so no value fits every training.

Upadhyay et al., *Giving each task what it needs*, Section 5.1 and Figure 5.
"""

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from lomt.config import Config
from lomt.single import Setting, Sparse, layer_of, shares, train_sparse
from mtl_core import Build, Builder, MultiTaskData, Report, Run, begin, evaluate, mean_losses

PAPER = tuple(float(f"{10 ** (-4 + place / 9):.4g}") for place in range(10))
"""The paper's grid, to four digits."""


def lambda_grid(
    build: Build,
    data: MultiTaskData,
    config: Config | None = None,
    run: Run | None = None,
    lambdas: Sequence[float] = PAPER,
) -> Report:
    r"""Phase 1 for several $\lambda$, measured on the validation part (Figure 5).

    Args:
        build: The architecture.
        data: Tasks and sources, with a validation part.
        config: How to train; its `lambda_` and `lambdas` do not matter.
        run: Folder, device, seed; several ranks share the trainings out.
        lambdas: Values to try.

    Returns:
        A report: `grid` is a list with, for each value and task, `lambda`, `task`, `layer` (None where every layer is empty),
        `zero groups`, `zero weights`, `loss` and `metrics`; `chosen` is what `choose_lambda` takes, None where it refuses.

    Raises:
        ValueError: If there is no validation part.
        TypeError: If `data` or `config` is not of its type.
    """
    config = dataclasses.replace(config or Config(), lambdas=tuple(lambdas))
    run = begin(run, "lomt", config, data)
    check_validation(data)
    rows = measured(train_sparse(Builder(build, anew=True), data, config, run, config.lambdas), data, config)
    chosen = choose_lambda(rows) if usable(rows) else None
    return Report({**run.context, "phases": run.phases, "grid": rows, "chosen": chosen})


def check_validation(data: MultiTaskData) -> None:
    """Refuse data on which nothing can be chosen.

    Raises:
        ValueError: If there is no validation part.
    """
    if data.validation is None:
        raise ValueError("`data` must have a validation part to choose `lambda_` on. Got data without.")


def measured(found: Mapping[Setting, Sparse], data: MultiTaskData, config: Config) -> list[dict[str, Any]]:
    """The rows of the grid, for data with a validation part."""
    rows = []
    for setting, sparse in found.items():
        if setting.repeat == 0:
            assert data.validation is not None
            part = data.validation.select([setting.task])
            row = {"lambda": setting.lambda_, "task": setting.task, **_layer(setting, found, config)}
            row |= shares(setting.task, found, setting.lambda_)
            row |= {"loss": mean_losses(sparse.model, part)[setting.task]}
            rows.append(row | {"metrics": evaluate(sparse.model, part)[setting.task]})
    return rows


def choose_lambda(rows: Sequence[Mapping[str, Any]], tolerance: float = 0.05) -> float:
    """The largest value that costs little: most sparsity for a validation loss close to the best.

    A task's loss counts relative to its smallest one over the grid, and tasks count alike. Values at which a task has no layer
    left do not count.

    Args:
        rows: As in the report of `lambda_grid`.
        tolerance: By how much the mean relative loss may lie above its smallest value.

    Raises:
        ValueError: If at each value some task has no layer left.

    Examples:
        >>> choose_lambda([{"lambda": v, "task": "a", "empty": False, "loss": l}
        ...                for v, l in ((0.001, 1.0), (0.01, 1.02), (0.1, 2.0))])
        0.01
    """
    possible = usable(rows)
    if not possible:
        empty = sorted({row["task"] for row in rows if row["empty"]})
        raise ValueError(
            f"`lambdas` must leave each task a layer at one value at least. Got none left for {empty}: lower them."
        )
    kept = [row for row in rows if row["lambda"] in possible and not math.isnan(row["loss"])]
    best = {row["task"]: min(r["loss"] for r in kept if r["task"] == row["task"]) for row in kept}
    excess: dict[float, list[float]] = {value: [] for value in possible}
    for row in kept:
        smallest = best[row["task"]]
        excess[row["lambda"]].append(row["loss"] / smallest - 1 if smallest > 0 else 0.0)
    means = {value: sum(several) / max(1, len(several)) for value, several in excess.items()}
    limit = min(means.values()) + tolerance
    return max(value for value, mean in means.items() if mean <= limit)


def usable(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """The values at which each task has a layer left."""
    values = dict.fromkeys(row["lambda"] for row in rows)
    return [value for value in values if not any(row["empty"] for row in rows if row["lambda"] == value)]


def _layer(setting: Setting, found: Mapping[Setting, Sparse], config: Config) -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # gaps are told where the layer is really chosen
        try:
            return {"layer": layer_of(setting.task, found, config, setting.lambda_), "empty": False}
        except ValueError:
            return {"layer": None, "empty": True}
