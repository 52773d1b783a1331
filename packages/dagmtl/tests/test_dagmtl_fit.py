"""The three stages on tiny spaces: what is frozen, what is trained, what is said, stops between and inside."""

import dataclasses
from functools import partial

import pytest
import torch
from torch import nn

import dagmtl
from dagmtl import CentralNetwork, Config, State, stem
from dagmtl.fit import finetune, search
from mtl_core import MultiTaskData, Run, StorageError, mean_losses
from mtl_core.phase import Phase
from mtl_core.testing import Stopped, common, images, separate, stopped_at, watched
from mtl_core.testing.models import head

CONFIG = Config(flow=2, kappa=1.0, warmup_epochs=1, search_epochs=2, epochs=2, batch_size=3, upper_lr=0.2)
NAMES = ("kind", "far")


def space(tasks, flow, states=4):
    return CentralNetwork(stem(1, 4), [State(4)] * states, flow, tasks, head)


def quiet(folder=None, **options):
    return Run(folder, progress=False, checkpoint_seconds=0, **options)


@pytest.fixture(scope="module")
def data():
    return common().select(NAMES)


@pytest.fixture(scope="module")
def result(data):
    return dagmtl.fit(space, data, CONFIG, quiet())


def changed(config=CONFIG, **values):
    return Config(**{**config.__dict__, **values})


class Steps:
    """What the model of a phase looked like before each step, and the optimizer's groups."""

    def __init__(self, monkeypatch):
        self.seen = []
        original = Phase.step

        def step(phase, loss, optimizer, **named):
            model = phase._model
            upper = {n: p.detach().clone() for n, p in model.named_parameters() if "upper" in n}
            frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
            groups = [
                {k: g[k] for k in ("lr", "weight_decay")} | {"n": len(g["params"])} for g in optimizer.param_groups
            ]
            self.seen.append((phase.name, type(model).__name__, upper, frozen, groups, loss.item()))
            original(phase, loss, optimizer, **named)

        monkeypatch.setattr(Phase, "step", step)

    def of(self, name):
        return [seen for seen in self.seen if seen[0] == name]


def test_warm_up_leaves_the_connections_at_0_and_frozen_and_search_trains_both_levels(data, monkeypatch) -> None:
    """One optimizer group in the first stage and the last, two in the search, with a rate of their own."""
    steps = Steps(monkeypatch)
    dagmtl.fit(space, data, CONFIG, quiet())
    assert [name for name, *_ in steps.seen] == ["warm-up"] * 4 + ["search"] * 8 + ["fine-tune"] * 8
    for _, _, upper, frozen, groups, _ in steps.of("warm-up"):
        assert not any(values.any() for values in upper.values())
        assert frozen == set(upper)
        assert len(groups) == 1
    first, *_, last = steps.of("search")
    assert not any(values.any() for values in first[2].values())
    assert not first[3]
    assert all(values.any() for values in last[2].values())
    lower, upper = first[4]
    assert (lower["lr"], lower["weight_decay"]) == (CONFIG.lr, CONFIG.weight_decay)
    assert (upper["lr"], upper["weight_decay"], upper["n"]) == (CONFIG.upper_lr, 0.0, 3 * len(NAMES))
    for _, kind, upper, frozen, groups, _ in steps.of("fine-tune"):
        assert (kind, upper, frozen, len(groups)) == ("DiscreteNetwork", {}, set(), 1)


def test_the_search_minimises_eq_8(data, monkeypatch) -> None:
    """The tasks' losses and λ times the squeeze loss of the raw γ; without λ the losses alone."""
    losses = {}
    original = Phase.losses

    def kept(phase, *rest, **named):
        losses[phase.name] = {k: v.item() for k, v in original(phase, *rest, **named).items()}
        return original(phase, *rest, **named)

    monkeypatch.setattr(Phase, "losses", kept)
    for lambda_sq in (0.5, 0.0):
        steps = Steps(monkeypatch)
        search(space, data, changed(lambda_sq=lambda_sq, search_epochs=1), quiet())
        name, _, upper, _, _, total = steps.of("search")[-1]
        gamma = torch.stack([upper[f"upper.{task}.gamma"] for task in NAMES])
        squeezed = dagmtl.squeeze_loss(gamma, 1.0).item()
        assert squeezed > 0
        assert total == pytest.approx(sum(losses[name].values()) + lambda_sq * squeezed, rel=1e-4)


def test_the_squeeze_loss_pushes_layers_out_above_the_budget_only(data) -> None:
    """Every task ends within its budget; where the budget is never exceeded, a strong λ changes nothing."""
    sums = {}
    for kappa, lambda_sq in ((0.5, 0.0), (0.5, 5.0), (99.0, 5.0)):
        central = search(space, data, changed(kappa=kappa, lambda_sq=lambda_sq, search_epochs=4), quiet())
        sums[kappa, lambda_sq] = torch.sigmoid(central.gamma(NAMES)).sum(1).detach()
    assert bool((sums[0.5, 0.0] > 0.5).all())
    assert bool((sums[0.5, 5.0] < 0.5).all())
    torch.testing.assert_close(sums[99.0, 5.0], sums[0.5, 0.0], rtol=0, atol=0)


def test_the_budget_defaults_to_a_chain(data) -> None:
    """N − 1, whatever that is."""
    default = search(space, data, changed(kappa=None, lambda_sq=1.0, flow=None), quiet())
    given = search(space, data, changed(kappa=3.0, lambda_sq=1.0, flow=None), quiet())
    assert torch.equal(default.gamma(NAMES), given.gamma(NAMES))


def test_the_result_is_the_network_of_the_reduced_graphs(result, data) -> None:
    """Those that the report says, in evaluation mode, with the loss of each task finite."""
    for task in NAMES:
        weights = [torch.tensor(result.report.weights[task][name]) for name in ("gamma", "alpha", "beta")]
        found = dagmtl.reduce_flow(*(w.double() for w in weights)).live()
        path, topology = result.report.paths[task], result.report.topology[task]
        assert path == result.model.paths[task]
        assert [[i - 1, j - 1] for i, j in path["layers"]] == found.gamma.nonzero().tolist()
        assert topology["depth"] == dagmtl.depth(found)
        assert topology["width"] == dagmtl.width(found)
        assert topology["sparsity"] == dagmtl.sparsity(found)
        assert topology["of complete"] == dagmtl.sparsity(found, complete=True)
    assert not result.model.training
    assert all(loss > 0 for loss in mean_losses(result.model, data.validation).values())


def test_the_report_says_what_the_network_costs(result) -> None:
    """Parameters against one encoder, layers computed together and alone, what is shared."""
    report = result.report
    assert report.size["kept"] == result.model.encoder_parameters()
    assert report.size["encoder"] == space(result.model.tasks, 2).encoder_parameters()
    assert report.size["relative"] == report.size["kept"] / report.size["encoder"]
    assert report.evaluations["together"] == result.model.evaluations() <= sum(report.evaluations["alone"].values())
    assert report["shared layers"].keys() == {"kind, far"}
    assert sum(report["skip lengths"].values()) == len(result.model.layers)
    assert (report.states, report.flow) == (4, 2)
    assert report.phases["search"]["curves"].keys() == set(NAMES)
    assert len(report.headline) == 3


def test_the_stages_alone_give_what_fit_gives(result, data, tmp_path) -> None:
    """Search, reduce, fine-tune by hand; in the folder of a `fit` the search is loaded."""
    dagmtl.fit(space, data, CONFIG, quiet(tmp_path))
    steps = []
    with watched(steps.append):
        central = search(space, data, CONFIG, quiet(tmp_path))
    assert not steps
    subgraphs = {task: dagmtl.reduce_flow(*central.matrices(task)) for task in NAMES}
    again = finetune(central, subgraphs, data, CONFIG, quiet())
    for name, tensor in result.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name
    assert again.report.topology == result.report.topology


def test_another_graph_in_the_same_folder_is_refused(data, tmp_path) -> None:
    """Though weights have the same names and values."""
    central = search(space, data, CONFIG, quiet())
    whole = {task: dagmtl.keep_all(*central.matrices(task)) for task in NAMES}
    gamma = whole["kind"].gamma.clone()
    gamma[0, 1] = False
    some = dagmtl.Subgraph(gamma, whole["kind"].alpha, whole["kind"].beta, whole["kind"].space)
    finetune(central, whole | {"kind": some}, data, changed(epochs=1), quiet(tmp_path))
    with pytest.raises(StorageError, match="paths"):
        finetune(central, whole | {"far": some}, data, changed(epochs=1), quiet(tmp_path))


def test_fine_tuning_starts_from_the_weights_of_the_search_or_from_new_ones(data, monkeypatch) -> None:
    """What `reinitialise` says; the graphs are the same."""
    starts = {}
    original = Phase.losses

    def losses(phase, model, *rest, **named):
        starts.setdefault((phase.name, again), model.stem[0].weight.detach().clone())
        return original(phase, model, *rest, **named)

    monkeypatch.setattr(Phase, "losses", losses)
    again = None
    searched = search(space, data, CONFIG, quiet())
    paths = []
    for again in (False, True):
        paths.append(dagmtl.fit(space, data, changed(reinitialise=again), quiet()).report.paths)
    assert paths[0] == paths[1]
    assert torch.equal(starts["fine-tune", False], searched.stem[0].weight)
    assert not torch.equal(starts["fine-tune", True], searched.stem[0].weight)
    assert not torch.equal(starts["fine-tune", True], starts["warm-up", True])


def test_a_task_whose_ends_have_not_moved_is_named(data) -> None:
    """Nothing was learned of its graph, which is then one layer from the first state."""
    with pytest.warns(UserWarning, match="Task `(kind|far)`: α and β did not move") as caught:
        result = dagmtl.fit(space, data, changed(upper_lr=0.0), quiet())
    assert sum("did not move" in str(warning.message) for warning in caught) == 2
    assert all(path["layers"] == [[1, 2]] for path in result.report.paths.values())


def test_only_the_task_without_a_label_in_the_batches_is_named() -> None:
    """Its targets are there, and its mask lets none of them through."""
    whole = common().tasks
    mute = dataclasses.replace(whole["far"], elements=lambda p, t: ((p - t[:, :1]) ** 2, t[:, 1:] > 9))
    data = MultiTaskData([whole["kind"], mute], images(12, NAMES), validation=images(4))
    with pytest.warns(UserWarning, match="Task `far`: α and β did not move") as caught:
        report = dagmtl.fit(space, data, changed(lambda_sq=1.0), quiet()).report
    assert sum("did not move" in str(warning.message) for warning in caught) == 1
    assert (report.paths["far"]["read_in"], report.topology["far"]["depth"]) == ([1], 1)
    half = torch.tensor(report.weights["far"]["gamma"])
    assert bool((half[half > 0] == 0.5).all())


def test_without_ends_nothing_is_said_of_ends_that_do_not_move(data) -> None:
    """The ablation: α and β have no part in it."""
    report = dagmtl.fit(space, data, CONFIG.without("read-in/out"), quiet()).report
    for path in report.paths.values():
        assert (path["read_in"], path["read_out"]) == ([1], [4])


def test_the_other_ablations(data) -> None:
    """All layers of the space stay; all pairs are in the space; no loss of the squeeze."""
    whole = dagmtl.fit(space, data, CONFIG.without("reduction"), quiet())
    assert all(found["sparsity"] == 1 for found in whole.report.topology.values())
    assert all(path["read_in"] == [1, 2, 3, 4] for path in whole.report.paths.values())
    assert dagmtl.fit(space, data, CONFIG.without("flow restriction"), quiet()).report.flow == 3
    assert dagmtl.fit(space, data, CONFIG.without("squeeze loss"), quiet()).report.config["lambda_sq"] == 0


def test_a_reduction_of_ones_own(data) -> None:
    """A partial application is in the fingerprint with its arguments."""
    reduction = partial(dagmtl.reduce_random, seed=3, target_sparsity=0.4)
    report = dagmtl.fit(space, data, changed(reduction=reduction), quiet()).report
    assert report.config["reduction"] == "dagmtl.reduction:reduce_random(seed=3, target_sparsity=0.4)"
    assert all(found["sparsity"] <= 0.4 for found in report.topology.values())


def test_without_a_warm_up_the_search_begins_at_once(data) -> None:
    """No such phase."""
    assert set(dagmtl.fit(space, data, changed(warmup_epochs=0), quiet()).report.phases) == {"search", "fine-tune"}


def test_a_task_whose_layers_are_all_nearly_shut_still_gets_a_graph(data) -> None:
    """γ of −20: two billionths are weights like others."""

    def shut(tasks, flow):
        model = space(tasks, flow)
        nn.init.constant_(model.upper["kind"].gamma, -20.0)
        return model

    result = dagmtl.fit(shut, data, changed(upper_lr=1e-3, warmup_epochs=0), quiet())
    assert result.report.paths["kind"]["layers"]
    assert max(max(row) for row in result.report.weights["kind"]["gamma"]) < 1e-8


@pytest.mark.parametrize("states", [2, 3])
def test_few_states(data, states) -> None:
    """Two have one layer."""
    result = dagmtl.fit(partial(space, states=states), data, changed(flow=None), quiet())
    assert all(len(path["layers"]) >= 1 for path in result.report.paths.values())
    assert result.report.flow == states - 1


def test_a_single_task_finds_its_graph(data) -> None:
    """With nobody to share with."""
    report = dagmtl.fit(space, data.select(["kind"]), CONFIG, quiet()).report
    assert report.evaluations["together"] == report.evaluations["alone"]["kind"]
    assert report["shared layers"] == {}


@pytest.mark.parametrize("phase", ["warm-up", "search", "fine-tune"])
def test_a_loss_that_is_not_finite_is_named_in_every_stage(data, monkeypatch, phase) -> None:
    """Task and stage."""
    original = Phase.losses

    def losses(self, model, batch, *rest, **named):
        if self.name == phase:
            for parameter in model.heads["far"].parameters():
                parameter.data.fill_(torch.nan)
        return original(self, model, batch, *rest, **named)

    monkeypatch.setattr(Phase, "losses", losses)
    with pytest.raises(FloatingPointError, match=f"task `far` must be finite.*phase `{phase}`"):
        dagmtl.fit(space, data, CONFIG, quiet())


def test_stopped_in_and_between_the_stages_it_ends_with_the_same_bits(data, result, tmp_path) -> None:
    """At the first and last step of each stage: 4 steps, 8 and 8."""
    for stop in (1, 4, 5, 9, 12, 13, 20):
        with pytest.raises(Stopped), stopped_at(stop):
            dagmtl.fit(space, data, CONFIG, quiet(tmp_path / str(stop)))
        again = dagmtl.fit(space, data, CONFIG, quiet(tmp_path / str(stop)))
        assert again.report.paths == result.report.paths
        for name, tensor in result.model.state_dict().items():
            assert torch.equal(tensor, again.model.state_dict()[name])


def test_a_data_set_for_each_task() -> None:
    """Each view computes its own task only; a task that a step does not label is not squeezed in it."""
    result = dagmtl.fit(space, separate(), CONFIG, quiet())
    assert set(result.report.paths) == {"kind", "tall", "far"}


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (partial(space, states=1), ValueError, "`states` must be at least two. Got 1"),
        (lambda tasks, flow: space(tasks, flow).shared_bottom(), TypeError, "`space` must give a `CentralNetwork`"),
        (lambda tasks, flow: space({"kind": tasks["kind"]}, flow), ValueError, "`space` must be of the tasks"),
    ],
)
def test_what_is_no_space_of_the_tasks_is_refused(data, build, error, message) -> None:
    """Before anything is trained."""
    with pytest.raises(error, match=message):
        dagmtl.fit(build, data, CONFIG, quiet())


def test_a_space_that_is_handed_out_twice_is_refused(data) -> None:
    """`reinitialise` asks for a new one."""
    once = space(data.tasks, 2)
    with pytest.raises(ValueError, match="`build` must make a new model at each call"):
        dagmtl.fit(lambda tasks, flow: once, data, changed(reinitialise=True), quiet())


def test_what_is_no_data_or_configuration_is_refused(data) -> None:
    """By core's door."""
    with pytest.raises(TypeError, match="`data` must be a `MultiTaskData`"):
        dagmtl.fit(space, [], CONFIG)
    with pytest.raises(TypeError, match="`config` must be a configuration"):
        dagmtl.fit(space, data, Config)
