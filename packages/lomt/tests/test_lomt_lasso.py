"""`GroupLasso`: iterates equal ISTA written out, the metric is Adam's own, and it behaves as an optimizer in a phase."""

import copy
import math

import pytest
import torch
from torch import nn

from lomt import GroupLasso, group_norms, prox_group_lasso_weighted
from mtl_core import MultiTaskData, Run, SharedBackbone, StorageError
from mtl_core.fingerprint import of_training
from mtl_core.task import attribute

F64 = torch.float64


def problem(seed=0, samples=60, channels=8, outputs=3):
    """A linear model with few true channels, as data of 1×1 images."""
    g = torch.Generator().manual_seed(seed)
    X = torch.randn(samples, channels, generator=g, dtype=F64)
    B = torch.randn(outputs, channels, generator=g, dtype=F64)
    B[:, 3:] = 0
    Y = X @ B.T + 0.1 * torch.randn(samples, outputs, generator=g, dtype=F64)
    return X, Y


def squares(layer, X, Y):
    """½ · mean over samples of the squared error."""
    return 0.5 * ((layer(X[:, :, None, None])[:, :, 0, 0] - Y) ** 2).sum() / len(X)


def coordinate_descent(X, Y, lambda_g, rounds=4000):
    """Group lasso of a linear model, one input channel at a time until nothing changes.

    For channel c with S = x_c'R/n, R the residual without it, and q = x_c'x_c/n: b_c = (1 − λ_g/‖S‖)₊ S/q.
    """
    n = len(X)
    B = torch.zeros(Y.shape[1], X.shape[1], dtype=F64)
    for _ in range(rounds):
        before = B.clone()
        for c in range(X.shape[1]):
            rest = Y - X @ B.T + torch.outer(X[:, c], B[:, c])
            S, q = rest.T @ X[:, c] / n, X[:, c] @ X[:, c] / n
            B[:, c] = (1 - lambda_g / S.norm()).clamp(min=0) * S / q
        if (B - before).abs().max() < 1e-13:
            break
    return B


def layer_of(channels=8, outputs=3):
    torch.manual_seed(0)
    return nn.Conv2d(channels, outputs, 1, bias=False).double()


def test_with_plain_sgd_each_iterate_is_istas() -> None:
    """θ ← prox(θ − lr ∇L): the gradient and the shrinkage written out beside it, ten steps, to the last digits."""
    X, Y = problem()
    layer = layer_of()
    B, lr, lambda_ = layer.weight.detach()[:, :, 0, 0].clone(), 0.1, 0.05
    optimizer = GroupLasso(torch.optim.SGD(layer.parameters(), lr=lr), [layer], lambda_)
    for _ in range(10):
        squares(layer, X, Y).backward()
        optimizer.step()
        optimizer.zero_grad()
        moved = B - lr * (X @ B.T - Y).T @ X / len(X)
        for c in range(X.shape[1]):
            norm = moved[:, c].norm()
            B[:, c] = max(0.0, 1 - lr * lambda_ * math.sqrt(3) / norm) * moved[:, c]
        assert torch.allclose(layer.weight.detach()[:, :, 0, 0], B, rtol=1e-12, atol=1e-14)


def test_with_plain_sgd_it_ends_at_the_group_lassos_solution() -> None:
    """The solution is coordinate descent's, to 1e-6, with the same channels zero."""
    X, Y = problem()
    layer, lambda_ = layer_of(), 0.1
    optimizer = GroupLasso(torch.optim.SGD(layer.parameters(), lr=0.3), [layer], lambda_)
    for _ in range(1500):
        squares(layer, X, Y).backward()
        optimizer.step()
        optimizer.zero_grad()
    B = coordinate_descent(X, Y, lambda_ * math.sqrt(3))
    found = layer.weight.detach()[:, :, 0, 0]
    assert (found - B).abs().max() < 1e-6
    assert (
        [c for c in range(8) if not found[:, c].any()] == [c for c in range(8) if not B[:, c].any()] == [3, 4, 5, 6, 7]
    )


@pytest.mark.parametrize(
    ("make", "eps"),
    [
        (lambda p: torch.optim.Adam(p, lr=0.01, eps=1e-3), 1e-3),
        (lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1), 1e-8),
        (lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True), 1e-8),
        (lambda p: torch.optim.Adam(p, lr=0.01, fused=True, weight_decay=0.1), 1e-8),
    ],
)
def test_after_adam_the_metric_is_that_of_its_own_step(make, eps) -> None:
    """D = √v̂ + ε with v written out here: bias-corrected, the optimizer's own ε, the largest v under amsgrad."""
    X, Y = problem()
    layer, plain = layer_of(), layer_of()
    inner = make(plain.parameters())
    optimizer = GroupLasso(make(layer.parameters()), [layer], lambda_ := 0.02)
    v, largest = torch.zeros_like(plain.weight), torch.zeros_like(plain.weight)
    for step in range(1, 6):
        plain.load_state_dict(layer.state_dict())
        for net in (plain, layer):
            squares(net, X, Y * step).backward()
        decayed = plain.weight.grad
        if isinstance(inner, torch.optim.Adam) and not isinstance(inner, torch.optim.AdamW):
            decayed = decayed + inner.param_groups[0]["weight_decay"] * plain.weight.detach()
        v = 0.999 * v + 0.001 * decayed**2
        largest = torch.maximum(largest, v)
        used = largest if inner.param_groups[0]["amsgrad"] else v
        inner.step()
        D = (used / (1 - 0.999**step)).sqrt() + eps
        expected = prox_group_lasso_weighted(plain.weight.detach(), D, 0.01 * lambda_ * math.sqrt(3))
        optimizer.step()
        assert torch.allclose(layer.weight, expected, rtol=1e-9, atol=1e-15)
        inner.zero_grad()
        optimizer.zero_grad()


def test_with_adam_it_minimises_the_linearised_loss_with_the_penalty() -> None:
    """0 ∈ m̂ + D(u − θ)/lr + ∂R(u) at what a step gives."""
    X, Y = problem()
    layer = layer_of()
    inner = torch.optim.Adam(layer.parameters(), lr=0.01)
    optimizer = GroupLasso(inner, [layer], lambda_ := 0.02)
    for step in range(1, 4):
        theta = layer.weight.detach().clone()
        squares(layer, X, Y).backward()
        optimizer.step()
        optimizer.zero_grad()
        state = inner.state[layer.weight]
        m = state["exp_avg"] / (1 - 0.9**step)
        D = (state["exp_avg_sq"] / (1 - 0.999**step)).sqrt() + 1e-8
        u, lambda_g = layer.weight.detach(), lambda_ * math.sqrt(3)
        pull = m + D * (u - theta) / 0.01
        for c in range(8):
            at, norm = pull[:, c], u[:, c].norm()
            assert (at + lambda_g * u[:, c] / norm).norm() < 1e-9 if norm > 0 else at.norm() <= lambda_g * (1 + 1e-9)


def test_a_smaller_learning_rate_has_a_smaller_threshold() -> None:
    """The threshold follows the rate of the weight's own group, as a schedule sets it."""
    first, second = nn.Conv2d(1, 4, 1, bias=False), nn.Conv2d(1, 4, 1, bias=False)
    inner = torch.optim.SGD([{"params": first.parameters(), "lr": 0.1}, {"params": second.parameters(), "lr": 0.2}])
    optimizer = GroupLasso(inner, [first, second], lambda_=1.0)
    for scale in (1.0, 0.5):
        for group in optimizer.param_groups:
            group["lr"] *= scale
        norms = [float(group_norms(layer.weight)) for layer in (first, second)]
        for layer in (first, second):
            layer.weight.grad = torch.zeros_like(layer.weight)
        optimizer.step()
        left = [float(group_norms(layer.weight)) for layer in (first, second)]
        shrunk = [before - after for before, after in zip(norms, left, strict=True)]
        assert shrunk == pytest.approx([scale * 0.1 * 2, min(scale * 0.2 * 2, norms[1])], rel=1e-4)


@pytest.mark.parametrize(
    "make", [lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), lambda p: torch.optim.AdamW(p, lr=0.01)]
)
def test_lambda_zero_is_the_optimizer_itself(make) -> None:
    """Bit for bit."""
    X, Y = problem()
    layer, plain = layer_of(), layer_of()
    optimizer, inner = GroupLasso(make(layer.parameters()), [layer], 0.0), make(plain.parameters())
    for _ in range(5):
        for net, steps in ((layer, optimizer), (plain, inner)):
            squares(net, X, Y).backward()
            steps.step()
            steps.zero_grad()
    assert torch.equal(layer.weight, plain.weight)


def test_grouped_and_depthwise_convolutions_have_their_own_groups() -> None:
    """Given as modules; a weight alone cannot tell."""
    layer = nn.Conv2d(4, 4, 3, groups=4, bias=False)
    weight = layer.weight.detach().clone()
    optimizer = GroupLasso(torch.optim.SGD(layer.parameters(), lr=1.0), [layer], lambda_=0.02)
    layer.weight.grad = torch.zeros_like(layer.weight)
    optimizer.step()
    lengths = torch.stack([weight[c].norm() for c in range(4)])
    assert torch.allclose(group_norms(layer.weight, "in", 4), (lengths - 0.02 * 3).clamp(min=0), atol=1e-6)


def test_what_has_no_gradient_is_left_alone() -> None:
    """A frozen weight, or one that a step did not reach, as the optimizer leaves it alone."""
    used, other = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)
    other.weight.requires_grad_(False)
    before = other.weight.clone()
    optimizer = GroupLasso(torch.optim.AdamW([*used.parameters(), *other.parameters()], lr=0.1), [used, other], 10.0)
    used(torch.ones(1, 2, 1, 1)).sum().backward()
    optimizer.step()
    assert torch.equal(other.weight, before)
    assert not used.weight.any()
    assert used.bias.any()


def test_a_weight_that_two_layers_share_is_shrunk_once() -> None:
    """Not once for each name."""
    first, second = nn.Conv2d(1, 1, 1, bias=False), nn.Conv2d(1, 1, 1, bias=False)
    second.weight = first.weight
    first.weight.data.fill_(5.0)
    optimizer = GroupLasso(torch.optim.SGD([first.weight], lr=1.0), [first, second], lambda_=1.0)
    first.weight.grad = torch.zeros_like(first.weight)
    optimizer.step()
    assert first.weight.item() == pytest.approx(4.0)


def test_it_has_an_optimizers_methods_and_no_state_of_its_own() -> None:
    """What a phase asks for; a copy with the state goes on as the first."""
    X, Y = problem()
    layer = layer_of()
    optimizer = GroupLasso(torch.optim.AdamW(layer.parameters(), lr=0.01), [layer.weight], 0.05)
    assert {n for n in dir(optimizer) if not n.startswith("_")} == {
        *("param_groups", "settings", "state_dict", "load_state_dict", "zero_grad", "step")
    }
    squares(layer, X, Y).backward()
    optimizer.step()
    other = layer_of()
    other.load_state_dict(layer.state_dict())
    again = GroupLasso(torch.optim.AdamW(other.parameters(), lr=0.01), [other.weight], 0.05)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for net, steps in ((layer, optimizer), (other, again)):
        steps.zero_grad()
        squares(net, X, Y).backward()
        steps.step()
    assert torch.equal(layer.weight, other.weight)


def test_lambda_is_in_the_fingerprint_of_a_training(tmp_path) -> None:
    """A folder trained at one strength does not answer for another; the wrapped optimizer is named, too."""
    image = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0))
    data = MultiTaskData([attribute("tall")], [(image, {"tall": 1.0}), (1 - image, {"tall": 0.0})])

    def train(lambda_):
        run = Run(tmp_path, progress=False)
        with run.seeded("model"):
            backbone = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten())
            model = SharedBackbone(backbone, data.tasks, lambda c, t: nn.Linear(c, 1), example=torch.zeros(1, 1, 4, 4))
        optimizer = GroupLasso(torch.optim.AdamW(model.parameters(), lr=0.01), [backbone[0]], lambda_)
        with run.phase("train", model=model, optimizer=optimizer) as phase:
            for batch in phase.batches(data.train, epochs=1, batch_size=2):
                phase.step(phase.losses(model, batch)["tall"], optimizer)
        return of_training(model, optimizer)["optimizer settings"]

    assert train(0.1) == {"optimizer": "AdamW", "lambda": 0.1, "group": "in"}
    with pytest.raises(StorageError, match=r"optimizer settings.lambda: 0.1 there, 0.2 now"):
        train(0.2)


def test_another_optimizer_is_said_to_be_taken_as_euclidean() -> None:
    """Of its metric nothing is known."""
    layer = nn.Conv2d(1, 1, 1)
    with pytest.warns(UserWarning, match="The proximal step after RMSprop is the Euclidean one"):
        GroupLasso(torch.optim.RMSprop(layer.parameters()), [layer])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"lambda_": -1.0}, ValueError, r"`lambda_` must be >= 0 and finite. Got `lambda_ = -1.0`"),
        ({"lambda_": math.inf}, ValueError, r"`lambda_` must be >= 0 and finite"),
        ({"group": "all"}, ValueError, r"`group` must be \"in\" or \"out\". Got `group = 'all'`"),
        (
            {"params": [nn.Conv2d(1, 1, 1)]},
            ValueError,
            r"`params` must be trained by `optimizer`. Got a weight that is in none",
        ),
        (
            {"params": [nn.Linear(1, 1)]},
            TypeError,
            r"`params` must be convolutions or weights of convolutions. Got `Linear`",
        ),
        (
            {"params": [torch.ones(3)]},
            TypeError,
            r"`params` must be convolutions or weights of convolutions. Got `Tensor`",
        ),
        ({"optimizer": None}, TypeError, r"`optimizer` must be a torch optimizer. Got `NoneType`"),
    ],
)
def test_what_is_not_usable_is_refused(arguments, error, message) -> None:
    """By its name, with the rule."""
    layer = nn.Conv2d(1, 1, 1)
    given = {"optimizer": torch.optim.SGD(layer.parameters(), lr=0.1), "params": [layer]} | arguments
    with pytest.raises(error, match=message):
        GroupLasso(**given)
