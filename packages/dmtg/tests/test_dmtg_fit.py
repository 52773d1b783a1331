"""The whole procedure on tiny networks: it is what a loop written by hand does, it resumes, and its edges hold."""

import copy
import hashlib
import itertools
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import dmtg
import mtl_core
from dmtg.fit import loss_table
from dmtg.grouping import gumbel_noise
from mtl_core import MultiTaskData, Run, SharedBackbone, StorageError, TaskGroups
from mtl_core.backbones import vit
from mtl_core.datasets import arrays
from mtl_core.heads import linear
from mtl_core.phase import Phase
from mtl_core.randomness import generator, seeded
from mtl_core.task import attribute, classification

NAMES = ("kind", "tall", "dark")


def images(n=48, seed=0):
    x = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    halves = torch.stack([x[:, 0, :4].mean((1, 2)), x[:, 0, 4:].mean((1, 2)), x[:, 0, :, 2:6].mean((1, 2))])
    tall = (halves[0] > halves[1]).float()
    return x, {"kind": halves.argmax(0), "tall": tall, "dark": (x.mean((1, 2, 3)) < 0.5).float()}


TASKS = [classification("kind", 3), attribute("tall", weight=0.5), attribute("dark")]


def common(n=48):
    """Common images with three labels, some of them missing."""
    x, targets = images(n)
    targets["tall"][1::3] = torch.nan
    source = arrays(x, targets)
    return MultiTaskData(TASKS, source, test=source)


def separate():
    """A data set per task, of different length."""
    x, targets = images()
    lengths = zip(NAMES, (48, 20, 33), strict=True)
    return MultiTaskData(TASKS, [arrays(x[:n], {name: targets[name][:n]}) for name, n in lengths])


def build(tasks):
    backbone = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.Flatten())
    return SharedBackbone(backbone, tasks, lambda c, t: nn.Linear(c, t.channels), example=torch.zeros(1, 1, 8, 8))


def without_norm(tasks):
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Tanh())
    return SharedBackbone(backbone, tasks, lambda c, t: nn.Linear(c, t.channels), example=torch.zeros(1, 1, 8, 8))


def quiet(folder=None, **options):
    return Run(folder, progress=False, **options)


def sha(model):
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def by_hand(data, config, seed):
    """The algorithm as the poster and the released code have it: K networks in a list, every loss written out."""
    with seeded(seed, "seeded", "model"):
        first = without_norm(data.tasks).double()
    networks = [copy.deepcopy(first) for _ in range(config.groups)]
    logits = torch.ones(len(NAMES), config.groups, dtype=torch.float64, requires_grad=True)
    parameters = [p for network in networks for p in network.parameters()]
    optimizer = torch.optim.Adam([{"params": parameters}, {"params": [logits], "lr": config.logits_lr}], config.lr)
    steps = len(images()[0]) // config.batch_size
    for step in range(config.epochs * steps):
        epoch, position = divmod(step, steps)
        (view,) = data.train.batch(seed, epoch, position, config.batch_size)
        noise = gumbel_noise(len(NAMES), config.groups, generator(seed, "phase", "search", "gumbel", step)).double()
        loss = 0.0
        for i, name in enumerate(NAMES):
            weights = ((logits[i] + noise[i]) / config.tau).exp()
            for j, network in enumerate(networks):
                prediction, target = network(view.inputs.double())[name], view.targets[name]
                known = target >= 0 if name == "kind" else ~target.isnan()
                if not known.any():
                    continue
                if name == "kind":
                    value = nn.functional.cross_entropy(prediction[known], target[known])
                else:
                    value = nn.functional.binary_cross_entropy_with_logits(prediction[known, 0], target[known].double())
                loss = loss + weights[j] / weights.sum() * value * data.tasks[name].weight
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return networks, logits.detach()


def test_it_is_the_loop_written_by_hand():
    """Equal logits, and for each task the predictions of its branch, to rounding, in double precision."""
    data = common()
    config = dmtg.Config(groups=2, epochs=4, batch_size=8, lr=0.02, logits_lr=0.2, weight_decay=0.0)
    result = dmtg.fit(without_norm, data, config, quiet(seed=5, precision="float64"))
    networks, logits = by_hand(data, config, seed=5)
    found = torch.tensor([result.report.probabilities[name] for name in NAMES], dtype=torch.float64)
    torch.testing.assert_close(found, logits.softmax(1), rtol=0, atol=1e-9)
    assert float((found - 0.5).abs().max()) > 0.01
    x = images()[0].double()
    for name, group in zip(NAMES, logits.argmax(1).tolist(), strict=True):
        torch.testing.assert_close(result.model(x)[name], networks[group](x)[name], rtol=0, atol=1e-9)


def test_one_group_is_naive_multi_task_learning():
    """K = 1: the predictions of core's plain training, whose batch norms are estimated anew, too, to rounding."""
    config = {"epochs": 3, "batch_size": 8, "lr": 0.01}
    data = common()
    ours = dmtg.fit(build, data, dmtg.Config(groups=1, **config), quiet(precision="float64"))
    plain = mtl_core.fit(build, data, mtl_core.Config(**config), quiet(precision="float64"))
    mtl_core.estimate_norms(plain.model.train(), data.train, batch_size=8)
    plain.model.eval()
    assert ours.report.groups == {"group0": list(NAMES)}
    x = images()[0].double()
    for name, prediction in plain.model(x).items():
        torch.testing.assert_close(ours.model(x)[name], prediction, rtol=0, atol=1e-9)


def test_in_the_first_step_the_logits_have_no_gradient(monkeypatch):
    """The branches are still equal: only rounding is left."""
    found = []
    step = Phase.step

    def watched(self, loss, optimizer, **named):
        (logits,) = optimizer.param_groups[1]["params"]
        found.append(float(torch.autograd.grad(loss, logits, retain_graph=True)[0].abs().max()))
        step(self, loss, optimizer, **named)

    monkeypatch.setattr(Phase, "step", watched)
    dmtg.fit(build, common(), dmtg.Config(epochs=1, batch_size=8), quiet(precision="float64"))
    assert found[0] < 1e-15
    assert found[-1] > 1e-7


@pytest.mark.parametrize("data", [common, separate])
@pytest.mark.parametrize("stem", [None, "2"])
def test_each_task_is_in_one_group_in_both_regimes(data, stem):
    """The report's groups are those of the model, and name every task once; the curves end at the final distribution."""
    result = dmtg.fit(build, data(), dmtg.Config(epochs=3, stem=stem, logits_lr=0.3), quiet())
    groups = result.report.groups
    assert sorted(name for members in groups.values() for name in members) == sorted(NAMES)
    assert {g: part["tasks"] for g, part in result.model.structure()["groups"].items()} == groups
    for name, row in result.report.probabilities.items():
        assert sum(row) == pytest.approx(1)
        assert name in groups[f"group{row.index(max(row))}"]
        curves = [result.report.phases["search"]["curves"][f"{name}.{j}"] for j in range(3)]
        assert [len(curve) for curve in curves] == [3, 3, 3]
        assert [curve[-1] for curve in curves] == pytest.approx(row)
    assert result.report.encoders["search"] == 3 if stem is None else 1 < result.report.encoders["search"] < 3


@pytest.mark.parametrize("groups", [3, 5])
def test_as_many_groups_as_tasks_or_more(groups):
    """At most one group a task is left, and groups without a task are not in the model."""
    result = dmtg.fit(build, common(), dmtg.Config(groups=groups, epochs=2), quiet())
    assert len(result.model.groups) == len(result.report.groups) <= 3


def test_ties_at_the_start_leave_one_group():
    """Logits that are not trained stay equal: all tasks go to the lowest group, the others are empty and dropped."""
    result = dmtg.fit(build, common(), dmtg.Config(groups=3, epochs=1, logits_lr=0.0), quiet())
    assert result.report.groups == {"group0": list(NAMES)}
    assert result.report.encoders == {"search": 3.0, "final": 1.0}


def test_the_norms_of_a_group_know_the_inputs_of_its_own_tasks_only():
    """Two data sets, a hundred times apart: as every branch meets both, a running mean would lie between them."""
    x, targets = images()
    sources = [arrays(x, {"tall": targets["tall"]}), arrays(100 + x, {"dark": targets["dark"]})]

    def normed(tasks):
        backbone = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten())
        return SharedBackbone(backbone, tasks, lambda c, t: nn.Linear(c, 1), example=torch.zeros(1, 1, 8, 8))

    config = dmtg.Config(groups=2, epochs=2, distribution=Apart)
    model = dmtg.fit(normed, MultiTaskData(TASKS[1:], sources), config, quiet()).model
    means = [float(group.backbone[0].running_mean) for group in model.groups.values()]
    assert means == pytest.approx([0.5, 100.5], abs=0.05)


class Apart(dmtg.GroupDistribution):
    """Task i in group i."""

    def __init__(self, tasks, groups):
        super().__init__(tasks, groups)
        with torch.no_grad():
            self.logits.copy_(1 + 9 * torch.eye(tasks, groups))


def test_batches_without_a_label_of_a_task_are_no_trouble_and_data_without_any_are_refused():
    """One label in 48: most batches have none; no label at all is an error that names the task."""
    x, targets = images()
    targets["tall"][1:] = torch.nan
    result = dmtg.fit(build, MultiTaskData(TASKS, arrays(x, targets)), dmtg.Config(epochs=2, batch_size=4), quiet())
    assert all(torch.isfinite(p).all() for p in result.model.parameters())
    targets["tall"][:] = torch.nan
    with pytest.raises(ValueError, match=r"`train` must hold at least one label of each task. Got none for \['tall'\]"):
        dmtg.fit(build, MultiTaskData(TASKS, arrays(x, targets)), dmtg.Config(epochs=1), quiet())


def test_a_step_without_any_label_changes_no_weight():
    """Every label of one batch is missing: the loss is 0 and has no gradient to a network."""
    x, targets = images(8)
    targets["kind"][1:] = -1
    targets["tall"][1:] = targets["dark"][1:] = torch.nan
    data = MultiTaskData(TASKS, arrays(x, targets))
    result = dmtg.fit(build, data, dmtg.Config(groups=2, epochs=1, batch_size=1), quiet())
    assert all(torch.isfinite(p).all() for p in result.model.parameters())


def test_the_table_of_losses_has_a_row_for_each_task_and_a_column_for_each_group():
    """Losses of heads that are left go to their places; a task without a label has zeros and does not count."""
    alive = torch.tensor([[True, False, True], [True, True, True], [False, False, True]])
    losses = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3.0, 4.0, 5.0]), "c": torch.zeros(())}
    table, labelled = loss_table(losses, {"a": 4, "b": 1, "c": 0}, alive)
    assert table.tolist() == [[1.0, 0.0, 2.0], [3.0, 4.0, 5.0], [0.0, 0.0, 0.0]]
    assert labelled.tolist() == [True, True, False]


def dropping(folder=None):
    config = dmtg.Config(groups=3, epochs=12, batch_size=8, logits_lr=0.5, drop_below=0.05, drop_after=3)
    return dmtg.fit(build, common(), config, quiet(folder, checkpoint_seconds=0))


def test_early_dropping_says_when_and_what_it_saved():
    """Heads are dropped after the epochs asked for at the earliest, and the share of heads that were not computed adds up."""
    report = dropping().report
    assert report.dropped
    assert all(3 <= lost["epoch"] <= 12 for lost in report.dropped)
    assert [lost["epoch"] for lost in report.dropped] == sorted(lost["epoch"] for lost in report.dropped)
    skipped = sum(12 - lost["epoch"] for lost in report.dropped)
    assert report.saved["heads"] == pytest.approx(skipped / (12 * 9))
    for lost in report.dropped:
        curve = report.phases["search"]["curves"][f"{lost['task']}.{lost['group'].removeprefix('group')}"]
        assert all(p > 0 for p in curve[: lost["epoch"] - 1])
        assert all(p == 0 for p in curve[lost["epoch"] - 1 :])
        assert lost["task"] not in report.groups.get(lost["group"], [])


def test_early_dropping_resumes_with_what_was_dropped(tmp_path):
    """Stopped after the first drop and continued: equal weights and report."""
    from mtl_core.testing import Stopped, stopped_at

    whole = dropping()
    after = 6 * (whole.report.dropped[0]["epoch"] + 1)
    with pytest.raises(Stopped), stopped_at(after):
        dropping(tmp_path)
    again = dropping(tmp_path)
    assert sha(again.model) == sha(whole.model)
    assert again.report.dropped == whole.report.dropped


def test_nothing_is_dropped_by_default():
    """Every head is computed until the end."""
    report = dmtg.fit(build, common(), dmtg.Config(epochs=2, logits_lr=5.0), quiet()).report
    assert report.dropped == []
    assert report.saved == {"heads": 0.0, "branches": 0.0}


def test_changes_are_the_epochs_in_which_a_task_went_elsewhere():
    """Read off the curves: the most probable group of some task is another than an epoch before."""
    report = dmtg.fit(build, common(), dmtg.Config(epochs=8, logits_lr=0.5), quiet()).report
    curves = report.phases["search"]["curves"]
    best = [[max(range(3), key=lambda j: curves[f"{name}.{j}"][e]) for name in NAMES] for e in range(8)]
    assert report.changed == [e + 1 for e in range(1, 8) if best[e] != best[e - 1]]


def test_a_killed_search_goes_on_with_the_same_noise(tmp_path):
    """SIGKILL once in mid-epoch, and the same command again: equal to the last bit."""
    script = tmp_path / "killed.py"
    script.write_text(
        f"import os, signal, sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"import torch\ntorch.set_num_threads({torch.get_num_threads()})\n"
        "import test_dmtg_fit as t\nimport dmtg\nfrom mtl_core.phase import Phase\n"
        "step, count = Phase.step, []\n"
        "def counted(self, *arguments, **named):\n"
        "    count.append(1)\n"
        "    if len(count) == 8:\n        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return step(self, *arguments, **named)\n"
        "Phase.step = counted\n"
        "dmtg.fit(t.build, t.common(), dmtg.Config(epochs=4), t.quiet(sys.argv[1], checkpoint_seconds=0))\n"
    )
    killed = subprocess.run([sys.executable, str(script), str(tmp_path / "run")], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = dmtg.fit(build, common(), dmtg.Config(epochs=4), quiet(tmp_path / "run"))
    whole = dmtg.fit(build, common(), dmtg.Config(epochs=4), quiet())
    assert sha(resumed.model) == sha(whole.model)
    assert resumed.report.probabilities == whole.report.probabilities


def test_another_number_of_groups_in_the_same_folder_is_refused(tmp_path):
    """With what differs."""
    dmtg.fit(build, common(), dmtg.Config(epochs=1), quiet(tmp_path))
    with pytest.raises(StorageError, match=r"holds another training .*config.groups: 3 there, 2 now"):
        dmtg.fit(build, common(), dmtg.Config(epochs=1, groups=2), quiet(tmp_path))


@pytest.mark.parametrize("stem", [None, "2"])
def test_saved_and_loaded_gives_the_same_predictions(stem, tmp_path):
    """What `save` writes, `load` makes again from `build`, with the stem; the method's pictures are there."""
    result = dmtg.fit(build, common(), dmtg.Config(epochs=2, stem=stem), quiet())
    result.save(tmp_path)
    loaded = mtl_core.load(tmp_path, build)
    assert isinstance(loaded, TaskGroups)
    assert all(torch.equal(p, loaded(images()[0])[name]) for name, p in result.model(images()[0]).items())
    drawn = {path.stem for path in (tmp_path / "plots").glob("*.svg")}
    assert {plot.__name__ for plot in dmtg.plots.PLOTS} <= drawn


def test_the_final_network_can_be_trained_on():
    """Off by default; asked for, it is a phase of its own and the groups stay."""
    plain = dmtg.fit(build, common(), dmtg.Config(epochs=2), quiet())
    tuned = dmtg.fit(build, common(), dmtg.Config(epochs=2, finetune_epochs=2), quiet())
    assert list(plain.report.phases) == ["search"]
    assert list(tuned.report.phases) == ["search", "finetune/train"]
    assert tuned.report.groups == plain.report.groups
    assert sha(tuned.model) != sha(plain.model)


def test_another_distribution_decides_the_groups():
    """The annealed assignment, with branches that start differently, gives a hard assignment in the end."""
    config = dmtg.Config(groups=2, epochs=6, init_noise=0.5, distribution=dmtg.AnnealedAssignment)
    report = dmtg.fit(build, common(), config, quiet()).report
    assert all(max(row) > 0.6 for row in report.probabilities.values())
    assert report.config["distribution"].endswith("AnnealedAssignment")


def test_a_falling_learning_rate_is_in_the_schedule():
    """Halved after each epoch, three epochs move the logits by at most (1 + 1/2 + 1/4) steps of 0.1 an iteration."""
    config = dmtg.Config(epochs=3, batch_size=48, logits_lr=0.1, lr_epochs=1)
    report = dmtg.fit(build, common(), config, quiet()).report
    odds = [max(row) / min(row) for row in report.probabilities.values()]
    assert max(odds) <= torch.exp(torch.tensor(2 * 0.175)).item() + 1e-3


def test_a_vision_transformer_is_grouped():
    """Nothing in the method knows of convolutions."""

    def transformer(tasks):
        backbone = vit(image_size=8, patch=4, dim=16, depth=1, heads=2, in_channels=1)
        return SharedBackbone(backbone, tasks, linear(), example=torch.zeros(1, 1, 8, 8))

    result = dmtg.fit(transformer, common(), dmtg.Config(epochs=1, stem="embedding"), quiet())
    assert sorted(result.model(images()[0])) == sorted(NAMES)


def test_forty_tasks_in_five_groups_are_trained_to_the_end():
    """Whether a pixel is bright, for 40 of them."""
    x, _ = images(32)
    bright = (x.flatten(1)[:, :40] > 0.5).float()
    tasks = [attribute(f"pixel{i}") for i in range(40)]
    data = MultiTaskData(tasks, arrays(x, {f"pixel{i}": bright[:, i] for i in range(40)}))
    report = dmtg.fit(without_norm, data, dmtg.Config(groups=5, epochs=2), quiet()).report
    assert sum(map(len, report.groups.values())) == 40


def families(n=128):
    """Three families of three tasks: on which side of three thresholds the mean of one of three parts of the image lies."""
    x = torch.randn(n, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    x += torch.randn(n, 3, 1, 1, generator=torch.Generator().manual_seed(2))
    mean = x.mean((2, 3))
    names = [(f"f{family}t{i}", family, level) for family in range(3) for i, level in enumerate((-0.6, 0.0, 0.6))]
    targets = {name: (mean[:, family] > level).float() for name, family, level in names}
    return MultiTaskData([attribute(name) for name in targets], arrays(x, targets))


def narrow(tasks):
    """Features of two numbers: room for two of the three families."""
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(48, 16), nn.ReLU(), nn.Linear(16, 2))
    return SharedBackbone(backbone, tasks, lambda c, t: nn.Linear(c, 1), example=torch.zeros(1, 3, 4, 4))


def test_families_of_tasks_are_partly_found():
    """A planted truth, one seed: more pairs of tasks are treated as the families do than by chance."""
    data = families()
    config = dmtg.Config(groups=3, epochs=25, lr=0.01, logits_lr=0.03)
    groups = dmtg.fit(narrow, data, config, quiet()).report.groups
    group = [next(g for g, members in groups.items() if name in members) for name in data.tasks]

    def agreement(group):
        pairs = list(itertools.combinations(range(9), 2))
        return sum((group[a] == group[b]) == (a // 3 == b // 3) for a, b in pairs) / len(pairs)

    orders = (torch.randperm(9, generator=torch.Generator().manual_seed(i)).tolist() for i in range(200))
    chance = sum(agreement([group[i] for i in order]) for order in orders) / 200
    assert agreement(group) > chance


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"groups": 0}, "`groups` must be a whole number of at least 1"),
        ({"tau": 0.0}, "`tau` must be positive and finite"),
        ({"tau_end": -1.0}, "`tau_end` must be positive and finite"),
        ({"lr": 0.0}, "`lr` must be positive and finite"),
        ({"logits_lr": -1.0}, "`logits_lr` must be >= 0 and finite"),
        ({"weight_decay": -1.0}, "`weight_decay` must be >= 0 and finite"),
        ({"lr_epochs": -1}, "`lr_epochs` must be >= 0"),
        ({"lr_factor": 0.0}, r"`lr_factor` must be in \(0, 1\]"),
        ({"init_noise": -1.0}, "`init_noise` must be >= 0 and finite"),
        ({"drop_below": 0.4}, "`drop_below` must be at least 0 and less than 1 / groups"),
        ({"drop_after": 0}, "`drop_after` must be at least 1"),
        ({"finetune_epochs": -1}, "`finetune_epochs` must be >= 0"),
    ],
)
def test_a_value_out_of_range_is_refused(wrong, message):
    """The message names the field, the rule and the value."""
    with pytest.raises(ValueError, match=message):
        dmtg.Config(**wrong)


def test_the_authors_values_are_those_of_the_released_code():
    """Temperature 2.5 for CelebA and 4 for Taskonomy; other names are refused."""
    assert (dmtg.Config.authors("celeba").tau, dmtg.Config.authors("celeba").lr) == (2.5, 8e-4)
    assert dmtg.Config.authors("taskonomy").tau == 4.0
    with pytest.raises(ValueError, match='`data` must be "celeba" or "taskonomy"'):
        dmtg.Config.authors("rooms")


def test_a_build_that_gives_one_module_twice_is_refused():
    """The final groups need new models."""
    model = build({task.name: task for task in TASKS})
    with pytest.raises(ValueError, match="`build` must make a new model at each call"):
        dmtg.fit(lambda tasks: model, common(), dmtg.Config(epochs=1), quiet())
