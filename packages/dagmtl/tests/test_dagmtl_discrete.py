"""The discrete network: what each task would compute alone, and nothing twice."""

import itertools

import pytest
import torch
from torch import nn

import mtl_core
from dagmtl import CentralNetwork, State, Subgraph, keep_all, reduce_flow, reduce_threshold, stem
from dagmtl.discrete import path_of
from mtl_core import StorageError, compact, export, load, measure
from mtl_core.task import attribute
from mtl_core.testing import check_model
from mtl_core.testing.models import head

N = 6
SHAPES = [State(4), State(4), State(6, 2), State(6, 2), State(8, 4), State(8, 4)]
INPUTS = torch.rand(3, 1, 9, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def subgraph(read_in, layers, read_out):
    gamma = torch.zeros(N, N, dtype=torch.bool)
    for i, j in layers:
        gamma[i - 1, j - 1] = True
    alpha, beta = (torch.tensor([n in ends for n in range(1, N + 1)]) for ends in (read_in, read_out))
    return Subgraph(gamma, alpha, beta, torch.ones(N, N, dtype=torch.bool).triu(1))


def space(tasks, flow=None):
    return CentralNetwork(stem(1, 4), SHAPES, flow, tasks, head)


def central(names="abc", seed=0):
    torch.manual_seed(seed)
    model = space({name: attribute(name) for name in names}).double()
    for parameter in model.upper.parameters():
        nn.init.normal_(parameter, std=2.0)
    return model


def naive(model, task, inputs):
    """One task's Eq. (3)-(6) without σ, from its path alone; nothing kept."""
    path = model.paths[task]
    v_0 = model.stem(inputs)

    def state(j):
        terms = [model.layers[f"{i}-{j}"](state(i)) for i, end in path["layers"] if end == j]
        inflow = sum(terms) / len(terms) if terms else 0
        return inflow + (model.read_in[str(j)](v_0) if j in path["read_in"] else 0)

    return model.heads[task](sum(model.read_out[str(i)](state(i)) for i in path["read_out"]))


def count_calls(model, tasks=None):
    """How often layers are called in a pass."""
    calls = []
    hooks = [layer.register_forward_hook(lambda *_: calls.append(1)) for layer in model.layers.values()]
    model(INPUTS, tasks)
    for hook in hooks:
        hook.remove()
    return len(calls)


REDUCTIONS = {"flow": reduce_flow, "threshold": reduce_threshold, "none": keep_all}


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("training", [False, True])
def test_outputs_equal_those_of_each_task_alone(name, training) -> None:
    """Against an evaluation that keeps nothing, over random graphs, in both modes."""
    for seed in range(6):
        whole = central(seed=seed)
        model = whole.discrete({task: REDUCTIONS[name](*whole.matrices(task)) for task in "abc"}).train(training)
        found = model(INPUTS)
        for task in "abc":
            torch.testing.assert_close(found[task], naive(model, task, INPUTS), rtol=1e-12, atol=1e-12)
            assert torch.equal(model(INPUTS, [task])[task], found[task])


def test_gradients_equal_those_of_each_task_alone() -> None:
    """What is computed once gets the gradients of all."""
    whole = central()
    model = whole.discrete({task: reduce_threshold(*whole.matrices(task)) for task in "abc"})
    model(INPUTS)["a"].sum().backward()
    sum(p.square().sum() for p in model(INPUTS).values()).backward()
    ours = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    naive(model, "a", INPUTS).sum().backward()
    sum(naive(model, task, INPUTS).square().sum() for task in "abc").backward()
    for name, p in model.named_parameters():
        if p.grad is not None:
            torch.testing.assert_close(ours[name], p.grad)


def ancestors(path, state):
    """Everything that leads to a state: its layers, and where the input is read."""
    layers = {(i, j) for i, j in path["layers"] if j == state}
    reads = {state} & set(path["read_in"])
    for i, _ in list(layers):
        more, ends = ancestors(path, i)
        layers |= more
        reads |= ends
    return frozenset(layers), frozenset(reads)


CHAIN = [(i, i + 1) for i in range(1, N)]
CASES = {
    "one chain for all": ({"a": ([1], CHAIN, [6]), "b": ([1], CHAIN, [6]), "c": ([1], CHAIN, [4])}, 5),
    "a fork at the third state": ({"a": ([1], CHAIN, [6]), "b": ([1], [(1, 2), (2, 3), (3, 5)], [5])}, 6),
    "nothing in common": ({"a": ([1], [(1, 2)], [2]), "b": ([3], [(3, 4)], [4]), "c": ([5], [(5, 6)], [6])}, 3),
    # The second reads in once more, at state 2: from there on every state is another one.
    "one read-in more": ({"a": ([1], CHAIN, [6]), "b": ([1, 2], CHAIN, [6])}, 1 + 2 * 4),
    # State 3 has another ancestor; state 2, and the layer from it, are the same.
    "one layer more": ({"a": ([1], CHAIN, [6]), "b": ([1], [*CHAIN, (1, 3)], [6])}, 3 + 2 * 3),
    "an early exit and a late entry": ({"a": ([1], [(1, 2)], [2]), "b": ([1, 5], [(1, 2), (2, 6), (5, 6)], [6])}, 3),
    "two ends of one": ({"a": ([1], CHAIN, [3, 6]), "b": ([1], CHAIN, [6])}, 5),
}


@pytest.mark.parametrize("name", CASES)
def test_layers_computed_are_as_many_as_there_are_distinct_graphs_of_what_leads_to_them(name) -> None:
    """On constructed cases: counted by hand, by the definition, by the network itself, and by its calls."""
    given, by_hand = CASES[name]
    model = central("".join(given)).discrete({task: subgraph(*parts) for task, parts in given.items()})
    distinct = {(i, j, *ancestors(path, i)) for path in model.paths.values() for i, j in path["layers"]}
    assert by_hand == len(distinct) == model.evaluations() == count_calls(model)
    for task in given:
        assert len(model.paths[task]["layers"]) == model.evaluations([task]) == count_calls(model, [task])
    for pair in itertools.permutations(given, 2):
        assert count_calls(model, list(pair)) == model.evaluations(list(pair))


def test_layers_computed_are_counted_on_random_graphs() -> None:
    """The definition again."""
    for seed in range(20):
        whole = central(seed=seed)
        model = whole.discrete({task: reduce_flow(*whole.matrices(task)) for task in "abc"})
        distinct = {(i, j, *ancestors(path, i)) for path in model.paths.values() for i, j in path["layers"]}
        assert model.evaluations() == len(distinct) == count_calls(model)


def test_the_order_of_the_tasks_does_not_matter() -> None:
    """The same graphs, weights and predictions from tasks in another order."""
    whole = central("abc")
    other = CentralNetwork(stem(1, 4), SHAPES, None, {n: attribute(n) for n in "cab"}, head).double()
    other.load_state_dict(whole.state_dict())
    found = [m.discrete({t: reduce_flow(*m.matrices(t)) for t in m.tasks}) for m in (whole, other)]
    assert found[0].paths == found[1].paths
    assert found[0].evaluations() == found[1].evaluations()
    one, two = (model(INPUTS) for model in found)
    assert (list(one), list(two)) == (list("abc"), list("cab"))
    for task in "abc":
        assert torch.equal(one[task], two[task])


def test_only_what_some_task_uses_is_kept() -> None:
    """Layers, adapters and no weights of connections; weights are copies."""
    whole = central("ab")
    model = whole.discrete({"a": subgraph([1], [(1, 3)], [3]), "b": subgraph([2], [(2, 3)], [3])})
    assert set(model.layers) == {"1-3", "2-3"}
    assert (set(model.read_in), set(model.read_out)) == ({"1", "2"}, {"3"})
    assert not any("upper" in name for name in model.state_dict())
    assert model.layers["1-3"][1].weight is not whole.layers["1-3"][1].weight
    assert torch.equal(model.layers["1-3"][1].weight, whole.layers["1-3"][1].weight)


def test_dead_ends_are_dropped_before_in_degrees_are_counted() -> None:
    """A layer from a state that nothing leads to changes neither parameters nor outputs."""
    whole = central("a")
    dead = whole.discrete({"a": subgraph([1], [(1, 2), (2, 4), (3, 4), (2, 5)], [4])})
    clean = whole.discrete({"a": subgraph([1], [(1, 2), (2, 4)], [4])})
    assert dead.paths == clean.paths == {"a": {"read_in": [1], "read_out": [4], "layers": [[1, 2], [2, 4]]}}
    assert torch.equal(dead(INPUTS)["a"], clean(INPUTS)["a"])


def test_source_hidden_state_sink_is_a_way() -> None:
    """No layer at all, as the Ψ check can leave it."""
    model = central("a").discrete({"a": subgraph([3], [], [3])})
    assert model.evaluations() == 0
    torch.testing.assert_close(model(INPUTS)["a"], naive(model, "a", INPUTS))


def test_the_shared_bottom_is_the_chain() -> None:
    """v_1 to v_N one after the other, the same for all tasks."""
    whole = central("ab")
    model = whole.shared_bottom()
    v = whole.read_in["1"](whole.stem(INPUTS))
    for i, j in CHAIN:
        v = whole.layers[f"{i}-{j}"](v)
    for task in "ab":
        torch.testing.assert_close(model(INPUTS)[task], whole.heads[task](whole.read_out["6"](v)))
    assert model.evaluations() == N - 1
    assert model.encoder_parameters() == whole.encoder_parameters()


def found_model():
    whole = central("ab", seed=2).float()
    return whole.discrete({task: reduce_threshold(*whole.matrices(task)) for task in "ab"}).eval()


def test_it_is_saved_and_loaded_by_the_space_of_any_flow_constant(tmp_path) -> None:
    """Core's `load` builds the right network of the stored graphs, though it knows no method."""
    model, inputs = found_model(), INPUTS.float()
    mtl_core.save(model, tmp_path)
    for flow in (1, None):
        again = load(tmp_path, lambda tasks, flow=flow: space(tasks, flow))
        assert again.structure() == model.structure()
        for task in "ab":
            assert torch.equal(again(inputs)[task], model(inputs)[task])


def test_loading_with_another_space_is_refused(tmp_path) -> None:
    """Fewer states than the graphs have."""
    mtl_core.save(found_model(), tmp_path)
    with pytest.raises(StorageError, match="`structure` must be of the states 1 to 2"):
        load(tmp_path, lambda tasks: CentralNetwork(stem(1, 4), SHAPES[:2], None, tasks, head))


def test_it_is_an_ordinary_model() -> None:
    """Core's checks of an architecture, with the shared bottom as what is built."""
    tasks = {name: attribute(name) for name in "ab"}
    check_model(lambda tasks: space(tasks).shared_bottom(), tasks, INPUTS.float())


def test_it_is_compacted_measured_and_exported(tmp_path) -> None:
    """A channel of zeros goes, figures are of the layers that are computed, and both files are written."""
    model, example = found_model(), INPUTS.float()
    expected = {task: prediction.detach() for task, prediction in model(example).items()}
    figures = measure(model, example, repeats=2)
    assert figures.whole.flops < figures.tasks["a"].flops + figures.tasks["b"].flops
    small = compact(model, example)
    for task in "ab":
        torch.testing.assert_close(small(example)[task], expected[task], rtol=1e-4, atol=1e-5)
    export(small, example, tmp_path / "model.pt2")
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    pytest.importorskip("torch", "2.7")  # of an .onnx file
    export(small, example, tmp_path / "model.onnx")


def test_a_subgraph_without_a_way_is_refused() -> None:
    """Nothing leads from the input to the output."""
    with pytest.raises(ValueError, match="`subgraph` must have a way from the input to the output"):
        path_of(subgraph([1], [(2, 3)], [3]))


def test_a_task_without_a_subgraph_is_refused() -> None:
    """By name."""
    with pytest.raises(ValueError, match=r"`subgraphs` must name every task. Got none for \['b'\]"):
        central("ab").discrete({"a": subgraph([1], [(1, 2)], [2])})


@pytest.mark.parametrize("structure", [{"flow": 2}, {"flow": 2, "paths": {"z": {}}}])
def test_a_structure_of_other_tasks_is_refused(structure) -> None:
    """Or one without graphs."""
    with pytest.raises(ValueError, match="`structure` must have paths of the tasks"):
        central("ab").restructure(structure)
