"""The whole procedure on tiny networks: the asked sparsity is met, in one run that resumes, with any model and both regimes."""

import copy
import hashlib

import pytest
import torch
from torch import nn

import adapmtl
import mtl_core
from adapmtl.fit import _follow_authors
from mtl_core import MultiTaskData, Run, SharedBackbone, StorageError, Task
from mtl_core.datasets import arrays
from mtl_core.task import attribute, classification


def images(n=96, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 1, 8, 8, generator=generator)
    label = (x[:, 0, :4].mean((1, 2)) > x[:, 0, 4:].mean((1, 2))).long()
    bright = (x.mean((1, 2, 3)) > 0.5).float()
    return x, label, bright


def common(n=96):
    """Common images with two labels, some of them missing."""
    x, label, bright = images(n)
    label[::5] = -1
    bright[1::4] = torch.nan
    source = arrays(x, {"top": label, "bright": bright})
    return MultiTaskData([classification("top", 2), attribute("bright")], source, test=source)


def separate():
    """A data set per task, of different length."""
    x, label, bright = images()
    tasks = [classification("top", 2), attribute("bright")]
    return MultiTaskData(tasks, [arrays(x, {"top": label}), arrays(x[:40], {"bright": bright[:40]})])


def build(tasks):
    backbone = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1), nn.Conv2d(8, 16, 3), nn.Flatten()
    )
    return SharedBackbone(backbone, tasks, lambda c, t: nn.Linear(c, t.channels), example=torch.zeros(1, 1, 8, 8))


def quiet(folder=None, **options):
    return Run(folder, progress=False, **options)


def sha(model):
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("data", [common, separate])
@pytest.mark.parametrize("asked", [0.5, 0.9])
def test_the_asked_sparsity_is_met_in_both_regimes(data, asked):
    """The share of zeros of the plain model is within half a point of what was asked for."""
    result = adapmtl.fit(build, data(), adapmtl.Config(sparsity=asked, epochs=4), quiet())
    assert abs(adapmtl.sparsity(result.model)["overall"] - asked) < 0.005
    assert result.report.sparsity == adapmtl.sparsity(result.model)
    assert type(result.model) is SharedBackbone


def test_the_sparsity_follows_the_schedule_and_is_held():
    """Zeros grow, and from `reach` on their share is the asked one within a point."""
    result = adapmtl.fit(build, common(), adapmtl.Config(sparsity=0.8, epochs=20, reach=0.5), quiet())
    curve = result.report.phases["prune"]["curves"]["sparsity.overall"]
    steps = len(curve)
    assert curve[0] < 0.1
    assert curve[steps // 4] > 0.5
    assert all(abs(value - 0.8) < 0.02 for value in curve[steps // 2 + 10 :])


def test_it_learns_the_tasks():
    """A task that a linear rule solves is solved with a fifth of the weights."""
    data = common(192)
    result = adapmtl.fit(build, data, adapmtl.Config(sparsity=0.8, epochs=25, lr=3e-3), quiet())
    assert mtl_core.evaluate(result.model, data.test)["bright"]["accuracy"] > 0.85


def test_a_finished_run_is_loaded_and_another_configuration_refused(tmp_path):
    """The same folder gives the same model without a step; with another target it says what differs."""
    first = adapmtl.fit(build, common(), adapmtl.Config(epochs=2), quiet(tmp_path))
    again = adapmtl.fit(build, common(), adapmtl.Config(epochs=2), quiet(tmp_path))
    assert sha(first.model) == sha(again.model)
    assert first.report.sparsity == again.report.sparsity
    with pytest.raises(StorageError, match=r"holds another training .*sparsity"):
        adapmtl.fit(build, common(), adapmtl.Config(epochs=2, sparsity=0.5), quiet(tmp_path))


def test_saved_and_loaded_gives_the_same_predictions(tmp_path):
    """What `save` writes, `load` makes again from `build`."""
    result = adapmtl.fit(build, common(), adapmtl.Config(epochs=2), quiet())
    result.save(tmp_path / "out")
    loaded = mtl_core.load(tmp_path / "out", build)
    x = images()[0]
    assert all(torch.equal(p, loaded(x)[name]) for name, p in result.model(x).items())
    drawn = {path.stem for path in (tmp_path / "out" / "plots").glob("*.svg")}
    assert {plot.__name__ for plot in adapmtl.plots.PLOTS} <= drawn


class Plain(nn.Module):
    """A user's own network: a weight used twice, a frozen layer, a head of parts."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Conv2d(1, 6, 3, padding=1)
        self.mix = nn.Conv2d(6, 6, 3, padding=1)
        self.frozen = nn.Conv2d(6, 6, 1).requires_grad_(False)
        self.a, self.b = nn.Linear(6, 2), nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 1))

    def forward(self, inputs, tasks=None):
        x = self.mix(torch.relu(self.mix(torch.relu(self.trunk(inputs)))))
        x = self.frozen(x).mean((2, 3))
        found = {"top": self.a(x), "bright": self.b(x)}
        return {name: found[name] for name in (tasks or found)}

    def components(self):
        return {
            "backbone": [self.trunk, self.mix, self.frozen],
            "head.top": [self.a],
            "head.bright": [self.b],
        }


def test_a_users_plain_module_is_pruned_and_not_touched_otherwise():
    """Weights used twice are pruned once, frozen ones stay, and the class is the user's."""
    start = Plain()
    frozen = start.frozen.weight.clone()
    result = adapmtl.fit(lambda tasks: start, common(), adapmtl.Config(sparsity=0.7, epochs=3), quiet())
    assert type(result.model) is Plain
    assert torch.equal(result.model.frozen.weight, frozen)
    assert abs(result.report.sparsity["overall"] - 0.7) < 0.005
    assert not result.model.training


def test_no_component_is_emptied():
    """A component keeps its share even where a fast threshold would take all of it."""
    config = adapmtl.Config(sparsity=0.9, epochs=8, theta_lr=0.5, max_component=0.95)
    result = adapmtl.fit(build, common(), config, quiet())
    assert all(share <= 0.96 for name, share in result.report.sparsity.items() if name != "overall")


def test_groupings_of_the_ablation_train():
    """One threshold for all, two, and one for each layer meet the target, too."""
    for groups in (adapmtl.one_for_all, adapmtl.backbone_and_heads, adapmtl.per_layer):
        result = adapmtl.fit(build, common(), adapmtl.Config(sparsity=0.8, epochs=2, groups=groups), quiet())
        assert abs(result.report.sparsity["overall"] - 0.8) < 0.005


def test_one_task_and_one_task_without_labels_in_most_batches():
    """One task trains; labels of a second in one sample in twelve leave no NaN."""
    single = adapmtl.fit(build, common().select(["top"]), adapmtl.Config(epochs=2), quiet())
    assert list(single.report.sparsity) == ["backbone", "head.top", "overall"]
    x, label, bright = images()
    bright[torch.arange(len(bright)) % 12 != 0] = torch.nan
    data = MultiTaskData([classification("top", 2), attribute("bright")], arrays(x, {"top": label, "bright": bright}))
    result = adapmtl.fit(build, data, adapmtl.Config(epochs=3, batch_size=4), quiet())
    assert all(torch.isfinite(p).all() for p in result.model.parameters())


def test_a_group_of_models_keeps_its_structure():
    """A `TaskGroups` is pruned as a whole; each group has thresholds of its own."""

    def groups(tasks):
        return mtl_core.TaskGroups({f"only-{n}": build({n: t}) for n, t in tasks.items()})

    result = adapmtl.fit(groups, common(), adapmtl.Config(epochs=2), quiet())
    assert list(result.report.thresholds) == [
        "only-top.backbone",
        "only-top.head.top",
        "only-bright.backbone",
        "only-bright.head.bright",
    ]
    assert result.model.structure()["groups"]["only-top"]["tasks"] == ["top"]


def test_the_authors_schedule_freezes_thresholds_while_the_target_is_met():
    """Under the released code's rule a threshold has no gradient while the sparsity is reached."""
    model = adapmtl.Thresholded(build(common().tasks))
    model.level(0.5)
    _follow_authors(model, adapmtl.Config(sparsity=0.4), None)
    assert not model.u.requires_grad
    _follow_authors(model, adapmtl.Config(sparsity=0.6), None)
    assert model.u.requires_grad


def test_the_authors_configuration_trains_and_moves_the_thresholds_up():
    """With the released code's values and a start within reach, decay raises theta."""
    config = adapmtl.Config(
        sparsity=0.5, epochs=4, theta_start=-3.5, theta_lr=0.05, authors_weights=True, weight_decay=1e-3
    )
    result = adapmtl.fit(build, common(), config, quiet())
    assert result.report.sparsity["overall"] > 0
    assert adapmtl.Config.authors().theta_start == -15.0
    assert adapmtl.Config.paper().window == 400


def test_a_start_from_which_the_target_is_out_of_reach_is_refused_before_training():
    """The authors' schedule moves a threshold by no more than the sum of the learning rates."""
    with pytest.raises(ValueError, match=r"`theta_start` must be at least .* to reach 90% in 12 steps"):
        adapmtl.fit(build, common(), adapmtl.Config(epochs=2, theta_start=-30.0), quiet())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sparsity": 0.0}, r"`sparsity` must be a share in \(0, 1\)"),
        ({"sparsity": 90}, r"`sparsity` must be a share in \(0, 1\)"),
        ({"reach": 0.0}, r"`reach` must be in \(0, 1\]"),
        ({"max_component": 1.5}, r"`max_component` must be in \(0, 1\]"),
        ({"lambda_": 0.0}, "`lambda_` must be positive"),
        ({"window": 0}, "`window` must be at least 1"),
        ({"lr": 0.0}, "`lr` must be positive"),
        ({"theta_lr": -1.0}, "`theta_lr` must be >= 0"),
        ({"weight_decay": -1.0}, "`weight_decay` must be >= 0"),
        ({"lr_steps": -1}, "`lr_steps` must be >= 0"),
        ({"beta_1": 1.0}, r"`beta_1` must be in \[0, 1\)"),
    ],
)
def test_a_value_out_of_range_is_refused(wrong, message):
    """The message names the field, the rule and the value."""
    with pytest.raises(ValueError, match=message):
        adapmtl.Config(**wrong)


def test_a_loss_that_is_not_finite_names_its_task():
    """NaN in one task's loss stops the training with that task's name."""

    def broken(prediction, target):
        return prediction[:, 0] * float("nan"), torch.ones(len(prediction), dtype=torch.bool)

    x, label, bright = images()
    tasks = [classification("top", 2), Task("sick", 1, broken)]
    data = MultiTaskData(tasks, arrays(x, {"top": label, "sick": bright}))
    with pytest.raises(FloatingPointError, match="task `sick`"):
        adapmtl.fit(build, data, adapmtl.Config(epochs=1), quiet())


def test_the_wider_the_head_the_sparser():
    """A planted truth, one seed: the same task with heads of three widths, held at 85 % overall."""
    x, label, _ = images(128)
    tasks = [classification(name, 2) for name in ("wide", "middle", "narrow")]
    data = MultiTaskData(tasks, arrays(x, {task.name: label for task in tasks}))
    width = {"wide": 256, "middle": 64, "narrow": 16}

    def heads(tasks):
        backbone = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten())

        def head(channels, task):
            return nn.Sequential(
                nn.Linear(channels, width[task.name]), nn.ReLU(), nn.Linear(width[task.name], task.channels)
            )

        return SharedBackbone(backbone, tasks, head, example=torch.zeros(1, 1, 8, 8))

    config = adapmtl.Config(sparsity=0.85, epochs=25)
    found = adapmtl.fit(heads, data, config, quiet()).report.sparsity
    assert found["head.wide"] > found["head.middle"] > found["head.narrow"]


def test_fit_leaves_the_model_it_was_given_and_the_config_alone():
    """Asked twice with one configuration and seed, the same weights come out."""
    config = adapmtl.Config(epochs=1)
    before = copy.copy(config)
    assert sha(adapmtl.fit(build, common(), config, quiet()).model) == sha(
        adapmtl.fit(build, common(), config, quiet()).model
    )
    assert config == before
