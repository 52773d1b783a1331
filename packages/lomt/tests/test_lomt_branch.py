"""The main branch: which convolutions a layer is chosen from, in any network that can be traced."""

import pytest
import torch
from torch import nn
from torch.nn.functional import relu

from lomt import main_branch, with_layers
from lomt.branch import after_activation
from mtl_core import backbones


class Block(nn.Module):
    """Two convolutions beside a by-pass of one."""

    def __init__(self, bypass=True, inplace=False):
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.relu = nn.BatchNorm2d(4), nn.ReLU(inplace=inplace)
        self.bypass = nn.Conv2d(4, 4, 1) if bypass else nn.Identity()

    def forward(self, x):
        return relu(self.b(self.relu(self.norm(self.a(x)))) + self.bypass(x))


class Branching(nn.Module):
    """Cannot be traced: it looks at its values."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)

    def forward(self, x):
        x = self.a(x)
        return self.b(x) if x.sum() > -1e9 else x


class Shapes(nn.Module):
    """Reads the shape of its features, which is no fork."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        x = self.a(x)
        return self.b(x).reshape(x.shape[0], -1, x.size(2), x.shape[3])


@pytest.mark.parametrize(
    ("make", "count", "first", "last"),
    [
        (lambda: backbones.resnet10(), 8, "layer1.0.conv1", "layer4.0.conv2"),
        (lambda: backbones.resnet50_d(output_stride=8), 48, "layer1.0.conv1", "layer4.2.conv3"),
        (lambda: backbones.mobilenet_v2(), 46, "features.3.conv.0.0", "features.18.0"),
        (lambda: backbones.tiny(), 6, "layer1.conv1", "layer3.conv2"),
    ],
)
def test_it_holds_the_blocks_and_neither_stem_nor_bypasses(make, count, first, last) -> None:
    """ResNet-50 has 16 blocks of three; the stem lies before the first fork."""
    with torch.device("meta"):
        found = main_branch(make())
    assert (len(found.layers), found.layers[0], found.layers[-1]) == (count, first, last)
    assert found.bypassed
    assert not any("downsample" in name for name in found.layers)


def test_the_path_with_most_convolutions_counts() -> None:
    """Two beside one; a stem before the fork is left out."""
    net = nn.Sequential(nn.Conv2d(1, 4, 3), Block(), Block(bypass=False), nn.Conv2d(4, 4, 1))
    assert main_branch(net).layers == ("1.a", "1.b", "2.a", "2.b", "3")


def test_a_network_without_a_fork_is_taken_whole() -> None:
    """And is known to have no way round its layers; reading a shape is no fork."""
    plain = main_branch(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)))
    assert (plain.layers, plain.bypassed) == (("0", "2"), False)
    assert (main_branch(Shapes()).layers, main_branch(Shapes()).bypassed) == (("a", "b"), False)


def test_a_layer_that_is_called_twice_cannot_be_chosen() -> None:
    """It has no one output."""
    twice = nn.Conv2d(4, 4, 1)
    assert main_branch(nn.Sequential(nn.Conv2d(1, 4, 3), twice, twice, nn.Conv2d(4, 2, 1))).layers == ("0", "3")


def test_the_caller_may_name_the_layers() -> None:
    """In the order given; names that are no convolutions are refused."""
    assert main_branch(backbones.tiny(), ["layer1.conv2", "layer3.conv1"]).layers == ("layer1.conv2", "layer3.conv1")
    with pytest.raises(ValueError, match=r"`layers` must be names of convolutions of the backbone. Got `layer1.bn1`"):
        main_branch(backbones.tiny(), ["layer1.bn1"])


def test_a_backbone_that_cannot_be_traced_needs_names() -> None:
    """Its own or the caller's; the message says how."""
    with pytest.raises(ValueError, match=r"`build` must give a backbone that torch.fx can trace.*with_layers"):
        main_branch(Branching())
    assert main_branch(Branching(), ["a", "b"]).bypassed is None
    assert main_branch(with_layers(Branching(), ["a"])).layers == ("a",)


def test_a_backbone_without_convolutions_is_refused() -> None:
    """A transformer has one, before its first fork: nothing could be chosen."""
    for backbone in (nn.Flatten(), backbones.vit()):
        with pytest.raises(ValueError, match="`build` must give a backbone with convolutions on its main branch"):
            main_branch(backbone)


def test_after_the_activation_is_after_norm_and_activation_as_far_as_they_follow() -> None:
    """Of a block's last convolution only the norm follows: the activation comes after the sum."""
    net = backbones.tiny()
    assert after_activation(net, "layer1.conv1") == "relu_1"
    assert after_activation(net, "layer1.conv2") == "layer1_bn2"
    assert after_activation(nn.Sequential(Block()), "0.a") == "_0_relu"
    assert after_activation(nn.Sequential(Block()), "0.b") == "_0_b"
    with pytest.raises(ValueError, match=r'`tap` must be "raw" for a backbone that torch.fx cannot trace'):
        after_activation(Branching(), "a")
