"""Soft thresholds, their groups and level, baking, and counting."""

import copy
import math

import pytest
import torch
from torch import nn

from adapmtl.components import (
    backbone_and_heads,
    count_within,
    head_of,
    one_for_all,
    per_component,
    per_layer,
    prunable,
    shares,
    start_alike,
)
from adapmtl.level import HIGH, LOW, asked_sparsity, solve
from adapmtl.threshold import soft_threshold
from adapmtl.thresholded import Thresholded, bake, sparsity


class Small(nn.Module):
    """A convolutional backbone with norms and a nested block, and a head for each task."""

    def __init__(self, tasks=("a", "b"), width=8):
        super().__init__()
        block = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.trunk = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), block)
        self.heads = nn.ModuleDict({t: nn.Sequential(nn.Flatten(), nn.Linear(width * 16, 5)) for t in tasks})

    def forward(self, inputs, tasks=None):
        features = self.trunk(inputs)
        return {task: self.heads[task](features) for task in (tasks or self.heads)}

    def components(self):
        return {"backbone": [self.trunk], **{f"head.{task}": [head] for task, head in self.heads.items()}}


class Grouped(nn.Module):
    """Two small models, each for one task, behind a stem."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 1)
        self.parts = nn.ModuleDict({"one": Small(("a",)), "two": Small(("b",))})

    def forward(self, inputs, tasks=None):
        features = self.stem(inputs)
        return {**self.parts["one"](features), **self.parts["two"](features)}

    def components(self):
        parts = {f"{g}.{key}": m for g, part in self.parts.items() for key, m in part.components().items()}
        return {"stem": [self.stem], **parts}


class Tied(nn.Module):
    """One task; the backbone uses one weight in two layers."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.out = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)
        self.second.weight = self.first.weight

    def forward(self, inputs, tasks=None):
        return {"a": self.out(self.second(self.first(inputs).relu()).relu())}

    def components(self):
        return {"backbone": [self.first, self.second], "head.a": [self.out]}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture
def images():
    return torch.rand(4, 3, 6, 6)


def naive(W, alpha):
    return W.sign() * (W.abs() - alpha).relu()


def gradients(function, W, alpha, upstream):
    W, alpha = W.clone().requires_grad_(), alpha.clone().requires_grad_()
    S = function(W, alpha)
    return S.detach(), *torch.autograd.grad(S, [W, alpha], upstream)


def test_worked_example():
    """The values and gradients of the specification, up to theta."""
    W = torch.tensor([0.5, -0.2, 0.1], dtype=torch.float64, requires_grad=True)
    theta = torch.tensor(math.log(0.15 / 0.85), dtype=torch.float64, requires_grad=True)
    assert theta.item() == pytest.approx(-1.7346, abs=1e-4)
    alpha = theta.sigmoid()
    alpha.retain_grad()
    S = soft_threshold(W, alpha)
    S.backward(torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(S.detach(), torch.tensor([0.35, -0.05, 0.0], dtype=torch.float64))
    assert W.grad.tolist() == [1, -1, 0]
    assert alpha.grad.item() == -2
    assert theta.grad.item() == pytest.approx(-0.255)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", [(), (0,), (7,), (4, 3, 3, 3), (300, 70)])
def test_equals_the_plain_expression_in_values_and_gradients(seed, shape):
    """The fused form computes what sign and relu would."""
    torch.manual_seed(seed)
    W, upstream = torch.randn(2, *shape, dtype=torch.float64)
    alpha = torch.rand((), dtype=torch.float64)
    for ours, theirs in zip(
        gradients(soft_threshold, W, alpha, upstream), gradients(naive, W, alpha, upstream), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_keeps_the_dtype_of_the_weights(dtype):
    """Values and gradients have the dtypes of what they belong to, and equal the plain expression."""
    W, upstream = torch.randn(2, 500).to(dtype)
    S, dW, dalpha = gradients(soft_threshold, W, torch.tensor(0.3), upstream)
    plain, dW_plain, _ = gradients(naive, W, torch.tensor(0.3).to(dtype), upstream)
    assert (S.dtype, dW.dtype, dalpha.dtype) == (dtype, dtype, torch.float32)
    assert torch.equal(S, plain)
    assert torch.equal(dW, dW_plain)
    expected = -(S.double().sign() * upstream.double()).sum()
    assert dalpha.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-4)


def test_passes_gradcheck_away_from_the_kinks():
    """First and second derivatives agree with differences."""
    W = (torch.randn(40, dtype=torch.float64).sign() * (torch.arange(40) % 2 + 0.2)).requires_grad_()
    alpha = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(soft_threshold, (W, alpha))
    assert torch.autograd.gradgradcheck(soft_threshold, (W, alpha))


def test_a_weight_as_large_as_the_threshold_is_zero_without_gradient():
    """At |W| = alpha the result is 0, and neither the weight nor the threshold gets a gradient."""
    alpha = torch.tensor(0.3)
    S, dW, dalpha = gradients(soft_threshold, torch.tensor([0.3, -0.3]), alpha, torch.ones(2))
    assert S.tolist() == dW.tolist() == [0, 0]
    assert dalpha == 0


def test_threshold_zero_is_the_identity():
    """Nothing is shrunk, and only exact zeros get no gradient."""
    W = torch.tensor([1.0, 0.0, -2.0])
    S, dW, _ = gradients(soft_threshold, W, torch.tensor(0.0), torch.ones(3))
    assert torch.equal(S, W)
    assert dW.tolist() == [1, 0, 1]


def test_the_form_for_other_devices_is_the_same():
    """What a GPU computes (a clamp by a tensor) has the same bits as what a CPU computes."""
    W, alpha = torch.randn(1000), torch.tensor(0.5)
    assert torch.equal(W - W.clamp(-alpha, alpha), soft_threshold(W, alpha))


def test_any_memory_layout_and_torch_func_work():
    """Weights in channels-last order and gradients by torch.func give the same."""
    W, upstream, alpha = torch.randn(8, 4, 3, 3), torch.randn(8, 4, 3, 3), torch.tensor(0.4)
    expected = gradients(soft_threshold, W, alpha, upstream)
    found = gradients(soft_threshold, W.to(memory_format=torch.channels_last), alpha, upstream)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    dalpha = torch.func.grad(lambda a: (soft_threshold(W, a) * upstream).sum())(alpha)
    torch.testing.assert_close(dalpha, expected[2])


def test_unusable_arguments_of_the_threshold_are_refused():
    """Integers, several thresholds and negative ones."""
    with pytest.raises(TypeError, match="`W` must be floating point"):
        soft_threshold(torch.arange(3), 0.1)
    with pytest.raises(ValueError, match=r"`alpha` must be one value. Got `alpha.shape = \(2,\)`"):
        soft_threshold(torch.ones(3), torch.ones(2))
    with pytest.raises(ValueError, match="`alpha` must be >= 0"):
        soft_threshold(torch.ones(3), -0.1)


def test_groupings_are_those_of_the_ablation():
    """Names of the groups, on a model with groups of tasks and a stem."""
    keys = ["stem", "one.backbone", "one.head.a", "two.backbone", "two.head.b"]
    model = Grouped()
    assert list(Thresholded(model, per_component).names) == keys
    assert list(Thresholded(model, one_for_all).names) == ["all"]
    assert list(Thresholded(model, backbone_and_heads).names) == ["backbone", "heads"]
    assert list(Thresholded(model, per_layer).names) == [name.removesuffix(".weight") for name in prunable(model)]
    assert head_of("one.head.a") == ("one", "a")
    assert head_of("head.a") == ("", "a")
    assert head_of("one.backbone") is head_of("stem") is None


def test_biases_and_norms_are_not_prunable():
    """Only weights of convolutions and linear layers are."""
    names = ["trunk.0.weight", "trunk.3.0.weight", "heads.a.1.weight", "heads.b.1.weight"]
    assert list(prunable(Small())) == names


def test_a_shared_weight_is_counted_once():
    """A weight used by two layers has one name, one threshold, and both layers see it."""
    model = Thresholded(Tied(), per_layer)
    assert list(prunable(model.model)) == ["first.weight", "out.weight"]
    model.level(0.5)
    assert sum(model._zeros()) == 24  # of 36 + 12
    x = torch.rand(5, 6)
    baked = bake(model)
    assert baked.first.weight is baked.second.weight
    assert torch.equal(model(x)["a"], baked(x)["a"])


def test_a_weight_that_two_groups_claim_is_refused():
    """The message names the weight and both groups."""
    with pytest.raises(ValueError, match=r"claim each weight once. Got `first.weight` in `x` and `y`"):
        Thresholded(Tied(), lambda model: {"x": [model.first], "y": [model.second]})


def test_frozen_weights_are_neither_pruned_nor_counted():
    """A frozen branch keeps its bits, and the asked sparsity is met among the others."""
    plain = Small(width=16)
    for parameter in plain.heads["a"].parameters():
        parameter.requires_grad_(False)
    model = Thresholded(plain)
    assert model.names == ("backbone", "head.b")
    model.level(0.8)
    baked = bake(model)
    assert torch.equal(baked.heads["a"][1].weight, plain.heads["a"][1].weight)
    assert list(sparsity(baked)) == ["backbone", "head.b", "overall"]
    assert sparsity(baked)["overall"] == pytest.approx(0.8, abs=5e-4)


def test_a_model_frozen_for_inference_is_counted_whole():
    """Without any trainable weight all of them count; nothing of it can be pruned."""
    plain = Small().requires_grad_(False)
    assert list(sparsity(plain)) == ["backbone", "head.a", "head.b", "overall"]
    with pytest.raises(ValueError, match="`model` must have a trainable weight"):
        Thresholded(plain)


def test_an_unused_head_is_no_obstacle():
    """A head that no loss uses is pruned with the rest, and gets no gradient."""
    model = Thresholded(Small())
    model.level(0.5)
    model(torch.rand(2, 3, 6, 6), ["a"])["a"].sum().backward()
    assert model.model.heads["b"][1].weight.grad is None
    assert model.u.grad[2] == 0
    assert model.u.grad[1] != 0


def test_layers_in_no_group_stay_dense_and_count():
    """The overall sparsity is of all prunable weights, those that a caller leaves out included."""
    model = Thresholded(Small(width=16), lambda m: {"body": [m.trunk[3], m.heads]})
    model.level(0.6)
    found = sparsity(bake(model))
    assert found["overall"] == pytest.approx(0.6, abs=5e-4)
    assert (bake(model).trunk[0].weight != 0).all()


def test_unusable_arguments_of_thresholded_are_refused():
    """A share out of its range, and a target out of its range."""
    with pytest.raises(ValueError, match=r"`max_component` must be in \(0, 1\]. Got `max_component = 0`"):
        Thresholded(Small(), max_component=0)
    with pytest.raises(ValueError, match=r"`target` must be a share in \[0, 1\). Got `target = 1`"):
        Thresholded(Small()).level(1)


def test_the_wrapped_model_is_not_touched(images):
    """No parameter, buffer shape, hook or class of the user's model changes by forward, level and bake."""
    plain = Small().eval()
    before = copy.deepcopy(plain.state_dict())
    model = Thresholded(plain).eval()
    model.level(0.9)
    model(images)
    bake(model)
    assert model.model is plain
    assert all(torch.equal(before[name], value) for name, value in plain.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks or hasattr(m, "parametrizations") for m in plain.modules())
    assert model.components() == plain.components()


def test_at_the_start_the_model_is_dense(images):
    """Before any level is set, thresholds are too small to matter."""
    plain = Small().eval()
    model = Thresholded(plain).eval()
    assert sparsity(model)["overall"] == 0
    torch.testing.assert_close(model(images)["a"], plain(images)["a"])


@pytest.mark.parametrize("build", [Small, Grouped])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_baked_model_gives_the_same_bits(images, build, share):
    """Norms with running statistics, nested modules and groups included; nothing of the thresholds is left."""
    plain = build()
    model = Thresholded(plain)
    model.level(share)
    model(images)  # in training mode: the norms' statistics move
    model.eval()
    with torch.no_grad():
        model.u.normal_(std=0.5)
    baked = bake(model)
    assert type(baked) is build
    assert [name for name, _ in baked.named_parameters()] == [name for name, _ in plain.named_parameters()]
    expected, found = model(images), baked(images)
    assert all(torch.equal(expected[task], found[task]) for task in expected)
    assert sparsity(baked) == sparsity(model) == model.sparsity()


def test_baking_what_has_no_thresholds_is_refused():
    """A plain model has nothing to bake."""
    with pytest.raises(TypeError, match=r"`model` must be a `Thresholded`. Got `Small`"):
        bake(Small())


def test_gradients_are_those_of_the_thresholded_weights(images):
    """Weights, and u through alpha, get what plain autograd gives for sign and relu in a plain forward."""
    model = Thresholded(Small().double()).double().eval()
    model.level(0.6)
    inputs = images.double()
    sum(p.square().sum() for p in model(inputs).values()).backward()

    u = model.u.detach().clone().requires_grad_()
    alphas = torch.sigmoid(u + model.s)
    plain = {n: p.detach().clone().requires_grad_() for n, p in model.model.named_parameters()}
    group = {"trunk": 0, "heads.a": 1, "heads.b": 2}
    S = {
        n: naive(plain[n], alphas[next(i for k, i in group.items() if n.startswith(k))]) for n in prunable(model.model)
    }
    out = torch.func.functional_call(model.model, {**plain, **S}, (inputs,))
    sum(p.square().sum() for p in out.values()).backward()
    torch.testing.assert_close(model.u.grad, u.grad)
    for name, parameter in model.model.named_parameters():
        torch.testing.assert_close(parameter.grad, plain[name].grad)


def test_prepared_weights_are_computed_once_and_give_the_same(images, monkeypatch):
    """Several forward passes within share the weights, nested too; afterwards they are computed anew."""
    model = Thresholded(Small()).eval()
    model.level(0.5)
    expected = model(images)
    calls = []
    weights = model.weights
    monkeypatch.setattr(model, "weights", lambda: calls.append(1) or weights())
    with model.prepared():
        first = model(images, ["a"])
        with model.prepared():
            second = model(images, ["b"])
    assert len(calls) == 1
    assert torch.equal(first["a"], expected["a"])
    assert torch.equal(second["b"], expected["b"])
    (first["a"].sum() + second["b"].sum()).backward()
    assert all(p.grad is not None for p in model.parameters())
    model(images)
    assert len(calls) == 2


def test_what_was_prepared_without_gradients_is_not_trained_on(images):
    """A forward with gradients computes its own weights then."""
    model = Thresholded(Small())
    with torch.no_grad(), model.prepared(), torch.enable_grad():
        model(images)["a"].sum().backward()
    assert model.u.grad is not None


@pytest.mark.parametrize("target", [0.0, 0.5, 0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("groups", [per_component, one_for_all, per_layer])
def test_the_level_meets_the_target(target, groups):
    """Within .05 points, from any start, also where components differ."""
    model = Thresholded(Small(width=24), groups)
    with torch.no_grad():
        model.u.normal_(std=0.7)
        model.model.heads["a"][1].weight.mul_(5)
    reached = model.level(target)
    assert reached == sparsity(bake(model))["overall"]
    assert abs(reached - target) <= 5e-4


def test_the_level_is_a_function_of_weights_and_state():
    """Solving twice, and on a copy, gives the same bits."""
    model = Thresholded(Small(width=16))
    model.level(0.7)
    other = Thresholded(Small(width=16))
    other.load_state_dict(model.state_dict())
    assert model.level(0.8) == other.level(0.8)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


def test_a_state_dict_gives_the_same_model(images):
    """u, s and the caps are all in it."""
    model = Thresholded(Small()).eval()
    with torch.no_grad():
        model.u.copy_(torch.tensor([0.0, 9.0, -1.0]))  # the second is at its cap
    model.level(0.6)
    assert {"u", "s", "cap"} < set(model.state_dict())
    other = Thresholded(Small()).eval()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.alphas(), model.alphas())
    assert torch.equal(other(images)["a"], model(images)["a"])


@pytest.mark.parametrize(("target", "most"), [(0.5, 0.99), (0.9, 0.99), (0.99, 0.995)])
def test_no_component_loses_more_than_it_may(target, most):
    """A head that runs away stops at the cap, or halfway between the target and 1; the target is met all the same."""
    model = Thresholded(Small(width=24))
    with torch.no_grad():
        model.u.copy_(torch.tensor([0.0, 8.0, 0.0]))
    assert model.level(target) == pytest.approx(target, abs=5e-4)
    found = model.sparsity()
    assert all(share <= most for share in found.values())
    assert found["head.a"] > most - 0.01


def test_at_its_cap_a_threshold_gets_no_gradient(images):
    """It does not run further away meanwhile."""
    model = Thresholded(Small())
    with torch.no_grad():
        model.u.copy_(torch.tensor([0.0, 8.0, 0.0]))
    model.level(0.5)
    sum(p.square().sum() for p in model(images).values()).backward()
    assert model.u.grad[1] == 0
    assert model.u.grad[2] != 0


def test_weights_of_one_size_are_met_as_nearly_as_can_be():
    """Where no threshold lies between the weights, the nearer side is taken: 6 of 8 zeros for a target of 60 %."""
    plain = Tied()
    with torch.no_grad():
        plain.first.weight.fill_(0.1)  # 36 weights
        plain.out.weight.fill_(0.2)  # 12 weights
    model = Thresholded(plain, one_for_all)
    assert model.level(0.6) == 0.75
    assert model.level(0.2) == 0.0


def test_weights_above_one_are_out_of_reach():
    """Alpha is a sigmoid; what was reached is returned."""
    plain = Tied()
    with torch.no_grad():
        plain.first.weight.fill_(2.0)
    assert Thresholded(plain).level(0.9) <= 12 / 48


def test_hold_follows_the_schedule():
    """The level is that of the asked sparsity at the moment."""
    model = Thresholded(Small(width=24))
    for t in (0.0, 0.2, 0.5, 0.9, 1.0):
        assert model.hold(0.9, t, reach=0.7) == pytest.approx(asked_sparsity(0.9, t, 0.7), abs=5e-4)


def test_the_schedule_by_hand():
    """0 at the start, cubic, held from `reach` on."""
    assert asked_sparsity(0.9, 0.0) == 0
    assert asked_sparsity(0.8, 0.35) == pytest.approx(0.8 * 7 / 8)
    assert asked_sparsity(0.9, 0.7) == asked_sparsity(0.9, 1.0) == 0.9


def test_unusable_arguments_of_the_schedule_are_refused():
    """Each out of its range."""
    with pytest.raises(ValueError, match=r"`asked` must be a share in \[0, 1\). Got `asked = 90`"):
        asked_sparsity(90, 0.5)
    with pytest.raises(ValueError, match=r"`t` must be in \[0, 1\]. Got `t = 1.5`"):
        asked_sparsity(0.9, 1.5)
    with pytest.raises(ValueError, match=r"`reach` must be in \(0, 1\]. Got `reach = 0`"):
        asked_sparsity(0.9, 0.5, reach=0)


def test_solving_finds_a_jump_and_the_ends():
    """Steps, and counts that are too small or too large everywhere."""
    low, high = solve(lambda theta: 80 * (theta > 0.123), least=50, most=50, size=100, start=-3.0)
    assert low <= 0.123 < high
    assert high - low < 1e-6
    assert solve(lambda theta: 10, least=50, most=60, size=100, start=0.0)[0] == HIGH
    assert solve(lambda theta: 90, least=50, most=60, size=100, start=0.0)[1] == LOW


def test_a_few_counts_are_enough_from_nearby():
    """Two or three for normal weights, from a level that was right for 3 points less."""
    W = torch.randn(200_000) * 0.02
    calls = []

    def count(theta):
        calls.append(theta)
        return sum(count_within([W], [torch.tensor(theta).sigmoid()]))

    start, _ = solve(count, 174_000, 174_020, 200_000, start=-3.0)
    calls.clear()
    solve(count, 179_980, 180_020, 200_000, start)
    assert len(calls) <= 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_counts_are_the_zeros_of_the_thresholded_weights(dtype):
    """Exactly, at the threshold too, on both ways of counting."""
    W = torch.randn(3000).to(dtype)
    for alpha in (torch.tensor(0.5), W[7].abs().float(), torch.tensor(0.0)):
        assert count_within([W], [alpha]) == [int((soft_threshold(W, alpha) == 0).sum())]


def test_shares_by_hand():
    """Zeros over weights, by component and in all; nothing gives 0."""
    assert shares(["a", "a", "b"], [1, 2, 4], [2, 4, 4]) == {"a": 0.5, "b": 1.0, "overall": 0.7}
    assert shares([], [], []) == {"overall": 0.0}


def test_pruned_training_keeps_the_level():
    """Thresholds and weights train together; the target is met at the end, and components came to differ."""
    model = Thresholded(Small(width=12))
    optimizer = torch.optim.Adam([{"params": model.model.parameters()}, {"params": [model.u], "lr": 0.02}], lr=1e-2)
    inputs, targets = torch.rand(16, 3, 6, 6), torch.randn(16, 5)
    for step in range(30):
        with model.prepared():
            predictions = model(inputs)
        loss = (predictions["a"] - targets).square().mean() + predictions["b"].square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.hold(0.8, step / 29)
    assert sparsity(bake(model))["overall"] == pytest.approx(0.8, abs=5e-4)
    assert model.u.detach().abs().max() > 0


def test_all_prunable_weights_start_at_one_scale():
    """Weights of every layer have the asked spread; biases, norms and frozen weights are as they were."""
    model = Small(width=32)
    model.trunk[3][0].requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    assert start_alike(model, std=0.02) is model
    for name, value in model.state_dict().items():
        if name in prunable(model):
            assert abs(float(value.std()) - 0.02) < 0.003
        else:
            assert torch.equal(value, before[name])


def test_a_spread_that_is_not_positive_is_refused():
    """Zeros would train nothing."""
    with pytest.raises(ValueError, match=r"`std` must be positive\. Got `std = 0"):
        start_alike(Small(), std=0.0)
