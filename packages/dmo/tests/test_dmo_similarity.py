"""Similarity and difficulty: against numpy's correlation and plain loops, the golden example, and what has no correlation."""

import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import dmo
from mtl_core import SharedBackbone, backbones, heads
from mtl_core.task import attribute, classification


def network(seed, *, width=6, task="a", norm=True):
    torch.manual_seed(seed)
    layers = [nn.Conv2d(1, width, 3), nn.BatchNorm2d(width) if norm else nn.Identity(), nn.ReLU()]
    backbone = nn.Sequential(*layers, nn.Conv2d(width, 4, 3), nn.Flatten(), nn.Linear(64, 5))
    return SharedBackbone(backbone, [attribute(task)], heads.linear(), example=torch.zeros(1, 1, 8, 8))


def flat(model):
    """Convolutions and linear layers of the backbone, one after the other."""
    layers = [m for m in model.backbone.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    return torch.cat([layer.weight.detach().flatten() for layer in layers])


@pytest.mark.parametrize("chunk", [7, 100, 2**16])
def test_the_weights_similarity_is_the_correlation_of_all_weights_at_once(monkeypatch, chunk) -> None:
    """Whatever the pieces are in which the weights are looked at."""
    monkeypatch.setattr(sys.modules["dmo.similarity"], "CHUNK", chunk)
    models = [network(seed) for seed in range(4)]
    models[1].load_state_dict(models[0].state_dict())
    with torch.no_grad():
        for parameter in models[1].parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    expected = np.corrcoef(np.stack([flat(model).double().numpy() for model in models]))
    found = dmo.weight_similarity(models)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-12)
    assert 0.5 < found[0, 1] < 0.999


def test_heads_norms_and_biases_do_not_count() -> None:
    """They differ, and the similarity is 1."""
    one, other = network(0), network(0, task="b")
    other.load_state_dict({k.replace("heads.a", "heads.b"): v for k, v in one.state_dict().items()})
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if "heads" in name or "bias" in name or ".1." in name:
                parameter.add_(7.0)
    assert dmo.weight_similarity([one, other])[0, 1] == pytest.approx(1, abs=1e-12)


def test_a_scale_and_an_offset_do_not_matter_even_far_from_zero() -> None:
    """Correlation is invariant; sums of squares alone would lose every digit here."""
    one, other = network(0), network(0)
    with torch.no_grad():
        for model, offset in ((one, 1000.0), (other, -1000.0)):
            for layer in model.backbone.modules():
                if isinstance(layer, (nn.Conv2d, nn.Linear)):
                    layer.weight.mul_(2.0).add_(offset)
    expected = np.corrcoef(flat(one).double().numpy(), flat(other).double().numpy())[0, 1]
    assert float(dmo.weight_similarity([one, other])[0, 1]) == pytest.approx(expected, abs=1e-9)


def test_weights_that_are_all_equal_are_similar_to_nothing() -> None:
    """0 instead of 0 / 0."""
    one, other = network(0), network(1)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.fill_(0.1)
    found = dmo.weight_similarity([one, other])
    assert found[0, 1] == found[1, 1] == 0
    assert not found.isnan().any()


def test_backbones_that_differ_are_refused_by_name_and_compared_by_features() -> None:
    """The message names the tensor and the way round."""
    models = [network(0), network(0, width=8)]
    with pytest.raises(
        ValueError, match=r"as `0.0.weight` of \(6, 1, 3, 3\) in the first. Got \(8, 1, 3, 3\) in model 1. `feature_"
    ):
        dmo.weight_similarity(models)
    found = dmo.feature_similarity(models, torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert found.diagonal().tolist() == pytest.approx([1, 1])
    assert 0 < found[0, 1] < 1


def test_networks_without_weights_to_compare_are_refused() -> None:
    """No network, or one without convolutions and linear layers."""
    with pytest.raises(ValueError, match=r"`models` must hold at least one network. Got none"):
        dmo.weight_similarity([])
    plain = SharedBackbone(nn.Flatten(), [attribute("a")], lambda c, t: nn.Linear(c, 1), example=torch.zeros(1, 4))
    with pytest.raises(ValueError, match="must have a convolution or a linear layer in their backbones"):
        dmo.weight_similarity([plain])


def test_linear_alignment_is_that_of_the_definition() -> None:
    """Products of features by the plain formula; a rotation changes nothing, and features of nothing give 0."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 5, generator=generator, dtype=torch.float64)
    first, second = nn.Linear(5, 3).double(), nn.Linear(5, 4).double()
    X, Y = first(x).detach(), second(x).detach()
    X, Y = X - X.mean(0), Y - Y.mean(0)
    expected = (Y.T @ X).norm() ** 2 / ((X.T @ X).norm() * (Y.T @ Y).norm())
    Q, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    dead = nn.Linear(5, 2).double()
    nn.init.zeros_(dead.weight)
    found = dmo.feature_similarity([first, second, nn.Sequential(first, _Times(Q)), dead], x)
    assert float(found[0, 1]) == pytest.approx(float(expected), abs=1e-12)
    assert float(found[0, 2]) == pytest.approx(1, abs=1e-12)
    assert found[3].tolist() == [0, 0, 0, 0]
    with pytest.raises(TypeError, match=r"`models` must give one tensor of features. Got tuple"):
        dmo.feature_similarity([_Pair()], x)


class _Times(nn.Module):
    def __init__(self, Q):
        super().__init__()
        self.Q = Q

    def forward(self, x):
        return x @ self.Q


class _Pair(nn.Module):
    def forward(self, x):
        return x, x


def test_the_losses_similarity_is_the_correlation_of_the_curves() -> None:
    """Numpy's; a curve that does not change is similar to nothing."""
    curves = np.random.default_rng(0).random((4, 12))
    curves[3] = 0.1
    found = dmo.loss_similarity(torch.tensor(curves))
    np.testing.assert_allclose(found[:3, :3].numpy(), np.corrcoef(curves[:3]), rtol=0, atol=1e-12)
    assert found[3].tolist() == [0, 0, 0, 0]


def test_epochs_without_a_loss_count_for_no_task() -> None:
    """NaN in one curve leaves the epoch out of all."""
    curves = np.random.default_rng(1).random((2, 12))
    kept = np.delete(curves, [4], axis=1)
    curves[0, 4] = np.nan
    assert dmo.loss_similarity(curves.tolist())[0, 1] == dmo.loss_similarity(kept.tolist())[0, 1]


def test_two_epochs_are_refused_and_few_are_warned_of() -> None:
    """Two points always correlate by 1 or -1; one curve has nothing to be compared with."""
    with pytest.raises(ValueError, match=r"`curves` must have at least three epochs .*. Got 2"):
        dmo.loss_similarity([[1.0, 0.5], [2.0, 0.1]])
    with pytest.raises(ValueError, match=r"at least three epochs .*. Got 2"):
        dmo.loss_similarity([[1.0, 0.5, float("nan")], [2.0, 0.1, 0.0]])
    with pytest.raises(ValueError, match=r"`curves` must be \[tasks, epochs\]"):
        dmo.loss_similarity(torch.zeros(3))
    with pytest.warns(UserWarning, match="says little after 9 epochs: give at least 10"):
        dmo.loss_similarity(torch.rand(2, 9))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dmo.loss_similarity(torch.rand(2, 10))
        dmo.loss_similarity(torch.rand(1, 3))


def test_both_similarities_are_mixed_by_alpha() -> None:
    """Eq. (1) at its ends and between; what is out of range is refused."""
    S_W, S_L = torch.rand(3, 3), torch.rand(3, 3)
    assert torch.equal(dmo.similarity(S_W, S_L, 1.0), S_W)
    assert torch.equal(dmo.similarity(S_W, S_L, 0.0), S_L)
    torch.testing.assert_close(dmo.similarity(S_W, S_L, 0.3), 0.3 * S_W + 0.7 * S_L)
    with pytest.raises(ValueError, match=r"`alpha` must be in \[0, 1\]. Got `alpha = 1.5`"):
        dmo.similarity(S_W, S_L, 1.5)


def test_golden_2_the_threshold_is_the_mean_of_the_tasks_means() -> None:
    """The pooled mean would be .8; the shares and what is kept are those of the example."""
    losses = [[0.1, 0.3], [0.5, 1.1, 2.0]]
    assert float(dmo.loss_threshold(losses)) == pytest.approx(0.7)
    d = dmo.difficulty(losses)
    assert d.tolist() == pytest.approx([0, 2 / 3])
    assert dmo.keep_ratio(d, tau=1.0).tolist() == pytest.approx([0, 0.4866], abs=5e-5)


def test_difficulty_is_the_plain_loop() -> None:
    """Over tasks with different numbers of samples; a loss of exactly mu is difficult, NaN is no sample."""
    generator = torch.Generator().manual_seed(0)
    tasks = [
        torch.rand(n, generator=generator, dtype=torch.float64) * scale for n, scale in ((5, 1), (40, 2), (7, 0.1))
    ]
    mu = sum(sum(t.tolist()) / len(t) for t in tasks) / 3
    expected = [sum(loss >= mu for loss in t.tolist()) / len(t) for t in tasks]
    gaps = [torch.cat([t, torch.full((3,), float("nan"), dtype=torch.float64)]) for t in tasks]
    assert dmo.difficulty(gaps).tolist() == pytest.approx(expected)
    assert dmo.difficulty([[1.0, 1.0], [1.0]]).tolist() == [1, 1]


def test_a_task_may_be_without_difficult_samples_or_have_only_such() -> None:
    """0 and 1 are possible, and 1 for a single task of equal losses."""
    assert dmo.difficulty([[0.1, 0.2], [5.0, 6.0]]).tolist() == [0, 1]


def test_tasks_without_finite_losses_are_refused() -> None:
    """None, all NaN, or infinite."""
    with pytest.raises(ValueError, match="must hold the losses of at least one task"):
        dmo.difficulty([])
    with pytest.raises(ValueError, match=r"must hold a loss of each task. Got none of task 1"):
        dmo.difficulty([[1.0], [float("nan")]])
    with pytest.raises(
        ValueError, match=r"must hold finite losses of each task. Got 2 losses, not all of them finite, of task 0"
    ):
        dmo.difficulty([[1.0, float("inf")], [1.0]])


def test_two_identical_tasks_are_as_similar_as_can_be() -> None:
    """S is 1 at any alpha."""
    model = SharedBackbone(backbones.tiny(width=0.25), [classification("a", 3)], heads.linear())
    curve = [[3.0, 2.0, 1.5, 1.4, 1.3, 1.2, 1.1, 1.0, 0.9, 0.8]] * 2
    S = dmo.similarity(dmo.weight_similarity([model, model]), dmo.loss_similarity(curve), 0.5)
    assert float(S[0, 1]) == pytest.approx(1, abs=1e-12)
