"""Backbones in two parts: a stem that runs once, and what each group of tasks has of its own."""

import copy
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from mtl_core.backbones import tiny
from mtl_core.components import components_of
from mtl_core.cut import cut, split
from mtl_core.heads import linear
from mtl_core.model import SharedBackbone, TaskGroups
from mtl_core.result import load, save_model
from mtl_core.task import Task, attribute, classification

TASKS = {"kind": classification("kind", 3), "tall": attribute("tall")}


def build(tasks: Mapping[str, Task]) -> SharedBackbone:
    """A tiny network."""
    return SharedBackbone(tiny(width=0.5, in_channels=1), tasks, linear(), example=torch.zeros(1, 1, 8, 8))


def test_the_two_parts_are_the_model() -> None:
    """Stem and rest, also a copy of the rest, give the model's predictions, and share its parameters and nothing else."""
    model, x = build(TASKS).eval(), torch.rand(2, 1, 8, 8)
    stem, rest = (part.eval() for part in model.split("layer1"))
    for part in (rest, copy.deepcopy(rest)):
        assert all(torch.equal(value, model(x)[name]) for name, value in part(stem(x)).items())
    ids = [id(p) for part in (stem, rest) for p in part.parameters()]
    assert sorted(ids) == sorted(id(p) for p in model.parameters())
    assert list(components_of(rest)) == ["backbone", "head.kind", "head.tall"]


def test_groups_on_a_stem_are_loaded_with_the_same_build(tmp_path: Path) -> None:
    """The structure says where the backbone was split, so `build` need not know of stem and groups; taps are kept."""
    one, two = (build({name: TASKS[name]}).split("layer1")[1] for name in TASKS)
    stem = build(TASKS).split("layer1")[0]
    model = TaskGroups({"one": one.restructure({"taps": {"kind": "layer2.conv2"}}), "two": two}, stem).eval()
    save_model(model, tmp_path)
    again, x = load(tmp_path, build), torch.rand(2, 1, 8, 8)
    assert all(torch.equal(value, model(x)[name]) for name, value in again(x).items())
    assert {n: p.shape for n, p in again.named_parameters()} == {n: p.shape for n, p in model.named_parameters()}


def test_a_layer_with_a_bypass_is_no_place_to_split() -> None:
    """Within a residual block something goes past the layer."""
    with pytest.raises(
        ValueError, match=r"`layer` must be where the backbone is one path. Got `layer1.conv2`: `.*` goes"
    ):
        build(TASKS).split("layer1.conv2")


def test_only_a_plain_traceable_model_with_an_example_is_split() -> None:
    """Taps, no example, or a backbone that cannot be traced are refused."""
    with pytest.raises(ValueError, match=r"`split` must be called on a model without taps"):
        build(TASKS).restructure({"taps": {"kind": "layer1.conv1"}}).split("bn1")
    with pytest.raises(TypeError, match=r"`example` \(one input batch\) must be given to split"):
        SharedBackbone(tiny(in_channels=1), TASKS, linear()).split("bn1")

    class Layers(nn.Module):
        layers = ("low",)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"low": x if float(x.sum()) > 0 else -x}

    with pytest.raises(ValueError, match=r"A backbone must be traceable by torch.fx to be split. Got Layers"):
        split(Layers(), "low")


class Overwriting(nn.Module):
    """Overwrites what each of its layers gives, in four ways."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d, self.e = (nn.Linear(4, 4) for _ in range(5))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.b(self.relu(self.a(x)))
        x = self.c(x.relu_())
        x += 1
        x = self.d(x)
        return self.e(nn.functional.relu(x, inplace=True))


def test_a_tap_gives_its_layer_though_the_backbone_overwrites_it() -> None:
    """Operations in place after a tap do not change what the tap gives."""
    model, x, raw = Overwriting(), torch.randn(3, 4), {}
    for name, layer in model.named_children():
        layer.register_forward_hook(lambda _m, _i, output, name=name: raw.update({name: output.clone()}))
    model(x)
    layers = ["a", "b", "c", "d", "e"]
    found = cut(model, layers)(x)
    assert all(torch.equal(found[layer], raw[layer]) for layer in layers)
