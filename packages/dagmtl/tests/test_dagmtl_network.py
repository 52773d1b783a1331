"""The central network against a loop over Eq. (3)-(6), and what it refuses."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

import dagmtl
from dagmtl import CentralNetwork, State, layer, omniglot_states, stem, vgg16_states
from mtl_core.components import components_of, tasks_of
from mtl_core.task import attribute, classification
from mtl_core.testing.models import head

TASKS = {task.name: task for task in (classification("kind", 3), attribute("tall"), attribute("wide"))}
SHAPES = {
    "uniform": [State(4)] * 5,
    "pyramid": [State(4), State(6, 2), State(6, 2), State(8, 4), State(8, 4)],
}


def network(states, flow=None, tasks=None, seed=0, made=layer):
    torch.manual_seed(seed)
    model = CentralNetwork(stem(1, 4), states, flow, tasks or TASKS, head, layer=made).double()
    for parameter in model.upper.parameters():
        nn.init.normal_(parameter, std=2.0)
    return model


def naive(model, inputs, task):
    """One task, equation by equation."""
    upper, N, M = model.upper[task], len(model.states), model.flow
    sigma = torch.sigmoid
    gamma = {edge: upper.gamma[place] for place, edge in enumerate(model.layers)}
    v_0, v = model.stem(inputs), {}
    for j in range(1, N + 1):
        v[j] = sigma(upper.alpha[j - 1]) * model.read_in[str(j)](v_0)
        In = [i for i in range(1, N + 1) if j - M <= i < j]
        for i in In:
            v[j] = v[j] + sigma(gamma[f"{i}-{j}"]) * model.layers[f"{i}-{j}"](v[i]) / len(In)
    v_L = 0
    for i in range(1, N + 1):
        v_L = v_L + sigma(upper.beta[i - 1]) * model.read_out[str(i)](v[i])
    return model.heads[task](v_L)


@pytest.mark.parametrize("states", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("flow", [1, 2, None])
@pytest.mark.parametrize("training", [False, True])
def test_the_forward_pass_equals_a_loop_over_tasks_and_equations(states, flow, training) -> None:
    """In float64, with states of one shape and of several, in both modes."""
    model = network(states, flow).train(training)
    inputs = torch.rand(3, 1, 9, 9, dtype=torch.float64)
    found = model(inputs)
    assert list(found) == list(TASKS)
    for task in TASKS:
        torch.testing.assert_close(found[task], naive(model, inputs, task), rtol=1e-12, atol=1e-12)


def test_the_gradients_equal_those_of_the_loop() -> None:
    """Of every weight, those of the connections among them."""
    model = network(SHAPES["pyramid"], 2)
    inputs = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    other = copy.deepcopy(model)
    sum(p.square().sum() for p in model(inputs).values()).backward()
    sum(naive(other, inputs, task).square().sum() for task in TASKS).backward()
    for (name, p), q in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, msg=name)
        assert name.startswith("upper") <= bool(p.grad.any())


def test_layers_are_shared_and_connections_are_each_tasks_own() -> None:
    """A layer for each pair of states within M; weights α, β, γ for each task, at 0."""
    model = CentralNetwork(stem(1, 4), [State(4)] * 5, 2, TASKS, head)
    assert list(model.layers) == ["1-2", "1-3", "2-3", "2-4", "3-4", "3-5", "4-5"]
    assert len(model.layers) == dagmtl.edges(5, 2)
    assert {name for name, _ in model.upper.named_children()} == set(TASKS)
    assert not any(p.any() for p in model.upper.parameters())
    assert all(bool((gates == 0.5).all()) for gates in model.gates(list(TASKS)))
    components_of(model)
    assert tasks_of(model) == list(TASKS)


@pytest.mark.parametrize("states", [omniglot_states(8, 8), vgg16_states(0.01, 8)], ids=["omniglot", "vgg16"])
def test_the_presets_make_networks(states) -> None:
    """Of the paper's numbers of states, with maps of odd sizes."""
    model = network(states, 7)
    assert len(model.layers) == dagmtl.edges(len(states), 7)
    assert model(torch.rand(1, 1, 13, 13, dtype=torch.float64))["kind"].shape == (1, 3)


def test_a_task_does_not_depend_on_which_others_are_asked_for_or_on_their_order() -> None:
    """Alone, with others, backwards."""
    model = network(SHAPES["pyramid"], 3)
    inputs = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    whole, backwards = model(inputs), model(inputs, list(TASKS)[::-1])
    assert list(backwards) == list(TASKS)[::-1]
    for task in TASKS:
        torch.testing.assert_close(model(inputs, [task])[task], whole[task])
        torch.testing.assert_close(backwards[task], whole[task])
    assert model(inputs, []) == {}


def test_without_ends_only_the_first_state_reads_and_only_the_last_is_read() -> None:
    """N_α = 1, N_β = N: the weights α and β have no part in it."""
    model = network(SHAPES["pyramid"], 2)
    model.ends_open = False
    inputs = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    before = model(inputs)
    for task in TASKS:
        gamma, alpha, beta = model.matrices(task)
        assert (alpha.tolist(), beta.tolist()) == ([1, 0, 0, 0, 0], [0, 0, 0, 0, 1])
        found = dagmtl.reduce_flow(gamma, alpha, beta)
        assert (found.alpha.tolist(), found.beta.tolist()) == ([True] + [False] * 4, [False] * 4 + [True])
        nn.init.constant_(model.upper[task].alpha, 30.0)
        nn.init.constant_(model.upper[task].beta, 30.0)
    opened = copy.deepcopy(model)
    opened.ends_open = True
    for task in TASKS:
        torch.testing.assert_close(model(inputs)[task], before[task])
        values = torch.tensor([50.0] + [-800.0] * 4, dtype=torch.float64)
        opened.upper[task].alpha.data, opened.upper[task].beta.data = values, values.flip(0)
        torch.testing.assert_close(opened(inputs)[task], before[task])


def test_matrices_are_the_weights_after_the_sigmoid_in_double_precision() -> None:
    """A layer stays a layer however small its weight is; where there is none there is a 0."""
    model = network([State(4)] * 4, 2).float()
    nn.init.constant_(model.upper["kind"].gamma, -2000.0)
    gamma, alpha, beta = model.matrices("kind")
    assert gamma.dtype == alpha.dtype == beta.dtype == torch.float64
    assert torch.equal(gamma > 0, torch.ones(4, 4).triu(1).tril(2) > 0)
    torch.testing.assert_close(alpha, torch.sigmoid(model.upper["kind"].alpha.detach().double()))


def test_parameters_are_relative_to_the_stem_and_the_chain() -> None:
    """Adapters included, heads excluded."""
    model = CentralNetwork(stem(1, 4), SHAPES["pyramid"], None, TASKS, head)
    chain = [model.stem, model.read_in["1"], model.read_out["5"], *(model.layers[f"{i}-{i + 1}"] for i in range(1, 5))]
    assert model.encoder_parameters() == sum(p.numel() for module in chain for p in module.parameters())


def test_a_space_can_be_restricted_further() -> None:
    """The same states and tasks, fewer layers; None and N − 1 are all."""
    model = network(SHAPES["pyramid"])
    assert (model.flow, model.restricted(2).flow, model.restricted(99).flow) == (4, 2, 4)
    assert len(model.restricted(2).layers) == dagmtl.edges(5, 2)


def test_a_layer_of_ones_own() -> None:
    """`layer(source, target)` is asked for each pair."""
    asked = []

    def plain(source, target):
        asked.append((source, target))
        return nn.Conv2d(source.channels, target.channels, 1)

    model = CentralNetwork(stem(1, 4), [State(4), State(5), State(6)], None, TASKS, head, layer=plain)
    assert len(asked) == 3
    assert isinstance(model.layers["1-3"], nn.Conv2d)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"states": [State(4)]}, ValueError, "`states` must be at least two. Got 1"),
        ({"flow": 0}, ValueError, "`flow` must be a whole number of at least 1. Got `flow = 0`"),
        ({"flow": 1.5}, ValueError, "`flow` must be a whole number"),
        ({"stem": nn.Conv2d(1, 4, 3)}, TypeError, "`stem` must have an int `channels`"),
        ({"tasks": [attribute("type")]}, ValueError, "`tasks` must have names without a dot"),
        ({"layer": partial(layer, norm=nn.BatchNorm2d)}, ValueError, "`layer` must not keep statistics"),
    ],
)
def test_what_is_no_space_is_refused(change, error, message) -> None:
    """N = 1 among it."""
    options = {"stem": stem(1, 4), "states": [State(4)] * 3, "flow": 2, "tasks": TASKS, "head": head} | change
    with pytest.raises(error, match=message):
        CentralNetwork(**options)
