"""The four stages on tiny networks: what passes between them, what the report says, stops in each, and the saved file."""

import math
import warnings

import pytest
import torch
from torch import nn

import dmo
import mtl_core
from mtl_core import MultiTaskData, Run, SharedBackbone, StorageError, backbones, heads
from mtl_core.datasets import arrays
from mtl_core.phase import Phase
from mtl_core.randomness import digest
from mtl_core.sparsity import prunable_weights
from mtl_core.task import attribute, classification
from mtl_core.testing import Stopped, stopped_at, watched

NAMES = ("dark", "kind", "tall")
CONFIG = dmo.Config(epochs=3, batch_size=8, lr=0.2, tau_sim=0.62)

pytestmark = [pytest.mark.filterwarnings("ignore:The similarity of loss curves says little")]


def images(n=40, seed=0):
    x = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    halves = torch.stack([x[:, 0, :4].mean((1, 2)), x[:, 0, 4:].mean((1, 2)), x[:, 0, :, 2:6].mean((1, 2))])
    tall = (halves[0] > halves[1]).float()
    tall[1::3] = torch.nan
    return x, {"tall": tall, "kind": halves.argmax(0), "dark": (x.mean((1, 2, 3)) < 0.5).float()}


TASKS = [attribute("tall"), classification("kind", 3), attribute("dark")]


def data(names=("tall", "kind", "dark")):
    x, targets = images()
    tasks = {task.name: task for task in TASKS}
    source = arrays(x, {name: targets[name] for name in names})
    return MultiTaskData([tasks[name] for name in names], source, test=source)


def build(tasks):
    backbone = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.Flatten())
    return SharedBackbone(backbone, tasks, lambda c, t: nn.Linear(c, t.channels), example=torch.zeros(1, 1, 8, 8))


def head_first(tasks):
    """Draws the heads' weights before the backbone's."""
    made = {name: nn.Linear(128, task.channels) for name, task in tasks.items()}
    backbone = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.Flatten())
    return SharedBackbone(backbone, tasks, lambda c, t: made[t.name], example=torch.zeros(1, 1, 8, 8))


def quiet(folder=None, **options):
    return Run(folder, progress=False, checkpoint_seconds=0, **options)


def prunable(model):
    return prunable_weights(model.backbone)


@pytest.fixture(scope="module")
def singles():
    return dmo.fit_singles(build, data(), CONFIG, quiet())


@pytest.fixture(scope="module")
def result():
    return dmo.fit(build, data(), CONFIG, quiet())


@pytest.mark.parametrize("make", [build, head_first])
def test_all_tasks_start_from_the_same_weights(make) -> None:
    """Also where `build` draws a head first, whose size differs from task to task."""
    starts = []
    original = Phase.running

    def running(phase):
        starts.append({name: w.detach().clone() for name, w in prunable(phase._model).items()})
        return original(phase)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Phase, "running", running)
        dmo.fit_singles(make, data(), CONFIG, quiet())
    assert len(starts) == 3
    assert len({digest(start) for start in starts}) == 1


def test_a_single_task_is_trained_by_sgd_with_momentum_decay_and_a_cosine(singles) -> None:
    """The loop written by hand gives the same network, to rounding."""
    whole = dmo.fit_singles(build, data(), CONFIG, quiet(precision="float64"))
    mine, start = data().select(["kind"]), {}
    original = Phase.running

    def running(phase):
        start.setdefault(
            phase._run.folder, [{k: v.clone() for k, v in phase._model.state_dict().items()}, phase._model]
        )
        return original(phase)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Phase, "running", running)
        dmo.fit_singles(build, mine, CONFIG, quiet(precision="float64"))
    model = build(mine.tasks).double()
    model.load_state_dict(next(iter(start.values()))[0])
    optimizer = torch.optim.SGD(model.parameters(), CONFIG.lr, momentum=0.9, weight_decay=5e-4)
    curve = []
    for epoch in range(3):
        optimizer.param_groups[0]["lr"] = CONFIG.lr * (1 + math.cos(math.pi * epoch / 3)) / 2
        losses = []
        for step in range(5):
            (view,) = mine.train.batch(0, epoch, step, 8)
            loss = nn.functional.cross_entropy(model(view.inputs.double())["kind"], view.targets["kind"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        curve.append(sum(losses) / 5)
    alone = dmo.fit_singles(build, mine, CONFIG, quiet(precision="float64"))["kind"]
    assert alone.curve == pytest.approx(curve, abs=1e-9)
    for name, weight in prunable(model).items():
        torch.testing.assert_close(prunable(alone.model)[name], weight, rtol=0, atol=1e-9)
    assert list(whole) == sorted(NAMES)


def test_the_losses_of_samples_are_those_of_labelled_ones_in_evaluation_mode(singles) -> None:
    """Core's own measure of the final network; samples without a label are left out."""
    for name, single in singles.items():
        single.model.eval()
        expected = mtl_core.sample_losses(single.model, data().train, data().tasks[name])
        torch.testing.assert_close(single.losses, expected)
    assert len(singles["tall"].losses) < len(singles["kind"].losses) == 40


def test_the_report_holds_what_the_stages_decided(result, singles) -> None:
    """Groups, similarities, difficulties and shares are those of the functions, tasks in alphabetical order."""
    report = result.report
    found = dmo.allocate(singles, CONFIG)
    assert report.groups == found.groups
    assert {group: part["tasks"] for group, part in result.model.structure()["groups"].items()} == report.groups
    assert sorted(map(len, report.groups.values())) == [1, 2]
    assert report.similarity["tasks"] == sorted(NAMES)
    assert report.similarity["S"] == found.S.tolist()
    S = dmo.similarity(torch.tensor(report.similarity["S_W"]), torch.tensor(report.similarity["S_L"]), CONFIG.alpha)
    torch.testing.assert_close(S.double(), found.S, rtol=0, atol=1e-6)
    assert list(report.difficulty.values()) == dmo.difficulty([single.losses for single in singles.values()]).tolist()
    assert report.mu == float(dmo.loss_threshold([single.losses for single in singles.values()]))
    assert report.keep == {n: pytest.approx(dmo.keep_ratio(d, CONFIG.tau)) for n, d in report.difficulty.items()}
    assert "2 groups" in report.headline[0]


def test_a_group_starts_with_the_union_the_hardest_tasks_norms_and_new_heads(singles) -> None:
    """What stage 4 is handed, seen before its first step."""
    starts = {}
    original = Phase.running

    def running(phase):
        starts[phase.name] = {name: tensor.clone() for name, tensor in phase._model.state_dict().items()}
        return original(phase)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Phase, "running", running)
        dmo.fit_groups(build, data(), singles, CONFIG, quiet())
    found = dmo.allocate(singles, CONFIG)
    for group, members in found.groups.items():
        start, merged = starts[f"joint.{group}"], found.merged[group]
        hardest = max(members, key=lambda name: found.difficulty[name])
        assert members[merged.hardest] == hardest
        theirs = singles[hardest].model.state_dict()
        for name in ("backbone.1.weight", "backbone.1.running_mean", "backbone.0.bias"):
            assert torch.equal(start[name], theirs[name])
        for name, value in merged.values.items():
            assert torch.equal(start["backbone." + name.removeprefix("0.")], value)
        for name in members:
            assert not torch.equal(start[f"heads.{name}.weight"], singles[name].model.heads[name].weight)


def test_pruned_weights_are_zero_after_every_step_and_survivors_are_trained() -> None:
    """By the masks, with momentum and weight decay."""
    single = dmo.fit_singles(build, data(), CONFIG, quiet())
    found = dmo.allocate(single, CONFIG)
    seen, original = [], Phase.step

    def step(phase, loss, optimizer, **named):
        original(phase, loss, optimizer, **named)
        merged = found.merged[phase.name.removeprefix("joint.")]
        weights = dict(zip(merged.mask, prunable(phase._model).values(), strict=True))
        seen.append(all(not bool(weights[name][~mask].any()) for name, mask in merged.mask.items()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Phase, "step", step)
        result = dmo.fit_groups(build, data(), single, CONFIG, quiet())
    assert seen == [True] * (2 * 3 * 5)
    for group, model in result.model.groups.items():
        for (name, mask), weight in zip(found.merged[group].mask.items(), prunable(model).values(), strict=True):
            assert torch.equal(weight != 0, mask)
            assert bool((weight != found.merged[group].values[name])[mask].any())


def test_parameters_are_counted_per_task_per_group_and_in_all(result, singles) -> None:
    """Against counting what is not zero in the networks; the ratio is to a network for each task."""
    allocation = result.report.allocation
    dense = 6 + 8 + 2 * 6  # biases and the norm
    weights = 6 * 9 + 8 * 6 * 9
    for group, model in result.model.groups.items():
        union = sum(int((w != 0).sum()) for w in prunable(model).values())
        assert allocation["groups"][group]["weights"] == union
        own = sum(p.numel() for p in model.heads.parameters())
        assert allocation["groups"][group]["parameters"] == union + dense + own
    assert allocation["in all"] == sum(group["parameters"] for group in allocation["groups"].values())
    for name, part in allocation["tasks"].items():
        kept = max(1, round(result.report.keep[name] * weights), round(CONFIG.min_keep * weights))
        assert part["weights"] == kept
        assert part["parameters"] == kept + dense + 129 * (3 if name == "kind" else 1)
        assert result.report.components[name]["weights kept"] == kept / weights
    alone = sum(p.numel() for single in singles.values() for p in single.model.parameters())
    assert allocation["ratio"] == allocation["in all"] / alone


def test_the_order_of_the_tasks_does_not_matter() -> None:
    """The same groups with the same bits, task by task."""
    one, other = (
        dmo.fit(build, data(names), CONFIG, quiet()) for names in (("tall", "kind", "dark"), ("dark", "tall", "kind"))
    )
    assert one.report.groups == other.report.groups
    assert digest(one.model.state_dict()) == digest(other.model.state_dict())


def test_one_group_only_and_only_singletons_are_said_with_the_threshold_that_would_change_them(singles) -> None:
    """And with that threshold other groups are found."""
    for tau_sim, words, groups in ((-1.0, "One group only", 1), (1.0, "Only groups of one task", 3)):
        config = dmo.Config(epochs=3, batch_size=8, lr=0.2, tau_sim=tau_sim)
        report = dmo.fit_groups(build, data(), singles, config, quiet()).report
        assert len(report.groups) == groups
        said = " ".join(report.headline)
        assert words in said
        shown = float(said.split("Groups change ")[1].split("tau_sim = ")[1].split(" ")[0])
        for threshold in (report.change, shown):
            assert len(dmo.group_tasks(report.similarity["S"], threshold)) != groups
        side = "between" if groups == 1 else "within"
        assert report.similarity[side] is None


def test_one_task_is_one_group_and_nothing_more_is_said() -> None:
    """Its network is pruned by its own difficulty."""
    report = dmo.fit(build, data(("kind",)), CONFIG, quiet()).report
    assert report.groups == {"group0": ["kind"]}
    assert report.change is None
    assert "One group only" not in " ".join(report.headline)
    assert 0 < report.allocation["ratio"] < 1


def test_two_identical_tasks_share_a_network() -> None:
    """The same labels under two names: S is nearly 1 (their heads start differently), d equal to a sample."""
    x, targets = images()
    twins = MultiTaskData([classification(n, 3) for n in "ab"], arrays(x, dict.fromkeys("ab", targets["kind"])))
    report = dmo.fit(build, twins, CONFIG, quiet()).report
    assert report.groups == {"group0": ["a", "b"]}


def test_a_task_without_a_difficult_sample_keeps_min_keep_and_one_of_only_such_keeps_most() -> None:
    """Single networks with losses as they are given: d is 0 and 1."""
    made = dmo.fit_singles(build, data(("kind", "dark")), CONFIG, quiet())
    losses = {"dark": torch.full((9,), 0.01), "kind": torch.full((9,), 3.0)}
    made = {name: dmo.Single(single.model, single.curve, losses[name]) for name, single in made.items()}
    report = dmo.fit_groups(build, data(("kind", "dark")), made, CONFIG, quiet()).report
    assert report.difficulty == {"dark": 0, "kind": 1}
    assert report.allocation["tasks"]["dark"]["weights"] == round(0.01 * 486)
    assert report.allocation["tasks"]["kind"]["weights"] == round((1 - math.exp(-1)) * 486)


def test_a_constant_curve_is_similar_to_nothing(singles) -> None:
    """S of the losses is 0 beside it."""
    flat = {
        name: dmo.Single(s.model, [1.0] * 3 if name == "kind" else s.curve, s.losses) for name, s in singles.items()
    }
    found = dmo.allocate(flat, CONFIG)
    place = found.names.index("kind")
    assert found.S_L[place].tolist() == [0, 0, 0]


def test_losses_of_different_kinds_are_warned_of_before_anything_is_trained() -> None:
    """With the kinds; tasks of one kind are not."""
    x, targets = images()
    far = mtl_core.Task("far", 1, lambda p, t: ((p - t) ** 2, t > 0), kind="metres")
    tasks = [classification("kind", 3), far]
    mixed = MultiTaskData(tasks, arrays(x, {"kind": targets["kind"], "far": x.mean((1, 2, 3))[:, None]}))
    steps = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with watched(steps.append), pytest.raises(UserWarning, match=r"of different kinds \(kind: nats, far: metres\)"):
            dmo.fit(build, mixed, CONFIG, quiet())
    assert not steps
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dmo.fit(build, data(("kind", "dark")), dmo.Config(epochs=10, batch_size=40), quiet())


def test_what_cannot_be_merged_is_refused_before_anything_is_trained() -> None:
    """A backbone that hangs on the tasks, or without a weight to prune; singles of other tasks."""

    def wider(tasks):
        width = 4 + 2 * len(tasks)
        backbone = nn.Sequential(nn.Conv2d(1, width, 3), nn.Flatten())
        return SharedBackbone(backbone, tasks, lambda c, t: nn.Linear(c, t.channels), example=torch.zeros(1, 1, 8, 8))

    def bare(tasks):
        return SharedBackbone(
            nn.Flatten(), tasks, lambda c, t: nn.Linear(c, t.channels), example=torch.zeros(1, 1, 8, 8)
        )

    steps = []
    with watched(steps.append):
        with pytest.raises(
            ValueError, match=r"`build` must give one and the same backbone .* Got `0.0.bias` of shape \(10,\)"
        ):
            dmo.fit(wider, data(), CONFIG, quiet())
        with pytest.raises(ValueError, match=r"`build` must give a backbone with a convolution or a linear layer"):
            dmo.fit(bare, data(), CONFIG, quiet())
        with pytest.raises(
            ValueError, match=r"`singles` must be those of the tasks \['dark', 'kind', 'tall'\]. Got \[\]"
        ):
            dmo.fit_groups(build, data(), {}, CONFIG, quiet())
    assert not steps


def test_stopped_in_each_stage_it_ends_with_equal_weights(tmp_path) -> None:
    """In the second task, with the last of them (grouping and allocation follow), and in the second group."""
    phases = []
    with watched(lambda phase: phases.append(phase.name)):
        whole = dmo.fit(build, data(), CONFIG, quiet(tmp_path / "whole"))
    single = phases.count("single")
    for stop in (single // 3 + 2, single, single + 1, len(phases) - 2):
        folder = tmp_path / str(stop)
        with pytest.raises(Stopped), stopped_at(stop):
            dmo.fit(build, data(), CONFIG, quiet(folder))
        again = []
        with watched(again.append):
            result = dmo.fit(build, data(), CONFIG, quiet(folder))
        assert len(again) == len(phases) - (stop - 1)
        assert digest(result.model.state_dict()) == digest(whole.model.state_dict())
        assert result.report.difficulty == whole.report.difficulty


def test_the_folder_of_a_fit_gives_its_single_networks_without_training(tmp_path) -> None:
    """`fit_singles` loads them, losses of the samples included."""
    result = dmo.fit(build, data(), CONFIG, quiet(tmp_path))
    steps = []
    with watched(steps.append):
        singles = dmo.fit_singles(build, data(), CONFIG, quiet(tmp_path))
    assert not steps
    assert dmo.allocate(singles, CONFIG).S.tolist() == result.report.similarity["S"]


def test_other_single_networks_in_the_same_folder_are_refused(singles, tmp_path) -> None:
    """The folder never answers with groups of other networks."""
    dmo.fit_groups(build, data(), singles, CONFIG, quiet(tmp_path))
    other = dmo.fit_singles(build, data(), CONFIG, quiet(seed=3))
    with pytest.raises(StorageError, match="singles"):
        dmo.fit_groups(build, data(), other, CONFIG, quiet(tmp_path))


def test_a_damaged_record_of_losses_is_refused() -> None:
    """What a checkpoint holds is looked at before it is used."""
    from dmo.single import _Losses

    with pytest.raises(ValueError, match="`losses` must be a row of numbers"):
        _Losses().load_state_dict({"losses": torch.zeros(2, 2)})


@pytest.mark.parametrize("tau", [1.0, 0.05])
def test_the_saved_file_holds_the_survivors_alone_and_loads_bit_by_bit(tau, tmp_path) -> None:
    """At most 1.1 times four bytes a survivor, a bit a weight, and the dense rest: of a ResNet-10 of a quarter's width."""

    def resnet(tasks):
        return SharedBackbone(
            backbones.resnet10(width=0.25, in_channels=1, small_images=True), tasks, heads.linear(), example=x[:1]
        )

    x, targets = images(16)
    small = MultiTaskData(TASKS, arrays(x, targets))
    config = dmo.Config(epochs=3, batch_size=8, tau=tau, tau_sim=0.9)
    result = dmo.fit(resnet, small, config, quiet())
    result.save(tmp_path)
    weights = [w for model in result.model.groups.values() for w in prunable(model).values()]
    survivors = sum(int((w != 0).sum()) for w in weights)
    elements = sum(w.numel() for w in weights)
    state = result.model.state_dict()
    dense = sum(t.numel() * t.element_size() for t in state.values()) - 4 * elements
    assert survivors == sum(group["weights"] for group in result.report.allocation["groups"].values())
    assert (tmp_path / "model.safetensors").stat().st_size <= 1.1 * (4 * survivors + elements / 8 + dense)
    again = mtl_core.load(tmp_path, resnet)
    assert digest(again.state_dict()) == digest(state)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"alpha": 1.1}, r"`alpha` must be in \[0, 1\]. Got `alpha = 1.1`"),
        ({"tau_sim": math.nan}, "`tau_sim` must be finite"),
        ({"tau_clique": math.inf}, "`tau_clique` must be finite"),
        ({"tau": 0.0}, "`tau` must be positive and finite"),
        ({"min_keep": -0.1}, "`min_keep` must be a share from 0 to 1"),
        ({"epochs": 2}, "`epochs` must be a whole number of at least 3: two losses .* Got `epochs = 2`"),
        ({"batch_size": 0}, "`batch_size` must be a whole number of at least 1"),
        ({"lr": 0.0}, "`lr` must be positive and finite"),
        ({"momentum": 1.0}, r"`momentum` must be in \[0, 1\)"),
        ({"weight_decay": -1.0}, "`weight_decay` must be >= 0 and finite"),
    ],
)
def test_values_out_of_range_are_refused(values, message) -> None:
    """By the name of the field, with its rule; two epochs are too few for a correlation."""
    with pytest.raises(ValueError, match=message):
        dmo.Config(**values)


def test_the_defaults_and_the_papers_values_are_those_of_the_card() -> None:
    """What the paper prints, scenario by scenario."""
    config = dmo.Config()
    assert (config.alpha, config.tau_sim, config.tau_clique, config.tau, config.min_keep) == (
        0.5,
        0.45,
        None,
        1.0,
        0.01,
    )
    assert (config.epochs, config.batch_size, config.lr, config.momentum, config.weight_decay) == (
        25,
        64,
        0.1,
        0.9,
        5e-4,
    )
    found = [dmo.Config.paper(scenario=n) for n in (1, 2, 3)]
    assert [(c.epochs, c.batch_size, c.lr) for c in found] == [(25, 64, 0.1), (200, 64, 0.1), (25, 128, 0.01)]
    assert {(c.min_keep, c.tau_sim, c.alpha) for c in found} == {(0.0, 0.8, 0.1)}
    with pytest.raises(ValueError, match=r"`scenario` must be 1, 2 or 3. Got `scenario = 4`"):
        dmo.Config.paper(scenario=4)
