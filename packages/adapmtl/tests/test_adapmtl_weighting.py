"""Adaptive task weights: Eq. (6), its windows, and the released code's rule."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn

from adapmtl.authors import AuthorsWeights, authors_weights
from adapmtl.weighting import AdaptiveWeights, beta, factor, relative_change


class Parts(nn.Module):
    """A module for each component."""

    def __init__(self, **parts):
        super().__init__()
        self.parts = nn.ModuleDict({name.replace("_", ":"): part for name, part in parts.items()})

    def components(self):
        return {name.replace(":", "."): [part] for name, part in self.parts.items()}


def losses(**values):
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}


def feed(weights, **series):
    for values in zip(*series.values(), strict=True):
        weights(losses(**dict(zip(series, values, strict=True))))
    return weights.beta


def naive(series, factor, window, low=0.1, high=10.0):
    """Eq. (6), transcribed with plain numbers."""
    r = {}
    for task, values in series.items():
        kept = values[-(window + 1) :]
        changes = [abs(after - before) for before, after in pairwise(kept)]
        r[task] = sum(changes) / len(changes) / (sum(kept) / len(kept))
    mean = sum(r.values()) / len(r)
    return {task: factor / min(max(value / mean, low), high) for task, value in r.items()}


def test_worked_example_of_the_relative_change():
    """Losses 1, 1.2, .9: mean change .25, mean loss 1.0333."""
    r = relative_change(torch.tensor([1.0, 1.2, 0.9], dtype=torch.float64))
    assert r.item() == pytest.approx(0.25 / (3.1 / 3))
    assert r.item() == pytest.approx(0.24194, abs=1e-5)


def test_relative_change_takes_rows_and_what_is_not_there_yet():
    """NaN at the beginning does not count; a zero or single loss gives 0."""
    nan = float("nan")
    rows = torch.tensor([[nan, 1.0, 1.2, 0.9], [nan, nan, nan, 2.0], [0.0, 0.0, 0.0, 0.0], [nan, nan, nan, nan]])
    torch.testing.assert_close(relative_change(rows), torch.tensor([0.24194, 0, 0, 0]), atol=1e-5, rtol=0)


def test_relative_change_has_no_unit():
    """A loss in other units has the same relative change."""
    series = torch.rand(30, dtype=torch.float64)
    torch.testing.assert_close(relative_change(1e-6 * series), relative_change(series))


def test_worked_example_of_beta():
    """r = (.1, .2, .3) with the factor of ResNet-34."""
    found = beta(torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64), 1.535)
    torch.testing.assert_close(found, torch.tensor([3.07, 1.535, 1.535 / 1.5], dtype=torch.float64))


def test_beta_is_bounded_by_its_range():
    """The ratio is clamped; the mean is that of the unclamped changes."""
    found = beta(torch.tensor([0.0, 1e-9, 4.0]), 2.0)
    torch.testing.assert_close(found, torch.tensor([20.0, 20.0, 2.0 / 3]))
    torch.testing.assert_close(beta(torch.tensor([0.0, 4.0]), 2.0, (0.5, 1.0)), torch.tensor([4.0, 2.0]))


def test_beta_is_the_factor_where_nothing_changes_and_for_one_task():
    """All r zero, or a single one."""
    assert beta(torch.zeros(3), 1.5).tolist() == [1.5, 1.5, 1.5]
    assert beta(torch.tensor([0.3]), 1.5).tolist() == [1.5]


@pytest.mark.parametrize("window", [1, 2, 5, 400])
@pytest.mark.parametrize("seed", range(3))
def test_weights_equal_the_transcription(window, seed):
    """At every step, before and after the window is full."""
    torch.manual_seed(seed)
    series = {name: (torch.rand(20, dtype=torch.float64) + 0.1).tolist() for name in "abc"}
    weights = AdaptiveWeights(dict.fromkeys("abc", 1.7), window)
    for step in range(20):
        now = {name: values[step] for name, values in series.items()}
        total = weights(losses(**now))
        seen = {name: values[: step + 1] for name, values in series.items()}
        expected = naive(seen, 1.7, window) if step >= 2 else dict.fromkeys("abc", 1.7)
        assert weights.beta == pytest.approx(expected)
        assert total.item() == pytest.approx(sum(expected[name] * now[name] for name in now))


def test_windows_by_hand():
    """Window 2 forgets the jump from 9 to 1; both tasks then change by the same share."""
    found = feed(AdaptiveWeights({"a": 1.0, "b": 1.0}, window=2), a=[9.0, 1.0, 2.0, 1.0], b=[5.0, 1.0, 2.0, 1.0])
    assert found == {"a": 1.0, "b": 1.0}


def test_the_weights_are_constants_for_the_gradient():
    """The gradient of the sum is beta for each task."""
    weights = AdaptiveWeights({"a": 1.0, "b": 1.0}, window=4)
    feed(weights, a=[1.0, 1.1, 1.0], b=[1.0, 2.0, 1.0])
    now = {name: torch.tensor(1.3, requires_grad=True) for name in "ab"}
    weights(now).backward()
    assert {name: loss.grad.item() for name, loss in now.items()} == pytest.approx(weights.beta)
    assert weights.beta["a"] > weights.beta["b"]


def test_constant_and_zero_losses_stay_finite():
    """A loss that no longer changes gets ten times the factor, no more; if none changes, all get the factor."""
    assert feed(AdaptiveWeights({"a": 2.0, "b": 2.0}), a=[1.0] * 4, b=[1.0, 2.0, 1.0, 2.0])["a"] == pytest.approx(20)
    assert feed(AdaptiveWeights({"a": 2.0, "b": 2.0}), a=[0.0] * 4, b=[1.0, 2.0, 1.0, 2.0])["a"] == pytest.approx(20)
    assert feed(AdaptiveWeights({"a": 2.0, "b": 2.0}), a=[0.0] * 4, b=[3.0] * 4) == {"a": 2.0, "b": 2.0}


def test_one_task_has_the_factor():
    """Whatever its loss does."""
    assert feed(AdaptiveWeights({"a": 3.0}), a=[1.0, 5.0, 0.1, 7.0]) == {"a": 3.0}


def test_groups_are_each_for_themselves():
    """A group's weights do not depend on the losses of another, nor on whether it has seen enough."""
    groups = {"x": {"a": 1.0, "b": 1.0}, "y": {"c": 4.0}}
    series = {"a": [1.0, 1.2, 0.9, 1.0], "b": [1.0, 2.0, 1.0, 3.0]}
    weights = AdaptiveWeights(groups)
    for a, b in zip(series["a"], series["b"], strict=True):
        weights(losses(a=a, b=b, c=99.0), {"a": 1, "b": 1, "c": 0})
    assert weights.beta == pytest.approx({**naive(series, 1.0, 400), "c": 4.0})


def test_unlabelled_tasks_leave_no_trace():
    """The window of a task joins its labelled steps, and its loss does not enter the sum, even where it is NaN."""
    weights, reference = (AdaptiveWeights({"a": 1.0, "b": 1.0}, window=3) for _ in range(2))
    nan = float("nan")
    for step, (a, b) in enumerate([(1.0, 2.0), (1.2, 2.1), (0.9, 1.9), (1.0, 2.2)]):
        total = (
            weights(losses(a=a, b=nan), {"a": 5, "b": 0}) if step == 2 else weights(losses(a=a, b=b), {"a": 5, "b": 1})
        )
        assert total.isfinite()
    series = {"a": [1.0, 1.2, 0.9, 1.0], "b": [2.0, 2.1, 2.2]}
    assert weights.beta == pytest.approx(naive(series, 1.0, 3))
    reference(losses(a=1.0))
    assert reference._seen.tolist() == [1, 0]


def test_a_step_without_any_label_is_zero_and_has_a_backward():
    """Nothing is learned from it."""
    total = AdaptiveWeights({"a": 1.0})(losses(a=1.0), {"a": 0})
    total.backward()
    assert total.item() == 0
    assert AdaptiveWeights({"a": 1.0})({}).item() == 0


@pytest.mark.parametrize("make", [lambda: AdaptiveWeights({"a": 1.0, "b": 1.0}, 3), lambda: AuthorsWeights("ab", 3, 2)])
def test_a_state_goes_on_where_it_was(make):
    """A resumed object gives the same bits."""
    torch.manual_seed(0)
    one = make()
    series = torch.rand(20, 2).tolist()
    for step, (a, b) in enumerate(series):
        if step == 11:
            other = make()
            other.load_state_dict(copy.deepcopy(one.state_dict()))
            assert other.beta == one.beta
        total = one(losses(a=a, b=b))
        if step >= 11:
            assert torch.equal(other(losses(a=a, b=b)), total)
    assert all(isinstance(value, torch.Tensor) for value in one.state_dict().values())


class Halved(AdaptiveWeights):
    """Its state has half the digits."""

    def state_dict(self):
        return {name: tensor.to(torch.float16) for name, tensor in super().state_dict().items()}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (AdaptiveWeights({"a": 1.0}, 3), AdaptiveWeights({"a": 1.0}, 4)),
        (AuthorsWeights("a", 3), AuthorsWeights("ab", 3)),
        (Halved({"a": 1.0}, 3), AdaptiveWeights({"a": 1.0}, 3)),
    ],
)
def test_a_state_of_another_window_or_type_is_refused(one, other):
    """Nothing of it is taken over."""
    with pytest.raises(ValueError, match="`state` must be of the same tasks and window"):
        other.load_state_dict(one.state_dict())


def test_the_factor_by_hand():
    """Lambda |W_B| / sum of the heads: weights only, a tied one once, norms and biases not."""
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(5, 5), nn.Linear(5, 5))
    backbone[3].weight = backbone[2].weight
    model = Parts(backbone=backbone, head_a=nn.Linear(10, 3), head_b=nn.Linear(10, 4))
    assert factor(model, 2.0) == {"": {"a": 2 * 133 / 70, "b": 2 * 133 / 70}}
    assert factor(model.requires_grad_(False), 2.0)[""]["a"] == 2 * 133 / 70


def test_the_factor_of_groups_and_a_stem():
    """Each group has its own; the stem is in none."""
    parts = {
        "stem": nn.Linear(99, 99),
        "x_backbone": nn.Linear(2, 4),
        "x_head_a": nn.Linear(4, 1),
        "x_head_b": nn.Linear(4, 1),
    }
    model = Parts(**parts, y_backbone=nn.Linear(3, 4), y_head_c=nn.Linear(4, 2))
    assert factor(model, 5.0) == {"x": {"a": 5.0, "b": 5.0}, "y": {"c": 7.5}}
    assert AdaptiveWeights(factor(model)).beta == {"a": 5.0, "b": 5.0, "c": 7.5}


def test_unusable_arguments_of_the_factor_are_refused():
    """No weights in backbone or heads, no lambda."""
    with pytest.raises(ValueError, match="`model` must have weights of convolutions or linear layers"):
        factor(Parts(backbone=nn.Flatten(), head_a=nn.Linear(2, 1)))
    with pytest.raises(ValueError, match=r"`lambda_` must be positive. Got `lambda_ = 0`"):
        factor(Parts(backbone=nn.Linear(2, 2), head_a=nn.Linear(2, 1)), 0)


def test_unusable_arguments_of_adaptive_weights_are_refused():
    """Tasks, factors, window, range, and losses."""
    with pytest.raises(ValueError, match="`factors` must name at least one task"):
        AdaptiveWeights({})
    with pytest.raises(ValueError, match=r"and each once. Got \['a', 'a'\]"):
        AdaptiveWeights({"x": {"a": 1.0}, "y": {"a": 1.0}})
    with pytest.raises(ValueError, match="`factors` must be positive and finite"):
        AdaptiveWeights({"a": 0.0})
    with pytest.raises(ValueError, match="`window` must be at least 1"):
        AdaptiveWeights({"a": 1.0}, window=0)
    with pytest.raises(ValueError, match="`beta_range` must be positive and hold 1"):
        AdaptiveWeights({"a": 1.0}, beta_range=(0, 10))
    with pytest.raises(ValueError, match=r"`losses` must be of the tasks \['a'\]. Got \['z'\]"):
        AdaptiveWeights({"a": 1.0})(losses(z=1.0))
    with pytest.raises(ValueError, match=r"`losses` must be one value per task. Got shape \(2,\) for `a`"):
        AdaptiveWeights({"a": 1.0})({"a": torch.ones(2)})


def test_worked_example_of_the_released_code():
    """Not inverted, normalised to the number of tasks; ones where nothing changes."""
    torch.testing.assert_close(authors_weights(torch.tensor([0.1, 0.2, 0.3])), torch.tensor([0.5, 1.0, 1.5]))
    assert authors_weights(torch.zeros(2)).tolist() == [1, 1]


def test_the_released_code_collects_from_start_on():
    """Weights are 1 until the window is full; then the mean of |change| / loss, which up-weights what jumps."""
    weights = AuthorsWeights("ab", window=2, start=2)
    series = {"a": [1.0, 8.0, 1.0, 2.0, 1.0], "b": [1.0, 1.0, 1.0, 1.25, 1.0]}
    for step, (a, b) in enumerate(zip(*series.values(), strict=True)):
        weights(losses(a=a, b=b))
        if step < 3:
            assert weights.beta == {"a": 1.0, "b": 1.0}
    r = (0.5 + 1.0) / 2, (0.2 + 0.25) / 2  # steps 3 and 4
    assert weights.beta == pytest.approx({"a": 2 * r[0] / sum(r), "b": 2 * r[1] / sum(r)})


def test_the_released_code_with_zero_and_unlabelled_losses():
    """A zero loss counts as no change; an unlabelled step leaves no trace."""
    weights = AuthorsWeights("ab", window=1, start=0)
    weights(losses(a=1.0, b=1.0))
    total = weights(losses(a=2.0, b=9.0), {"a": 1, "b": 0})
    assert weights.beta == {"a": 1.0, "b": 1.0}
    assert total.item() == 2
    weights(losses(a=2.0, b=0.0))
    assert weights.beta == {"a": 1.0, "b": 1.0}


def test_unusable_arguments_of_the_released_rule_are_refused():
    """Tasks, window, start."""
    with pytest.raises(ValueError, match="`tasks` must name at least one task"):
        AuthorsWeights([])
    with pytest.raises(ValueError, match="`window` must be at least 1"):
        AuthorsWeights("a", window=0)
    with pytest.raises(ValueError, match="`start` must be at least 0"):
        AuthorsWeights("a", start=-1)
