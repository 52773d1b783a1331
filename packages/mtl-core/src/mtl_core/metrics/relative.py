r"""Relative gain of one model over another, in percent: one number for figures of many tasks and units.

$$\Delta_i = \frac{100}{|M_i|} \sum_{j \in M_i} (-1)^{l_{ij}}\, \frac{m_{ij} - b_{ij}}{b_{ij}}, \qquad
\Delta = \frac{1}{T} \sum_i \Delta_i$$

with $m$ the figures, $b$ those of the baseline, and $l_{ij} = 1$ where lower is better. Xiang et al., *AdapMTL*, Eq.
(7) (baseline: the dense multi-task model; its tables print sums over the metrics, not means); *DAG-MTL*, Eq. (10)-(11)
(baseline: single-task models).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from mtl_core.metrics.metric import Metric

Figures = Mapping[str, Mapping[str, float]]


@runtime_checkable
class Measured(Protocol):
    """What Δ needs of a `Task`: its name and its metrics."""

    @property
    def name(self) -> str:
        """Name of the task."""

    @property
    def metrics(self) -> Callable[[], Sequence[Metric]]:
        """Makes the metric objects, which know their directions."""


@dataclass(frozen=True)
class Delta:
    """Relative gains in percent; higher is better, 0 is the baseline.

    Args:
        tasks: Gain of each task, Δ_i.
        overall: Mean over the tasks, Δ.
    """

    tasks: dict[str, float]
    overall: float


def delta(
    metrics: Figures,
    baseline: Figures,
    tasks: Mapping[str, Measured] | Iterable[Measured],
    reduction: Literal["mean", "sum"] = "mean",
) -> Delta:
    """Compare figures with those of a baseline, in percent.

    All figures that a task's metrics give enter; each one's direction is the metric's. A figure that is NaN (nothing
    was labelled) makes its task's gain NaN.

    Args:
        metrics: Figures by task and metric, as `evaluate` gives them.
        baseline: The same figures of the baseline; none of them 0.
        tasks: The tasks to compare.
        reduction: Over a task's metrics: "mean" is the formula, "sum" compares with AdapMTL's printed tables. Over the
            tasks it is always the mean.

    Raises:
        ValueError: If a task or a metric is missing on either side, a baseline figure is 0, a task has no metric, there
            is no task, or `reduction` is another word.

    Examples:
        >>> from mtl_core.task import depth
        >>> ours = {"depth": dict(absolute_error=0.4, relative_error=0.2, delta_1=0.6, delta_2=0.8, delta_3=0.9)}
        >>> dense = {"depth": dict(absolute_error=0.5, relative_error=0.2, delta_1=0.6, delta_2=0.8, delta_3=0.9)}
        >>> round(delta(ours, dense, [depth("depth")]).overall, 6)  # 20 % in one of five metrics
        4.0
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f'`reduction` must be "mean" or "sum". Got `reduction = {reduction!r}`.')
    gains = {}
    for task in tasks.values() if isinstance(tasks, Mapping) else tasks:
        directions = {name: higher for metric in task.metrics() for name, higher in metric.higher_is_better.items()}
        if not directions:
            raise ValueError(
                f"`tasks` must have metrics to be compared. Got `tasks` with task `{task.name}`, which has none."
            )
        terms = []
        for name, higher in directions.items():
            m, b = _figure("metrics", metrics, task.name, name), _figure("baseline", baseline, task.name, name)
            if b == 0:
                raise ValueError(
                    f"`baseline` must not be 0: there is no gain relative to 0. Got `{name} = 0` of task `{task.name}`."
                )
            # |b|: the same for every figure of ours; under a user's negative figure, higher stays higher.
            terms.append((1 if higher else -1) * (m - b) / abs(b))
        gains[task.name] = 100 * sum(terms) / (len(terms) if reduction == "mean" else 1)  # Eq. (7)
    if not gains:
        raise ValueError("`tasks` must hold at least one task. Got `tasks` without any.")
    return Delta(tasks=gains, overall=sum(gains.values()) / len(gains))


def _figure(side: str, figures: Figures, task: str, name: str) -> float:
    if task not in figures:
        raise ValueError(f"`{side}` must hold the task `{task}`. Got `{side}` with only {sorted(figures)}.")
    if name not in figures[task]:
        held = sorted(figures[task])
        raise ValueError(f"`{side}` must hold the metric `{name}` of task `{task}`. Got `{side}` with only {held}.")
    return figures[task][name]
