"""The proximal operators: worked examples, loops over groups, optimality, scales, edges."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lomt import group_norms, group_size, penalty, prox_group_lasso, prox_group_lasso_weighted
from lomt.prox import groups_of

F64 = torch.float64


def column(*values: float) -> torch.Tensor:
    """One group of weights: one input channel."""
    return torch.tensor(values, dtype=F64).reshape(-1, 1, 1, 1)


def groups(W: torch.Tensor, group: str = "in", conv_groups: int = 1) -> list[torch.Tensor]:
    """The groups by their definition, one by one, as views."""
    if group == "out":
        return list(W)
    out, each = len(W) // conv_groups, W.shape[1]
    return [W[(c // each) * out : (c // each + 1) * out, c % each] for c in range(each * conv_groups)]


def looped(W, threshold, group="in", conv_groups=1):
    """Eq. (3), group by group, with the threshold corrected."""
    W = W.clone()
    for part in groups(W, group, conv_groups):
        norm = part.norm()
        part *= max(0.0, 1 - threshold / norm) if norm > 0 else 0.0
    return W


def bisected(theta, D, tau):
    """The weighted operator of one group by bisection, the plain way to its length."""
    pull = (D * theta).norm()
    if pull <= tau:
        return torch.zeros_like(theta)
    low, high = (pull - tau) / D.max(), theta.norm()
    for _ in range(120):
        middle = (low + high) / 2
        if ((theta / (middle + tau / D)) ** 2).sum() > 1:
            low = middle
        else:
            high = middle
    return theta * low / (low + tau / D)


def random_case(seed, *, spread=2.0, scale=0.0, dtype=F64, shape=(6, 5, 3, 3)):
    """Weights and a metric of `spread` decades within a group, times 10 to `scale`; a threshold that some groups survive."""
    g = torch.Generator().manual_seed(seed)
    W = torch.randn(shape, generator=g, dtype=F64) * 10**scale
    D = 10 ** (spread * (torch.rand(shape, generator=g, dtype=F64) - 0.5))
    W, D = W.to(dtype), D.to(dtype)
    pull = group_norms(D.double() * W.double())
    share = torch.rand(len(pull), generator=g, dtype=F64) * 1.2
    share[share.sub(1).abs() < 0.02] = 0.5  # at the border itself the result hangs on the last digit of the input
    return W, D, (share * pull).to(dtype)


def test_worked_example() -> None:
    """θ = (3, 4), τ = 1: its norm is 5, so a fifth is taken off."""
    assert torch.allclose(prox_group_lasso(column(3, 4), 1.0), column(2.4, 3.2))


def test_worked_example_under_a_metric() -> None:
    """θ = (3, 4), D = (1, 2), τ = 1: u = (2.437842, 3.586485), of norm 4.336583."""
    u = prox_group_lasso_weighted(column(3, 4), column(1, 2), 1.0)
    assert torch.allclose(u, column(2.437842, 3.586485), atol=5e-7)
    assert float(u.norm()) == pytest.approx(4.336583, abs=5e-7)


def test_groups_are_input_channels_or_on_demand_output_channels() -> None:
    """One output channel that reads two inputs: two groups of one weight, or one group of two."""
    W = torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1)
    assert torch.allclose(prox_group_lasso(W, 1.0, group="in").flatten(), torch.tensor([2.0, 3.0]))
    assert torch.allclose(prox_group_lasso(W, 1.0, group="out").flatten(), torch.tensor([2.4, 3.2]))


@pytest.mark.parametrize("conv_groups", [1, 2, 6])
@pytest.mark.parametrize("group", ["in", "out"])
def test_equals_the_loop_over_groups(group, conv_groups) -> None:
    """Ordinary, grouped and depthwise convolutions."""
    W = torch.randn(6, 6 // conv_groups, 3, 3, dtype=F64, generator=torch.Generator().manual_seed(1))
    given = 1 if group == "out" else conv_groups
    norms = torch.stack([part.norm() for part in groups(W, group, given)])
    assert torch.allclose(group_norms(W, group, conv_groups), norms)
    assert group_size(W, group, conv_groups) * len(norms) == W.numel()
    threshold = float(norms.median())
    assert torch.allclose(prox_group_lasso(W, threshold, group, conv_groups), looped(W, threshold, group, given))


@pytest.mark.parametrize("conv_groups", [1, 2, 6])
@pytest.mark.parametrize("group", ["in", "out"])
def test_equals_bisection_group_by_group(group, conv_groups) -> None:
    """The operator under a metric, with a threshold for each group."""
    W, D, _ = random_case(2, shape=(6, 6 // conv_groups, 3, 3))
    given = 1 if group == "out" else conv_groups
    tau = 0.6 * torch.stack(
        [(d * w).norm() for w, d in zip(groups(W, group, given), groups(D, group, given), strict=True)]
    )
    tau[0] *= 2
    u = prox_group_lasso_weighted(W, D, tau, group, conv_groups)
    parts = (groups(x, group, given) for x in (u, W, D))
    for found, theta, d, t in zip(*parts, tau, strict=True):
        assert torch.allclose(found, bisected(theta, d, t), rtol=1e-11, atol=0)
    assert not groups(u, group, given)[0].any()
    assert groups(u, group, given)[1].any()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**20), scale=st.floats(-6, 6), spread=st.floats(0, 6), metric=st.floats(-6, 6))
def test_zero_is_in_the_subdifferential_at_the_result(seed, scale, spread, metric) -> None:
    """D(u − θ) + τ u/‖u‖ = 0 where u is not zero, and ‖Dθ‖ ≤ τ where it is; at any other point of the group it is not."""
    W, D, tau = random_case(seed, scale=scale, spread=spread)
    D, tau = D * 10**metric, tau * 10**metric
    for u, weights in ((prox_group_lasso_weighted(W, D, tau), D), (prox_group_lasso(W, tau), torch.ones_like(D))):
        for part, theta, d, t in zip(groups(u), groups(W), groups(weights), tau, strict=True):
            if not part.any():
                assert (d * theta).norm() <= t * (1 + 1e-12)
                continue
            gradient = d * (part - theta) + t * part / part.norm()
            assert gradient.norm() <= 1e-11 * (d * theta).norm()
            elsewhere = d * (1.01 * part - theta) + t * part / part.norm()
            assert elsewhere.norm() > 1e-4 * (d * part).norm()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (F64, 1e-12)])
@pytest.mark.parametrize("scale", [-6, 0, 6])
def test_the_weighted_operator_has_the_digits_of_its_type(dtype, tolerance, scale) -> None:
    """Each weight, against bisection in float64, over twelve decades."""
    for seed in range(6):
        W, D, tau = random_case(seed, scale=scale, dtype=dtype)
        u = prox_group_lasso_weighted(W, D, tau)
        for found, theta, d, t in zip(*(groups(x) for x in (u, W, D)), tau, strict=True):
            exact = bisected(theta.double(), d.double(), t.double())
            assert torch.allclose(found.double(), exact, rtol=20 * tolerance if dtype is F64 else tolerance, atol=0)


def test_in_float32_little_that_is_left_is_right() -> None:
    """A group that keeps a thousandth has its length from a small difference of large numbers."""
    theta, D, _ = random_case(3, dtype=torch.float32, shape=(512, 4, 3, 3))
    tau = 0.999 * group_norms(D * theta)
    u = prox_group_lasso_weighted(theta, D, tau)
    for found, w, d, t in zip(*(groups(x) for x in (u, theta, D)), tau, strict=True):
        assert torch.allclose(found.double(), bisected(w.double(), d.double(), t.double()), rtol=1e-6, atol=0)


def test_a_constant_metric_is_the_plain_operator_with_another_threshold() -> None:
    """D = 4 everywhere shrinks by τ/4."""
    W, _, _ = random_case(4)
    assert torch.allclose(prox_group_lasso_weighted(W, torch.full_like(W, 4.0), 6.0), prox_group_lasso(W, 1.5))


@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_threshold_zero_is_the_identity(dtype) -> None:
    """Bit for bit, also where a group is zero already."""
    W, D, _ = random_case(5, dtype=dtype)
    W[:, 2] = 0
    assert torch.equal(prox_group_lasso(W, 0.0), W)
    assert torch.equal(prox_group_lasso_weighted(W, D, 0.0), W)


@pytest.mark.parametrize("threshold", [0.0, 0.1])
def test_a_zero_group_stays_zero(threshold) -> None:
    """Neither NaN nor a revival."""
    W, D, _ = random_case(6)
    W[:, 1] = 0
    for u in (prox_group_lasso(W, threshold), prox_group_lasso_weighted(W, D, threshold)):
        assert not u[:, 1].any()
        assert bool(torch.isfinite(u).all())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**20))
def test_the_operator_brings_points_no_further_apart(seed) -> None:
    """A proximal operator is nonexpansive in its own metric."""
    W, D, tau = random_case(seed)
    V, _, _ = random_case(seed + 1)
    distance = ((W - V) ** 2).sum().sqrt()
    assert (prox_group_lasso(W, tau) - prox_group_lasso(V, tau)).norm() <= distance * (1 + 1e-12)
    weighted = prox_group_lasso_weighted(W, D, tau) - prox_group_lasso_weighted(V, D, tau)
    assert (D * weighted**2).sum() <= (D * (W - V) ** 2).sum() * (1 + 1e-9)


def test_the_penalty_is_the_sum_over_groups() -> None:
    """λ √N_g ‖θ^g‖, summed; doubling λ doubles it."""
    W, _, _ = random_case(7)
    by_hand = sum(0.5 * math.sqrt(54) * float(part.norm()) for part in groups(W))
    assert float(penalty(W, 0.5)) == pytest.approx(by_hand)
    assert float(penalty(W, 1.0)) == pytest.approx(2 * by_hand)


def test_a_convolution_tells_its_groups_itself() -> None:
    """A transposed one keeps its input channels on the first axis."""
    grouped = torch.nn.Conv2d(4, 6, 3, groups=2)
    assert groups_of(grouped) == (grouped.weight, "in", 2)
    assert groups_of(grouped, "out") == (grouped.weight, "out", 1)
    transposed = torch.nn.ConvTranspose2d(4, 6, 3, groups=2)
    assert len(group_norms(*groups_of(transposed))) == 4
    assert len(group_norms(*groups_of(transposed, "out"))) == 6


def test_weights_of_any_number_of_axes_have_groups() -> None:
    """One axis of positions, or three."""
    assert group_norms(torch.ones(4, 3, 5)).shape == group_norms(torch.ones(4, 3, 2, 2, 2)).shape == (3,)


@pytest.mark.parametrize(
    "operator", [prox_group_lasso, lambda W, *a, **k: prox_group_lasso_weighted(W, torch.ones_like(W), *a, **k)]
)
@pytest.mark.parametrize(
    ("threshold", "options", "message"),
    [
        (-1.0, {}, r"`threshold` must be >= 0. Got `threshold = -1.0`"),
        (float("nan"), {}, r"`threshold` must be >= 0"),
        (torch.ones(3), {}, r"`threshold` must be a number, or one per group \(2\). Got \[3\]"),
        (1.0, {"group": "all"}, r"`group` must be \"in\" or \"out\". Got `group = 'all'`"),
        (1.0, {"conv_groups": 3}, r"`conv_groups` must divide the 4 output channels. Got `conv_groups = 3`"),
    ],
)
def test_what_is_not_usable_is_refused(operator, threshold, options, message) -> None:
    """By its name, with the rule."""
    with pytest.raises(ValueError, match=message):
        operator(torch.ones(4, 2, 1, 1), threshold, **options)


def test_a_metric_must_be_positive_and_of_the_same_shape() -> None:
    """Elsewhere there is no minimiser, or several."""
    W = torch.ones(2, 1, 1, 1)
    with pytest.raises(ValueError, match=r"`D` must be positive. Got `D.min\(\) = 0.0`"):
        prox_group_lasso_weighted(W, torch.zeros_like(W), 1.0)
    with pytest.raises(
        ValueError, match=r"`D` must have the shape of `W`, \[2, 1, 1, 1\]. Got `D.shape = \[2, 1, 1\]`"
    ):
        prox_group_lasso_weighted(W, torch.ones(2, 1, 1), 1.0)
