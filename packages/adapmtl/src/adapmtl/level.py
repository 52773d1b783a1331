r"""The overall sparsity that is asked for, and the level of the thresholds that gives it.

The paper asks for the sparsity as a constraint (Eq. 1) and names no force that raises $\theta$. Here
$\theta_c = u_c + s(t)$: the differences $u_c$ are learned, and the common level $s$ is solved for, so that the share of zeros
follows

$$\text{asked} \cdot \Big(1 - \big(1 - \tfrac{t}{t_1}\big)^3\Big), \qquad t < t_1,$$

and is held from $t_1$ on. The schedule is that of Zhu and Gupta, *To prune, or not to prune* (2017).
"""

import math
from collections.abc import Callable
from statistics import NormalDist

LOW, HIGH = -60.0, 20.0
"""Levels between which thresholds are looked for: sigmoid(-60) = 9e-27 prunes zeros alone, sigmoid(20) is 1 in float32."""


def asked_sparsity(asked: float, t: float, reach: float = 0.7) -> float:
    """Overall sparsity that is asked for at the time `t`.

    Args:
        asked: Sparsity at the end, a share in [0, 1).
        t: Part of the training that is over, from 0 to 1.
        reach: Part of the training after which `asked` is reached and held, $t_1$; in (0, 1].

    Raises:
        ValueError: If an argument is out of its range.

    Examples:
        >>> [round(asked_sparsity(0.8, t, reach=0.5), 3) for t in (0.0, 0.25, 0.5, 1.0)]
        [0.0, 0.7, 0.8, 0.8]
    """
    check_share("asked", asked)
    if not 0 <= t <= 1:
        raise ValueError(f"`t` must be in [0, 1]. Got `t = {t}`.")
    if not 0 < reach <= 1:
        raise ValueError(f"`reach` must be in (0, 1]. Got `reach = {reach}`.")
    return asked * (1 - (1 - t / reach) ** 3) if t < reach else asked


def check_share(name: str, value: float) -> None:
    """Refuse what is not a share in [0, 1).

    Raises:
        ValueError: If it is not.
    """
    if not 0 <= value < 1:
        raise ValueError(f"`{name}` must be a share in [0, 1). Got `{name} = {value}`.")


def solve(count: Callable[[float], int], least: int, most: int, size: int, start: float) -> tuple[float, float]:
    r"""Find a level at which an increasing count lies between `least` and `most`.

    Bisection with secant steps. They are taken in $\log \Phi^{-1}(\tfrac{1 + \text{share}}{2})$: for normally distributed
    weights and a small $\alpha = \sigma(\theta)$ this grows as $\theta$ does, so that from a level nearby two counts are enough.

    Args:
        count: Level -> count, increasing; of any shape, jumps included.
        least: Smallest count that is good enough.
        most: Largest count that is good enough.
        size: What is counted in all.
        start: Level to start from: the one found before.

    Returns:
        The same level twice; or, where the count jumps over the wanted range, the levels on both sides of the jump; or
        `LOW` or `HIGH` twice, where the count is too large or too small at all levels.

    Examples:
        >>> solve(lambda theta: int(10 * theta), least=37, most=37, size=100, start=1.0)[0] // 0.1
        37.0
    """

    def scale(number: float) -> float:
        return math.log(NormalDist().inv_cdf(0.5 + 0.5 * min(max(number, 0.5), size - 0.5) / size))

    low, high = LOW, HIGH
    goal = scale((least + most) / 2)
    theta = min(max(start, low), high)
    slope, before = 1.0, None
    for step in range(120):
        reached = count(theta)
        if least <= reached <= most:
            return theta, theta
        low, high = (theta, high) if reached < least else (low, theta)
        if high - low <= 1e-7 * max(1.0, abs(low)):  # a jump, or an end that is not enough
            break
        gap = scale(reached) - goal
        if before is not None and (gap - before[1]) * (theta - before[0]) > 0:
            slope = (gap - before[1]) / (theta - before[0])
        before = theta, gap
        theta = min(max(theta - gap / slope, LOW), HIGH)
        if step % 8 == 7 or not (
            low < theta < high or theta == low == LOW or theta == high == HIGH
        ):  # and every eighth
            theta = (low + high) / 2
    return low, high
