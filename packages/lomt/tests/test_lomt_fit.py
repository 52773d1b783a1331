"""Both phases on tiny networks: what passes between them, what is refused before, stops between and inside."""

import copy

import pytest
import torch
from torch import nn

import lomt
from mtl_core import Run, SharedBackbone, StorageError, backbones, weighting
from mtl_core.phase import Phase
from mtl_core.testing import Stopped, common, stopped_at, watched
from mtl_core.testing.models import EXAMPLE_SHAPE, head

CONFIG = lomt.Config(lambda_=0.003, epochs=2, batch_size=3)
NAMES = ("kind", "far")


class Residual(nn.Module):
    """A stem and `blocks` blocks; those from `weak` on start so small and do so little that they vanish at once."""

    def __init__(self, blocks=4, weak=2):
        super().__init__()
        self.stem, self.weak = nn.Conv2d(1, 6, 3, padding=1), weak
        self.blocks = nn.ModuleList(nn.Conv2d(6, 6, 3, padding=1) for _ in range(blocks))
        with torch.no_grad():
            for block in self.blocks[weak:]:
                block.weight.mul_(1e-3)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        for place, block in enumerate(self.blocks):
            x = x + (1.0 if place < self.weak else 1e-4) * torch.tanh(block(x))
        return x


def build(tasks):
    return SharedBackbone(Residual(), tasks, head, example=torch.zeros(EXAMPLE_SHAPE))


def quiet(folder=None, **options):
    return Run(folder, progress=False, checkpoint_seconds=0, **options)


@pytest.fixture(scope="module")
def data():
    return common().select(NAMES)


@pytest.fixture(scope="module")
def result(data):
    return lomt.fit(build, data, CONFIG, quiet())


def test_each_decoder_is_at_the_last_layer_that_its_task_left(result) -> None:
    """The model has it, and the report says it, with what is saved."""
    assert result.report.layers == dict.fromkeys(NAMES, "blocks.1")
    assert result.model.taps == result.report.layers
    whole = sum(p.numel() for p in Residual().parameters())
    kept = sum(p.numel() for p in result.model.backbone.parameters())
    saved = result.report.compression
    assert saved["parameters"] == kept == whole - 2 * sum(p.numel() for p in Residual().blocks[0].parameters())
    assert saved["against single-task"] == 2 * whole / kept
    assert all(found["parameters to the layer"] == kept for found in result.report.sparsity.values())
    assert "Decoders: kind at blocks.1; far at blocks.1." in " ".join(result.report.headline)


def test_the_report_says_what_is_zero(result, data) -> None:
    """Groups and weights of each task's own network, its pattern, and both over the training."""
    for task, found in result.report.sparsity.items():
        assert found["pattern"]["blocks.0"] > 0
        assert found["pattern"]["blocks.2"] == found["pattern"]["blocks.3"] == 0
        assert 0 < found["zero weights"] < 1
        curve = result.report.phases[f"{task}.0.0/sparse"]["curves"]["zero weights"]
        assert (len(curve), curve[-1]) == (CONFIG.epochs, found["zero weights"])


def test_nothing_but_the_layers_passes_to_phase_2(result, data) -> None:
    """Phase 2 alone with the same layers gives the same weights; it starts from new ones."""
    alone = lomt.fit_attached(build, data, result.report.layers, CONFIG, quiet())
    for name, tensor in result.model.state_dict().items():
        assert torch.equal(tensor, alone.model.state_dict()[name])
    assert alone.report.compression == result.report.compression


def test_phase_1_alone_gives_the_sparse_networks(result, data, tmp_path) -> None:
    """In the folder of a `fit` it trains nothing; the networks have the zeros of the report."""
    lomt.fit(build, data, CONFIG, quiet(tmp_path))
    steps = []
    with watched(steps.append):
        sparse = lomt.fit_sparse(build, data, CONFIG, quiet(tmp_path))
    assert not steps
    assert sparse.report.layers == result.report.layers
    for task in NAMES:
        assert lomt.zeros(sparse.model.groups[task])["weights"] == result.report.sparsity[task]["zero weights"]
    assert set(sparse.model.tasks) == set(NAMES)


def test_phase_2_learns_the_weights_of_the_losses_without_decay(data) -> None:
    """½ e^(−s) L + ½ s, from s = 0; its parameters are in a group of their own."""
    seen = []
    original = Phase.step

    def step(phase, loss, optimizer, **named):
        if phase.name == "joint":
            seen.append([(len(g["params"]), g["weight_decay"]) for g in optimizer.param_groups])
            s = optimizer.param_groups[1]["params"]
            if len(seen) == 1:
                assert all(float(value.detach()) == 0 for value in s)
        original(phase, loss, optimizer, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Phase, "step", step)
        patch.setattr(weighting, "Uncertainty", made := _Kept(weighting.Uncertainty))
        lomt.fit(build, data, CONFIG, quiet())
    assert seen[0][1] == (2, 0.0)
    assert seen[0][0][1] == CONFIG.weight_decay
    assert all(float(value.detach()) != 0 for value in made.last.s.values())


class _Kept:
    """Keeps what a class makes."""

    def __init__(self, make):
        self._make, self.last = make, None

    def __call__(self, *arguments):
        self.last = self._make(*arguments)
        return self.last


def test_stopped_in_the_second_task_or_between_the_phases_it_ends_with_equal_weights(data, tmp_path) -> None:
    """The first task's training is not repeated."""
    whole = lomt.fit(build, data, CONFIG, quiet(tmp_path / "whole"))
    steps = []
    with watched(lambda phase: steps.append(phase.name)):
        lomt.fit(build, data, CONFIG, quiet(tmp_path / "counted"))
    each, between = steps.count("sparse") // 2, steps.count("sparse")
    for stop in (each + 2, between + 1):
        folder = tmp_path / str(stop)
        with pytest.raises(Stopped), stopped_at(stop):
            lomt.fit(build, data, CONFIG, quiet(folder))
        again = []
        with watched(again.append):
            result = lomt.fit(build, data, CONFIG, quiet(folder))
        assert len(again) == len(steps) - (stop - 1)
        for name, tensor in whole.model.state_dict().items():
            assert torch.equal(tensor, result.model.state_dict()[name])


def test_another_strength_in_the_same_folder_is_refused(data, tmp_path) -> None:
    """The folder never answers with layers found at another λ, and nothing is trained before that is said."""
    lomt.fit(build, data, CONFIG, quiet(tmp_path))
    steps = []
    with watched(steps.append), pytest.raises(StorageError, match=r"config.lambda_: 0.003 there, 0.004 now"):
        lomt.fit(build, data, lomt.Config(lambda_=0.004, epochs=2, batch_size=3), quiet(tmp_path))
    assert not steps


def test_several_seeds_are_several_trainings_in_another_order(data) -> None:
    """Of which a layer must survive all; the report has each."""
    config = lomt.Config(lambda_=0.003, epochs=1, batch_size=3, seeds=2)
    report = lomt.fit(build, data, config, quiet()).report
    first, second = (report.phases[f"kind.0.{place}"] for place in ("0/sparse", "1/repeat/sparse"))
    assert first["history"] != second["history"]
    assert report.layers["kind"] == "blocks.1"


def test_a_lambda_at_which_nothing_becomes_zero_gives_plain_multi_task_learning(data) -> None:
    """And the report says so."""
    result = lomt.fit(build, data, lomt.Config(lambda_=0.0, epochs=1, batch_size=3), quiet())
    assert result.report.layers == dict.fromkeys(NAMES, "output")
    assert result.model.taps == {}
    said = " ".join(result.report.headline)
    assert "No group became zero: `lambda_` is too small" in said
    assert "as in plain multi-task learning" in said


def test_a_lambda_that_empties_every_layer_is_refused_with_task_and_value(data) -> None:
    """There is nothing to attach a decoder to."""
    with pytest.raises(ValueError, match=r"`lambda_` must leave task `kind` a layer. Got `lambda_ = 100`"):
        lomt.fit(build, data, lomt.Config(lambda_=100.0, epochs=1, batch_size=3), quiet())


def test_a_network_without_by_passes_is_warned_of_at_once(data) -> None:
    """Before anything is trained, and in the report."""

    def plain(tasks):
        layers = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1))
        return SharedBackbone(layers, tasks, head, example=torch.zeros(EXAMPLE_SHAPE))

    with pytest.warns(UserWarning, match="The backbone has no way round its layers"):
        result = lomt.fit(plain, data, lomt.Config(lambda_=1e-5, epochs=1, batch_size=3), quiet())
    assert "no way round" in " ".join(result.report.headline)
    assert result.report.layers == dict.fromkeys(NAMES, "output")


def test_what_phase_2_could_not_build_is_refused_before_phase_1(data) -> None:
    """Not after hours: a backbone that cannot be traced, a model that is no `SharedBackbone`, missing validation data."""

    class Branching(Residual):
        def forward(self, x):
            return super().forward(x) if x.sum() > -1e9 else x

    def untraceable(tasks):
        return SharedBackbone(Branching(), tasks, head, example=torch.zeros(EXAMPLE_SHAPE))

    steps = []
    with watched(steps.append):
        with pytest.raises(ValueError, match=r"`build` must give a backbone that torch.fx can trace"):
            lomt.fit(untraceable, data, CONFIG, quiet())
        with pytest.raises(TypeError, match=r"`build` must give a `SharedBackbone`"):
            lomt.fit(_other, data, CONFIG, quiet())
        bare = copy.copy(data)
        bare.validation = None
        with pytest.raises(ValueError, match=r"`data` must have a validation part to choose `lambda_` on"):
            lomt.fit(build, bare, lomt.Config(lambdas=(0.1, 0.2)), quiet())
    assert not steps


def _other(tasks):
    """A model with one backbone that is no `SharedBackbone`."""
    inner = build(tasks)
    model = nn.Module()
    model.inner = inner
    model.components = inner.components
    return model


def test_a_backbone_that_gives_its_layers_goes_through_both_phases(data) -> None:
    """The way round for what cannot be traced; nothing is cut then."""

    class Branching(Residual):
        def forward(self, x):
            return super().forward(x) if x.sum() > -1e9 else x

    def hooked(tasks):
        backbone = lomt.with_layers(Branching(), [f"blocks.{place}" for place in range(4)])
        return SharedBackbone(backbone, tasks, head, example=torch.zeros(EXAMPLE_SHAPE))

    result = lomt.fit(hooked, data, CONFIG, quiet())
    assert result.report.layers == dict.fromkeys(NAMES, "blocks.1")
    assert result.report.compression["against multi-task"] == 1


def test_features_after_the_activation_can_be_taken(data) -> None:
    """Where a norm follows, the decoder sees what it gives."""

    def normed(tasks):
        return SharedBackbone(backbones.tiny(in_channels=1), tasks, head, example=torch.zeros(EXAMPLE_SHAPE))

    layers = {"kind": "layer1.conv1"}
    config = lomt.Config(epochs=1, batch_size=3, tap="activated")
    result = lomt.fit_attached(normed, data.select(["kind"]), layers, config, quiet())
    assert "layer1.bn1" in dict(result.model.backbone.named_modules())
    assert result.report.layers == layers


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lambda_": -1.0}, r"`lambda_` must be >= 0 and finite. Got `lambda_ = -1.0`"),
        ({"lambdas": (0.1, 0.1)}, r"`lambdas` must be different numbers >= 0. Got `lambdas = \(0.1, 0.1\)`"),
        ({"lr": 0.0}, r"`lr` must be positive and finite"),
        ({"weight_decay": -1.0}, r"`weight_decay` must be >= 0"),
        ({"min_density": 1.0}, r"`min_density` must be in \[0, 1\)"),
        ({"seeds": 0}, r"`seeds` must be at least 1"),
        ({"group": "all"}, r"`group` must be \"in\" or \"out\". Got `group = 'all'`"),
        ({"tap": "middle"}, r"`tap` must be \"raw\" or \"activated\""),
        ({"epochs": 0}, r"`epochs` must be a whole number of at least 1. Got `epochs = 0`"),
        ({"sparse_epochs": 0}, r"`sparse_epochs` must be a whole number of at least 1"),
        ({"batch_size": 1.5}, r"`batch_size` must be a whole number of at least 1"),
    ],
)
def test_values_out_of_range_are_refused(values, message) -> None:
    """By the name of the field, with its rule."""
    with pytest.raises(ValueError, match=message):
        lomt.Config(**values)


def test_the_papers_values_are_five_seeds_and_a_thousandth() -> None:
    """What the paper prints."""
    assert (lomt.Config.paper().seeds, lomt.Config.paper().lambda_) == (5, 1e-3)
