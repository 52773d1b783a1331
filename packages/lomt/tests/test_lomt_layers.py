"""Sparsity patterns and the choice of the layer."""

import warnings

import pytest
import torch
from torch import nn

from lomt import active_layers, choose_layer, densities, last_layer, prefix_layer, zeros
from lomt.layers import Density, backbone_of, convolutions, is_active
from mtl_core import SharedBackbone, TaskGroups, backbones
from mtl_core.task import attribute
from mtl_core.testing.models import Plain


def emptied(left):
    """A tiny network in which so many input channels of each named layer are left."""
    net = backbones.tiny()
    for name, count in left.items():
        net.get_submodule(name).weight.data[:, count:] = 0
    return net


def pattern(text):
    """`"110"`: three layers a, b, c, the last inactive."""
    return {name: mark == "1" for name, mark in zip("abcdefgh", text, strict=False)}


def test_a_layer_is_active_above_a_hundredth_of_its_groups() -> None:
    """And, below a hundred groups, above one group; a layer of one group while that is left."""
    assert not is_active(Density(2, 200))
    assert is_active(Density(3, 200))
    assert not is_active(Density(1, 100))
    assert is_active(Density(2, 100))
    assert not is_active(Density(1, 99))
    assert is_active(Density(2, 8))
    assert is_active(Density(1, 1))
    assert not is_active(Density(0, 1))
    assert not is_active(Density(10, 100), min_density=0.1)


def test_layers_are_judged_in_forward_order() -> None:
    """By the input channels that are left."""
    net = emptied({"layer2.conv2": 5, "layer3.conv1": 1, "layer3.conv2": 0})
    assert densities(net)["layer2.conv2"] == Density(5, 32)
    assert active_layers(net) == {
        "layer1.conv1": True,
        "layer1.conv2": True,
        "layer2.conv1": True,
        "layer2.conv2": True,
        "layer3.conv1": False,
        "layer3.conv2": False,
    }
    assert active_layers(net, 0.5)["layer2.conv2"] is False
    assert active_layers(net, layers=["layer3.conv1"]) == {"layer3.conv1": False}


def test_output_channels_can_be_what_counts() -> None:
    """The same weights, another axis."""
    net = emptied({"layer3.conv2": 1})
    assert not active_layers(net)["layer3.conv2"]
    assert active_layers(net, group="out")["layer3.conv2"]


def test_zeros_are_counted_over_all_convolutions() -> None:
    """Groups and weights of stem, blocks and by-passes; of a shared weight once."""
    net = nn.Sequential(nn.Conv2d(2, 1, 1), nn.Conv2d(1, 1, 3), nn.Linear(3, 3))
    net[0].weight.data[:, 0] = 0
    assert zeros(net) == pytest.approx({"groups": 1 / 3, "weights": 1 / 11})
    net.append(nn.Conv2d(2, 1, 1))
    net[3].weight = net[0].weight
    assert zeros(net) == pytest.approx({"groups": 1 / 3, "weights": 1 / 11})


def test_the_backbone_of_a_model_is_what_counts() -> None:
    """Heads have convolutions, too."""
    model = SharedBackbone(backbones.tiny(), [attribute("tall")], lambda c, t: nn.Conv2d(c, 1, 1))
    assert set(convolutions(model)) == set(convolutions(model.backbone))
    assert active_layers(model) == active_layers(model.backbone)


def test_the_last_active_layer_is_chosen() -> None:
    """None where no layer is inactive: the backbone's own output."""
    assert choose_layer([pattern("1110")]) == "c"
    assert choose_layer([pattern("1000")]) == "a"
    assert choose_layer([pattern("1111")]) is None


def test_a_layer_counts_if_it_is_active_in_every_seed() -> None:
    """So more seeds move a tap only towards the input."""
    assert choose_layer([pattern("1110"), pattern("1100")]) == "b"
    assert choose_layer([pattern("1111"), pattern("1110")]) == "c"


def test_a_gap_before_the_chosen_layer_is_said() -> None:
    """With what the other rule takes; without a gap nothing is said."""
    with pytest.warns(
        UserWarning, match=r"Task `depth` takes `d`, and `c` before it is empty.*gap is `b`, which `rule=prefix"
    ):
        assert choose_layer([pattern("11010")], task="depth") == "d"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert choose_layer([pattern("11010")], rule=prefix_layer) == "b"
        assert choose_layer([pattern("11000")]) == "b"


def test_rules_are_functions() -> None:
    """The paper's, the careful one, and one's own."""
    assert (last_layer(pattern("10110")), prefix_layer(pattern("10110"))) == ("d", "a")
    assert prefix_layer(pattern("0110")) == "b"
    assert choose_layer([pattern("1100")], rule=lambda active: "a") == "a"


def test_no_layer_left_is_an_error_that_names_task_and_strength() -> None:
    """There is nothing to attach a decoder to."""
    with pytest.raises(ValueError, match=r"`lambda_` must leave task `depth` a layer. Got `lambda_ = 0.5`.*lower it"):
        choose_layer([pattern("1100"), pattern("0011")], task="depth", lambda_=0.5)


def test_patterns_must_be_of_one_network() -> None:
    """At least one, with the same layers."""
    for patterns in ([], [pattern("11"), pattern("111")]):
        with pytest.raises(ValueError, match="`patterns` must be at least one, with the same layers"):
            choose_layer(patterns)


def test_what_is_not_usable_is_refused() -> None:
    """A share that is none, a model with several backbones."""
    with pytest.raises(ValueError, match=r"`min_density` must be in \[0, 1\). Got `min_density = 1`"):
        active_layers(backbones.tiny(), 1)
    tall = attribute("tall")
    with pytest.raises(ValueError, match=r"`model` must have one module as its `backbone`. Got 2"):
        backbone_of(Plain({"tall": tall}))
    one = SharedBackbone(backbones.tiny(), [tall], lambda c, t: nn.Conv2d(c, 1, 1), example=torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"`model` must have one module as its `backbone`. Got 0"):
        backbone_of(TaskGroups({"one": one}))
