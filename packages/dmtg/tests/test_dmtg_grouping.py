"""The relaxed assignment: its formula, its statistics, its gradient, ties, and groups that are dropped."""

import math

import pytest
import torch
from torch import Generator, Tensor

import dmtg
from dmtg.grouping import gumbel_noise

TINY = 1e-15  # a few rounding errors of float64


def seeded(seed: int) -> Generator:
    return Generator().manual_seed(seed)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def naive_sample(logits: Tensor, noise: Tensor, tau: float) -> list[list[float]]:
    """Eq. (1) as it is written."""
    rows = []
    for i in range(len(logits)):
        terms = [math.exp((logits[i, j] + noise[i, j]) / tau) for j in range(logits.shape[1])]
        rows.append([term / sum(terms) for term in terms])
    return rows


@pytest.mark.parametrize("tau", [0.5, 2.5, 4.0])
def test_a_sample_equals_the_formula_written_out(tau: float) -> None:
    """Task by task, group by group."""
    for seed in range(5):
        logits, noise = normal(4, 3, seed=seed), normal(4, 3, seed=100 + seed)
        G = dmtg.relaxed_sample(logits, noise, tau)
        torch.testing.assert_close(G, torch.tensor(naive_sample(logits, noise, tau), dtype=torch.float64))


def test_the_loss_equals_the_double_sum() -> None:
    """Over tasks and groups."""
    losses, G = normal(4, 3, seed=1), normal(4, 3, seed=2).softmax(1)
    naive = sum(float(G[i, j] * losses[i, j]) for i in range(4) for j in range(3))
    assert dmtg.grouped_loss(losses, G).item() == pytest.approx(naive, abs=TINY)


def test_worked_example() -> None:
    """.8 + .4 + .9 + 2.8 = 4.9, and the gradient to G is the losses."""
    losses = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    G = torch.tensor([[0.8, 0.2], [0.3, 0.7]], requires_grad=True)
    L = dmtg.grouped_loss(losses, G)
    L.backward()
    assert L.item() == pytest.approx(4.9, abs=1e-6)
    assert G.grad is not None
    assert torch.equal(G.grad, losses)


def test_a_row_sums_to_one_and_a_constant_in_it_changes_nothing() -> None:
    """A row is a distribution, of differences between logits only."""
    logits, noise = normal(5, 4, seed=3), normal(5, 4, seed=4)
    G = dmtg.relaxed_sample(logits, noise, 2.5)
    assert float((G.sum(1) - 1).abs().max()) < TINY
    assert (G > 0).all()
    torch.testing.assert_close(dmtg.relaxed_sample(logits + normal(5, 1, seed=5), noise, 2.5), G)


def test_a_small_temperature_chooses_and_a_large_one_does_not() -> None:
    """Towards 0 the sample is the argmax of π + g, towards infinity it is 1/K."""
    logits, noise = normal(5, 4, seed=3), normal(5, 4, seed=4)
    chosen = torch.nn.functional.one_hot((logits + noise).argmax(1), 4).double()
    assert float((dmtg.relaxed_sample(logits, noise, 1e-4) - chosen).abs().max()) < 1e-9
    assert float((dmtg.relaxed_sample(logits, noise, 1e6) - 0.25).abs().max()) < 1e-5


def test_huge_logits_give_no_nan() -> None:
    """Nor does a group that is out of reach."""
    logits = torch.tensor([[1e30, -1e30, 0.0], [-math.inf, 0.0, 0.0]])
    G = dmtg.relaxed_sample(logits, torch.zeros(2, 3), 0.01)
    assert G.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]


def chi_squared(logits: Tensor, probabilities: Tensor, tau: float, draws: int = 2000) -> float:
    """Sum over 20 seeds of the χ² of how often each group is the argmax of a sample."""
    whole = 0.0
    for seed in range(20):
        noise = gumbel_noise(draws, len(logits), seeded(seed)).double()
        G = dmtg.relaxed_sample(logits.expand(draws, -1), noise, tau)
        counts = torch.bincount(G.argmax(1), minlength=len(logits)).double()
        expected = draws * probabilities
        whole += float(((counts - expected) ** 2 / expected).sum())
    return whole


@pytest.mark.parametrize("tau", [0.3, 2.5, 10.0])
def test_the_argmax_of_samples_is_categorical_whatever_the_temperature(tau: float) -> None:
    """Its frequencies are softmax(π): χ² with 3 degrees of freedom a seed, 60 in all, whose 99.9 % quantile is 99.6."""
    logits = torch.tensor([0.0, 0.5, 1.0, -1.0], dtype=torch.float64)
    assert chi_squared(logits, logits.softmax(0), tau) < 99.6


def test_the_argmax_of_samples_is_not_categorical_of_other_probabilities() -> None:
    """The test above can fail: softmax(π/τ) is refused."""
    logits = torch.tensor([0.0, 0.5, 1.0, -1.0], dtype=torch.float64)
    assert chi_squared(logits, (logits / 1.2).softmax(0), 1.2) > 200


def test_gumbel_noise_has_the_mean_and_the_variance_of_its_distribution() -> None:
    """Euler's constant and π²/6; 100,000 draws, tolerance of five standard errors."""
    g = gumbel_noise(1000, 100, seeded(0)).double()
    assert float(g.mean()) == pytest.approx(0.5772, abs=5 * 1.2825 / 316)
    assert float(g.var()) == pytest.approx(math.pi**2 / 6, abs=5 * 0.0109)  # of 5.4 σ⁴: kurtosis 5.4
    assert torch.isfinite(g).all()


def test_the_gradient_to_the_logits_agrees_with_finite_differences() -> None:
    """With the noise fixed, in double precision."""
    logits = normal(3, 4, seed=1).requires_grad_(True)
    noise, losses = normal(3, 4, seed=2), normal(3, 4, seed=3).exp()
    dmtg.grouped_loss(losses, dmtg.relaxed_sample(logits, noise, 2.5)).backward()
    assert logits.grad is not None
    step = 1e-6
    for i in range(3):
        for j in range(4):
            shift = torch.zeros(3, 4, dtype=torch.float64)
            shift[i, j] = step
            up, down = (
                float(dmtg.grouped_loss(losses, dmtg.relaxed_sample(logits.detach() + s, noise, 2.5)))
                for s in (shift, -shift)
            )
            assert float(logits.grad[i, j]) == pytest.approx((up - down) / (2 * step), abs=1e-8)


def test_the_gradient_pushes_towards_the_branch_with_the_smaller_loss() -> None:
    r"""It is $G_{ik} (\ell_{ik} - \sum_j G_{ij} \ell_{ij}) / \tau$: negative where a branch is better than the mixture."""
    logits = normal(3, 4, seed=1).requires_grad_(True)
    noise, losses = normal(3, 4, seed=2), normal(3, 4, seed=3).exp()
    G = dmtg.relaxed_sample(logits, noise, 2.5)
    dmtg.grouped_loss(losses, G).backward()
    expected = G * (losses - (G * losses).sum(1, keepdim=True)) / 2.5
    torch.testing.assert_close(logits.grad, expected.detach())


@pytest.mark.parametrize("seed", range(5))
def test_equal_branches_give_the_logits_no_gradient_whatever_the_noise(seed: int) -> None:
    """With the same loss in every branch only rounding is left; with another loss in one branch, much more."""
    logits = torch.ones(3, 4, dtype=torch.float64, requires_grad=True)
    G = dmtg.relaxed_sample(logits, gumbel_noise(3, 4, seeded(seed)).double(), 2.5)
    losses = normal(3, 1, seed=seed).exp().repeat(1, 4)
    (gradient,) = torch.autograd.grad(dmtg.grouped_loss(losses, G), logits, retain_graph=True)
    assert float(gradient.abs().max()) < TINY
    losses[0, 0] += 0.1
    (gradient,) = torch.autograd.grad(dmtg.grouped_loss(losses, G), logits)
    assert float(gradient[0].abs().max()) > 1e-4
    assert float(gradient[1:].abs().max()) < TINY


def test_a_sample_is_that_of_its_generator_and_float32_also_under_autocast() -> None:
    """Equal generators give equal samples, others do not."""
    distribution = dmtg.GroupDistribution(tasks=9, groups=3, tau=2.5)
    with torch.autocast("cpu", torch.bfloat16):
        G = distribution.sample(seeded(0))
    assert G.dtype == torch.float32
    assert torch.equal(G, distribution.sample(seeded(0)))
    assert not torch.equal(G, distribution.sample(seeded(1)))


def test_at_the_start_all_groups_are_equally_likely_and_ties_go_to_the_lowest() -> None:
    """Logits of 1 give 1/K each and the assignment 0; equal best groups give the first of them."""
    distribution = dmtg.GroupDistribution(tasks=2, groups=4)
    assert distribution.probabilities().tolist() == [[0.25] * 4] * 2
    assert distribution.assignment() == [0, 0]
    with torch.no_grad():
        distribution.logits[1] = torch.tensor([0.0, 2.0, 2.0, 1.0])
    assert distribution.assignment() == [0, 1]


def test_an_annealed_temperature_falls_geometrically() -> None:
    """From 4 to 1, half-way it is 2."""
    annealed = dmtg.GroupDistribution(3, 2, tau=4.0, tau_end=1.0)
    constant = dmtg.GroupDistribution(3, 2, tau=2.0)
    assert torch.equal(annealed.sample(seeded(0), progress=0.5), constant.sample(seeded(0), progress=0.9))
    assert not torch.equal(annealed.sample(seeded(0), progress=0.0), annealed.sample(seeded(0), progress=1.0))


def unequal() -> dmtg.GroupDistribution:
    """One task whose third group has a probability of 0.004."""
    distribution = dmtg.GroupDistribution(1, 3)
    with torch.no_grad():
        distribution.logits.copy_(torch.tensor([[0.0, 0.0, -5.0]]))
    return distribution


def test_a_group_is_dropped_after_ten_improbable_epochs_on_end() -> None:
    """Not before; then its weight is exactly 0, those of the others sum to 1, and no gradient is NaN."""
    distribution = unequal()
    assert [distribution.drop(0.01, 10, epoch) for epoch in range(1, 10)] == [[]] * 9
    assert distribution.drop(0.01, 10, 10) == [(0, 2)]
    assert distribution.gone.tolist() == [[0, 0, 10]]
    assert distribution.drop(0.01, 10, 11) == []
    G = distribution.sample(seeded(0))
    assert G[0, 2] == 0
    assert G.sum().item() == pytest.approx(1.0)
    assert distribution.probabilities().tolist() == [[0.5, 0.5, 0.0]]
    dmtg.grouped_loss(torch.tensor([[1.0, 2.0, 0.0]]), G).backward()
    assert distribution.logits.grad is not None
    assert torch.isfinite(distribution.logits.grad).all()
    assert distribution.logits.grad[0, 2] == 0


def test_a_better_epoch_starts_the_count_again() -> None:
    """Improbable nine times, once not, and nine times again: nothing is dropped."""
    distribution = unequal()
    for epoch in range(1, 10):
        distribution.drop(0.01, 10, epoch)
    with torch.no_grad():
        distribution.logits[0, 2] = 0.0
    distribution.drop(0.01, 10, 10)
    with torch.no_grad():
        distribution.logits[0, 2] = -5.0
    assert [distribution.drop(0.01, 10, epoch) for epoch in range(11, 20)] == [[]] * 9
    assert distribution.alive.all()


def test_what_was_dropped_comes_back_dropped_from_a_state() -> None:
    """The state holds logits, epochs and counts."""
    first, second = unequal(), dmtg.GroupDistribution(1, 3)
    for epoch in range(1, 12):
        first.drop(0.01, 10, epoch)
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.sample(seeded(0)), first.sample(seeded(0)))
    assert second.alive.tolist() == [[True, True, False]]


def test_unusable_arguments_are_refused() -> None:
    """Numbers, temperatures, shapes, a bound that could leave a task without a group."""
    with pytest.raises(ValueError, match="`tasks` must be a whole number of at least 1"):
        dmtg.GroupDistribution(0, 3)
    with pytest.raises(ValueError, match="`groups` must be a whole number of at least 1"):
        dmtg.GroupDistribution(3, 0)
    with pytest.raises(ValueError, match="`tau` must be positive and finite"):
        dmtg.GroupDistribution(3, 3, tau=0.0)
    with pytest.raises(ValueError, match="`tau_end` must be positive and finite"):
        dmtg.GroupDistribution(3, 3, tau_end=-1.0)
    with pytest.raises(ValueError, match="`tau` must be positive"):
        dmtg.relaxed_sample(torch.zeros(1, 2), torch.zeros(1, 2), 0.0)
    with pytest.raises(ValueError, match=r"`losses` and `G` must both be `\[N, K\]`"):
        dmtg.grouped_loss(torch.zeros(3), torch.zeros(3, 2))
    with pytest.raises(ValueError, match=r"`below` must be at least 0 and less than 1 / K"):
        unequal().drop(0.34, 10, 1)
