"""The branched network: equal branches, a stem that runs once, heads that are dropped, and what is left at the end."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import dmtg
from dmtg.network import groups_of
from mtl_core import SharedBackbone, TaskGroups
from mtl_core.backbones import tiny, vit
from mtl_core.components import components_of
from mtl_core.heads import linear
from mtl_core.task import Task, attribute, classification
from mtl_core.testing import HOSTILE

TASKS = {"kind": classification("kind", 3), "tall": attribute("tall"), "far": attribute("far")}
X = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def build(tasks: Mapping[str, Task]) -> SharedBackbone:
    """A tiny residual network with batch norms."""
    return SharedBackbone(tiny(width=0.5, in_channels=1), tasks, linear(), example=X[:1])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_branches_start_alike_and_a_task_has_a_prediction_of_each() -> None:
    """A tuple of K equal predictions, each that of a branch, which shares no parameter with another."""
    model = dmtg.BranchedModel(build, TASKS, 3).eval()
    found = model(X)
    assert {name: len(several) for name, several in found.items()} == {"kind": 3, "tall": 3, "far": 3}
    for j, branch in enumerate(model.branches):
        assert all(torch.equal(found[name][j], prediction) for name, prediction in branch(X).items())
    assert all(torch.equal(several[0], other) for several in found.values() for other in several)
    ids = [id(p) for branch in model.branches for p in branch.parameters()]
    assert len(set(ids)) == len(ids)


def test_only_the_tasks_asked_for_are_answered() -> None:
    """One of three; an unknown one is refused."""
    model = dmtg.BranchedModel(build, TASKS, 2)
    assert list(model(X, ["far"])) == ["far"]
    with pytest.raises(ValueError, match="`tasks` must be among"):
        model(X, ["near"])


def test_components_name_every_parameter_once() -> None:
    """Of the stem, and of each branch under its group."""
    model = dmtg.BranchedModel(build, TASKS, 2, stem="layer1")
    heads = ["head.kind", "head.tall", "head.far"]
    expected = ["stem", *(f"group{j}.{part}" for j in range(2) for part in ("backbone", *heads))]
    assert list(components_of(model)) == expected


def test_noise_starts_the_branches_differently_and_leaves_what_is_constant_or_frozen() -> None:
    """Every trainable weight with a spread differs by about the noise; the scale of a norm is still 1."""

    def frozen(tasks: Mapping[str, Task]) -> SharedBackbone:
        model = build(tasks)
        model.backbone.conv1.weight.requires_grad_(False)
        return model

    model = dmtg.BranchedModel(frozen, TASKS, 2, init_noise=0.5)
    first, second = (dict(branch.named_parameters()) for branch in model.branches)
    changed = {name for name in first if not torch.equal(first[name], second[name])}
    assert {name for name in first if name.startswith("heads") and name.endswith("weight")} <= changed
    assert "backbone.layer1.conv1.weight" in changed
    assert "backbone.conv1.weight" not in changed
    assert "backbone.bn1.weight" not in changed
    name = "backbone.layer3.conv2.weight"
    apart = ((first[name] - second[name]).std() / first[name].std()).item()
    assert 0.5 < apart < 0.8  # two independent noises of .5, on weights that have grown by them: .71 / 1.12


def test_the_stem_runs_once_and_the_branches_take_its_features() -> None:
    """One call a forward pass, and the same predictions as without a split."""
    model = dmtg.BranchedModel(build, TASKS, 3, stem="layer1").eval()
    calls: list[int] = []
    model.stem.register_forward_hook(lambda *_: calls.append(1))
    found = model(X)
    assert len(calls) == 1
    torch.manual_seed(0)
    whole = dmtg.BranchedModel(build, TASKS, 3).eval()(X)
    assert all(torch.equal(found[name][j], whole[name][j]) for name in TASKS for j in range(3))


def stem_gradient(model: dmtg.BranchedModel) -> Tensor:
    sum(prediction.sum() for several in model(X).values() for prediction in several).backward()
    gradient = next(model.stem.parameters()).grad
    assert gradient is not None
    return gradient


def test_the_stem_receives_its_gradient_divided_by_the_root_of_k() -> None:
    """A half with four branches; without the scaling the sum of the branches' gradients. Branches get all of theirs."""
    found = {}
    for scaled in (True, False):
        torch.manual_seed(0)
        model = dmtg.BranchedModel(build, TASKS, 4, stem="layer1", grad_scale=scaled).eval()
        found[scaled] = stem_gradient(model), next(model.branches[1].parameters()).grad
    torch.testing.assert_close(found[True][0], found[False][0] / 2)
    assert torch.equal(found[True][1], found[False][1])


def test_a_frozen_stem_needs_no_gradient() -> None:
    """Features without a gradient are not hooked."""
    model = dmtg.BranchedModel(build, TASKS, 2, stem="layer1")
    model.stem.requires_grad_(False)
    assert model(X)["kind"][0].requires_grad


def test_heads_that_are_not_kept_are_not_computed_nor_a_branch_without_any() -> None:
    """A task has a prediction for each branch that it still has."""
    model = dmtg.BranchedModel(build, TASKS, 3).eval()
    whole, calls = model(X), []
    for j, branch in enumerate(model.branches):
        branch.register_forward_hook(lambda *_, j=j: calls.append(j))
    model.keep([[True, False, False], [True, False, True], [False, False, True]])
    found = model(X)
    assert {name: len(several) for name, several in found.items()} == {"kind": 1, "tall": 2, "far": 1}
    assert torch.equal(found["tall"][1], whole["tall"][2])
    assert calls == [0, 2]


def different(K: int, stem: str | None = None) -> dmtg.BranchedModel:
    """Branches apart from each other, with running statistics of their own."""
    model = dmtg.BranchedModel(build, TASKS, K, stem, init_noise=0.5)
    model(10 * X)
    return model.eval()


@pytest.mark.parametrize("stem", [None, "layer1"])
def test_what_is_left_predicts_what_each_tasks_branch_predicted(stem: str | None) -> None:
    """Bit for bit, with running statistics; an empty branch is dropped."""
    model = different(3, stem)
    final = model.pruned(build, [2, 0, 2]).eval()
    assert isinstance(final, TaskGroups)
    assert list(final.structure()["groups"]) == ["group0", "group2"]
    assert {group: part["tasks"] for group, part in final.structure()["groups"].items()} == {
        "group0": ["tall"],
        "group2": ["kind", "far"],
    }
    found, several = final(X), model(X)
    assert all(torch.equal(found[name], several[name][j]) for name, j in (("kind", 2), ("tall", 0), ("far", 2)))
    one = sum(p.numel() for p in model.branches[0].parameters())
    assert sum(p.numel() for group in final.groups.values() for p in group.parameters()) < 2 * one


def test_a_double_precision_model_is_left_with_all_its_digits() -> None:
    """The new parts take the precision of the old before the weights are copied."""
    model = different(2).double()
    final = model.pruned(build, [0, 1, 0]).eval()
    assert torch.equal(final(X.double())["tall"], model(X.double())["tall"][1])


@pytest.mark.parametrize("name", [name for name in HOSTILE if name != "one task only"])
def test_hostile_models_are_pruned_too(name: str) -> None:
    """Shared, frozen, unused, nested, used twice: predictions stay."""
    model = dmtg.BranchedModel(HOSTILE[name], TASKS, 2, init_noise=0.1).eval()
    final, several = model.pruned(HOSTILE[name], [1, 0, 1]).eval(), model(X)
    assert all(torch.equal(final(X)[task], several[task][j]) for task, j in (("kind", 1), ("tall", 0), ("far", 1)))


def test_a_vision_transformer_is_branched_and_pruned() -> None:
    """Nothing here knows of convolutions."""

    def transformer(tasks: Mapping[str, Task]) -> SharedBackbone:
        backbone = vit(image_size=8, patch=4, dim=8, depth=1, heads=2, in_channels=1)
        return SharedBackbone(backbone, tasks, linear(), example=X[:1])

    model = dmtg.BranchedModel(transformer, TASKS, 2, init_noise=0.1).eval()
    assert torch.equal(model.pruned(transformer, [1, 1, 0]).eval()(X)["kind"], model(X)["kind"][1])


class Scaled(nn.Module):
    """Its components leave out a running mean without parameters, and its heads stand in a list."""

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1, affine=False)
        self.trunk = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
        self.names = list(tasks)
        self.last = nn.ModuleList([nn.Linear(5, task.channels) for task in tasks.values()])

    def forward(self, inputs: Tensor, tasks: Sequence[str] | None = None) -> dict[str, Any]:
        features = self.trunk(self.norm(inputs))
        return {name: self.last[self.names.index(name)](features) for name in (tasks or self.names)}

    def components(self) -> dict[str, list[nn.Module]]:
        return {"backbone": [self.trunk], **{f"head.{n}": [m] for n, m in zip(self.names, self.last, strict=True)}}


def test_heads_are_found_by_task_and_buffers_without_a_component_are_copied() -> None:
    """Places in a list differ between the two models; running means belong to no component."""
    model = Scaled(TASKS)
    model(5 + X)
    model.eval()
    small = dmtg.extract(model, Scaled, {"far": TASKS["far"]}).eval()
    assert torch.equal(small(X)["far"], model(X)["far"])


def test_a_build_that_makes_something_else_for_some_tasks_is_refused() -> None:
    """A wider backbone for fewer tasks, and one that always has all heads."""

    def wider(tasks: Mapping[str, Task]) -> SharedBackbone:
        return SharedBackbone(tiny(width=1 / len(tasks), in_channels=1), tasks, linear(), example=X[:1])

    with pytest.raises(ValueError, match=r"`build` must make for \['tall'\] the same components as for all tasks"):
        dmtg.BranchedModel(wider, TASKS, 2).pruned(wider, [1, 0, 1])
    with pytest.raises(ValueError, match=r"it has heads for \['kind', 'tall', 'far'\]"):
        dmtg.extract(build(TASKS), lambda tasks: build(TASKS), {"far": TASKS["far"]})


def test_unusable_arguments_of_the_network_are_refused() -> None:
    """K, noise, a stem of something that cannot be split."""
    with pytest.raises(ValueError, match="`K` must be at least 1"):
        dmtg.BranchedModel(build, TASKS, 0)
    with pytest.raises(ValueError, match="`init_noise` must be >= 0"):
        dmtg.BranchedModel(build, TASKS, 2, init_noise=-1.0)
    with pytest.raises(TypeError, match=r"`stem` must be used with a `SharedBackbone`\. Got a model of class `Scaled`"):
        dmtg.BranchedModel(Scaled, TASKS, 2, stem="trunk")


def test_groups_keep_the_order_of_the_tasks_and_the_number_of_their_branch() -> None:
    """Groups without a task are not there."""
    assert groups_of(["a", "b", "c"], [1, 3, 1]) == {"group1": ["a", "c"], "group3": ["b"]}


def test_copies_of_the_network_are_independent() -> None:
    """A hook on a tensor, not on the module: a deep copy still runs."""
    model = dmtg.BranchedModel(build, TASKS, 2, stem="layer1").eval()
    again = copy.deepcopy(model)
    assert torch.equal(again(X)["kind"][1], model(X)["kind"][1])
