"""Models: predictions by task, movable taps, groups, and what is checked about them."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_core.components import (
    Builder,
    chosen,
    components_of,
    evaluating,
    prepared,
    pruned_share,
    structure_of,
    tasks_of,
)
from mtl_core.cut import cut
from mtl_core.model import SharedBackbone, TaskGroups, rebuild
from mtl_core.task import Task, attribute, classification

TASKS = {"kind": classification("kind", 3), "tall": attribute("tall")}


class Features(nn.Module):
    """Three blocks, a layer that is used twice, and a container."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.block = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.relu = nn.ReLU()
        self.spare = nn.Parameter(torch.ones(8, 1, 1))
        self.channels = 8

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.conv1(x))
        return self.relu(self.block(self.conv2(x))) * self.spare


class Pair(nn.Module):
    """Gives features by name, and cannot be traced."""

    layers = ("low", "high")

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = nn.Linear(4, 3), nn.Linear(3, 5)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        low = self.low(x) if float(x.detach().sum()) > -1e9 else x
        return {"low": low, "high": self.high(low)}


class Traceable(nn.Module):
    """Gives features by names that are not those of its layers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(3, 5)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        low = self.a(x).relu()
        return {"shallow": low, "deep": self.b(low)}


def head(channels: int, task: Task) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, task.channels))


def linear(channels: int, task: Task) -> nn.Module:
    return nn.Linear(channels, task.channels)


def one(name: str, width: int = 4) -> SharedBackbone:
    return SharedBackbone(nn.Linear(width, 3), {name: attribute(name)}, linear, example=torch.zeros(1, width))


def shared(taps: Mapping[str, str] | None = None) -> SharedBackbone:
    torch.manual_seed(0)
    return SharedBackbone(Features(), TASKS, head, taps, torch.zeros(1, 1, 8, 8))


def test_a_shared_backbone_predicts_the_tasks_asked_for() -> None:
    """All tasks by default, some by name, in the order asked; an unknown one is refused."""
    model, x = shared(), torch.rand(2, 1, 8, 8)
    assert {n: tuple(p.shape) for n, p in model(x).items()} == {"kind": (2, 3), "tall": (2, 1)}
    assert list(model(x, ["tall"])) == ["tall"]
    assert sorted(model.components()) == ["backbone", "head.kind", "head.tall"]
    with pytest.raises(ValueError, match=r"`tasks` must be among \['kind', 'tall'\]. Got \['other'\]"):
        model(x, ["other"])


def test_channels_are_read_from_the_backbone_without_an_example() -> None:
    """`backbone.channels` is enough where no layer is tapped."""
    assert SharedBackbone(Features(), list(TASKS.values()), head).heads["kind"][2].in_features == 8
    with pytest.raises(TypeError, match=r"`example` \(one input batch\) must be given for a backbone without an int"):
        SharedBackbone(nn.Linear(2, 2), TASKS, head)
    with pytest.raises(TypeError, match=r"`example` .* must be given with `taps`"):
        SharedBackbone(Features(), TASKS, head, {"tall": "conv1"})


def test_an_example_meets_the_type_of_the_backbone() -> None:
    """A float32 example serves a float64 backbone."""
    assert SharedBackbone(Features().double(), TASKS, head, {"tall": "conv1"}, torch.zeros(1, 1, 4, 4)).taps


@pytest.mark.parametrize("taps", [{"tall": "conv1"}, {"tall": "block"}, {"kind": "block.0", "tall": "conv2"}])
def test_a_tap_gives_the_features_of_its_layer(taps: dict[str, str]) -> None:
    """Equal to hooks on the uncut backbone: the same function."""
    torch.manual_seed(0)
    backbone, x = Features(), torch.rand(2, 1, 8, 8)
    kept: dict[str, Tensor] = {}
    for name, module in backbone.named_modules():
        module.register_forward_hook(lambda _m, _i, given, name=name: kept.__setitem__(name, given))
    whole = copy.deepcopy(backbone)
    for module in whole.modules():
        module._forward_hooks.clear()
    layers = list(dict.fromkeys(taps.get(t, "output") for t in TASKS))
    expected_output = backbone(x)
    for layer, features in cut(whole, layers)(x).items():
        assert torch.equal(features, expected_output if layer == "output" else kept[layer])
    model = SharedBackbone(whole, TASKS, head, taps, x)
    assert {n: m[2].in_features for n, m in model.heads.items()} == {
        t: kept[taps[t]].shape[1] if t in taps else 8 for t in TASKS
    }


def test_everything_past_the_deepest_tap_is_gone() -> None:
    """Layers, and parameters of the backbone itself, are neither computed nor counted."""
    model = shared({"kind": "conv2", "tall": "conv1"})
    assert {n.split(".")[0] for n, _ in model.backbone.named_parameters()} == {"conv1", "conv2"}
    model(torch.rand(1, 1, 8, 8))["kind"].sum().backward()
    assert all(p.grad is not None for p in model.backbone.parameters())


def test_cutting_shares_weights_with_the_backbone_and_leaves_it_whole() -> None:
    """The cut module is another view of the same parameters."""
    backbone = Features()
    part = cut(backbone, ["conv1"])
    assert next(part.parameters()) is backbone.conv1.weight
    assert backbone(torch.rand(1, 1, 4, 4)).shape == (1, 8, 4, 4)


@pytest.mark.parametrize("layer", ["relu", "nowhere", "spare"])
def test_a_tap_that_is_not_called_exactly_once_is_refused(layer: str) -> None:
    """A layer used twice has no one output."""
    with pytest.raises(ValueError, match=rf"`taps` must name layers called exactly once, as .* Got `{layer}`"):
        shared({"tall": layer})


def test_taps_of_unknown_tasks_are_refused() -> None:
    """The message names the tasks."""
    with pytest.raises(ValueError, match=r"`taps` must name tasks of the model \['kind', 'tall'\]. Got `depth`"):
        shared({"depth": "conv1"})


def test_a_backbone_that_cannot_be_traced_gives_its_layers_itself() -> None:
    """Taps then are the keys of what it returns; without such keys the reason is said."""
    model = SharedBackbone(Pair(), TASKS, linear, {"kind": "low", "tall": "high"}, torch.zeros(1, 4))
    assert {n: tuple(p.shape) for n, p in model(torch.rand(2, 4)).items()} == {"kind": (2, 3), "tall": (2, 1)}
    with pytest.raises(ValueError, match=r"`taps` must name layers that the backbone gives, \['high', 'low'\]. Got"):
        SharedBackbone(Pair(), TASKS, linear, {"kind": "middle"}, torch.zeros(1, 4))
    bare = Pair()
    bare.layers = ()
    with pytest.raises(ValueError, match=r"`taps` need a backbone that torch.fx can trace.*Tracing failed"):
        SharedBackbone(bare, TASKS, linear, {"kind": "low", "tall": "high"}, torch.zeros(1, 4))


def test_a_traceable_backbone_may_name_its_features() -> None:
    """The keys of a returned dict are taps, and what lies past the deepest one is cut."""
    model = SharedBackbone(Traceable(), TASKS, linear, dict.fromkeys(TASKS, "shallow"), torch.zeros(1, 4))
    assert [n for n, _ in model.backbone.named_children()] == ["a"]


def test_a_backbone_that_acts_otherwise_in_training_is_not_traced() -> None:
    """A trace holds one of the two modes for ever; dropout would then never end."""

    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.dropout(self.a(x), 0.5, self.training)

    with pytest.raises(ValueError, match=r"another one in training than in evaluation mode"):
        SharedBackbone(Dropping(), TASKS, linear, {"tall": "a"}, torch.zeros(1, 4))


def test_a_backbone_that_gives_no_features_is_refused() -> None:
    """Tokens or a dict without taps have no channels to build a head for."""
    with pytest.raises(TypeError, match=r"`backbone` must give .* Got dict as `output`"):
        SharedBackbone(Pair(), TASKS, linear, example=torch.zeros(1, 4))
    with pytest.raises(TypeError, match=r"`backbone` must give .* Got \[1, 5, 4\] as `output`"):
        SharedBackbone(nn.Identity(), TASKS, linear, example=torch.zeros(1, 5, 4))


def test_restructuring_moves_the_taps() -> None:
    """What `build` gives becomes what was saved; taps that are there already are not moved."""
    taps = {"tall": "conv1"}
    again = shared().restructure({"taps": taps})
    assert (again.structure(), again.tasks) == ({"taps": taps}, TASKS)
    assert again.restructure({"taps": taps}) is again
    with pytest.raises(ValueError, match=r"`restructure` must be called on a model without taps. Got one with"):
        again.restructure({"taps": {"tall": "conv2"}})


def test_a_tap_may_be_at_a_step_that_is_no_module() -> None:
    """The trace's own names; a module of that name, here one called twice, comes first."""

    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.max_pool2d(nn.functional.relu(self.conv(x)), 2)

    backbone, x = Functional(), torch.rand(1, 1, 6, 6)
    assert torch.equal(cut(backbone, ["relu"])(x)["relu"], backbone.conv(x).relu())
    with pytest.raises(ValueError, match=r"`taps` must name layers called exactly once, as \['conv'\]. Got `relu_1`"):
        cut(backbone, ["relu_1"])


def test_a_backbone_that_gives_its_output_by_name_needs_no_taps() -> None:
    """Tasks without a tap take `output`; another attribute called `layers` means nothing."""

    class Named(Pair):
        layers = ("low", "output")

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            found = super().forward(x)
            return {"low": found["low"], "output": found["high"]}

    plain = SharedBackbone(Named(), TASKS, linear, example=torch.zeros(1, 4))
    moved = plain.restructure({"taps": {"kind": "low"}})
    assert (plain.heads["kind"].in_features, moved.heads["kind"].in_features, moved.heads["tall"].in_features) == (
        5,
        3,
        5,
    )
    assert {n: tuple(p.shape) for n, p in moved(torch.rand(2, 4)).items()} == {"kind": (2, 3), "tall": (2, 1)}
    deep = Features()
    deep.layers = 4
    assert SharedBackbone(deep, TASKS, lambda c, t: nn.Conv2d(c, 1, 1)).backbone is deep


def test_restructuring_takes_an_example_where_the_model_has_none() -> None:
    """The channels of a layer are found from it."""
    model = SharedBackbone(Features(), TASKS, lambda c, t: nn.Conv2d(c, t.channels, 1))
    moved = model.restructure({"taps": {"tall": "conv1"}}, torch.zeros(1, 1, 4, 4))
    assert moved.heads["tall"].in_channels == 4
    with pytest.raises(TypeError, match=r"`example` \(one input batch\) must be given with `taps`"):
        model.restructure({"taps": {"tall": "conv1"}})


@pytest.mark.parametrize("name", ["type", "keys", "training"])
def test_names_of_torch_attributes_are_refused(name: str) -> None:
    """A module cannot hold a part of such a name."""
    with pytest.raises(ValueError, match=rf"`tasks` must have names .* Got `{name}`"):
        one(name)


def test_groups_predict_what_their_models_predict() -> None:
    """With a stem that runs once, for all tasks or some of them."""
    calls = []
    stem = nn.Linear(4, 4)
    stem.register_forward_hook(lambda *_: calls.append(1))
    model, x = TaskGroups({"left": one("a"), "right": one("b")}, stem), torch.rand(2, 4)
    found = model(x)
    assert list(found) == ["a", "b"]
    assert len(calls) == 1
    assert torch.equal(found["b"], model.groups["right"](stem(x))["b"])
    assert list(model(x, ["b"])) == ["b"]
    assert list(model.tasks) == tasks_of(model) == ["a", "b"]
    assert set(components_of(model)) == {"stem", "left.backbone", "left.head.a", "right.backbone", "right.head.b"}
    with pytest.raises(ValueError, match=r"`tasks` must be among \['a', 'b'\]"):
        model(x, ["c"])


def test_only_the_groups_asked_for_are_computed() -> None:
    """The other group's parameters get no gradient."""
    model = TaskGroups({"left": one("a"), "right": one("b")})
    model(torch.rand(2, 4), ["a"])["a"].sum().backward()
    assert all(p.grad is None for p in model.groups["right"].parameters())


def test_groups_of_trained_models_are_in_evaluation_mode() -> None:
    """So that they can be compacted at once; one that trains keeps the whole in training mode."""
    models = {"one": one("a").eval(), "two": one("b").eval()}
    assert not any(module.training for module in TaskGroups(models).modules())
    models["two"].train()
    assert TaskGroups(models).training


def test_groups_within_groups_are_groups() -> None:
    """Any combination nests, and its parts are named by their path."""
    inner = TaskGroups({"x": one("a"), "y": one("b")})
    model = TaskGroups({"left": inner, "right": one("c")})
    assert "left.x.head.a" in components_of(model)
    assert tasks_of(model) == ["a", "b", "c"]


def test_unusable_groups_are_refused() -> None:
    """No group, reserved names, a task twice, a module twice."""
    with pytest.raises(ValueError, match=r"`groups` must hold at least one model. Got none"):
        TaskGroups({})
    for name in ("head", "stem", "a.b", "", "values"):
        with pytest.raises(ValueError, match=rf"`groups` must have names .*nor `head`, nor `stem`. Got `{name}`"):
            TaskGroups({name: one("a")})
    with pytest.raises(ValueError, match=r"`groups` must hold each task once. Got `a` in two groups"):
        TaskGroups({"x": one("a"), "y": one("a")})
    first, second = one("a"), one("b")
    second.backbone = first.backbone
    with pytest.raises(ValueError, match=r"`groups` must not share parameters"):
        TaskGroups({"x": first, "y": second})


class Plain(nn.Module):
    """A user's model; `parts` is what it claims to consist of."""

    def __init__(self, parts: dict[str, list[str]]) -> None:
        super().__init__()
        self.trunk, self.top = nn.Linear(4, 3), nn.Linear(3, 1)
        self._parts = parts

    def forward(self, x: Tensor, tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        return {name: self.top(self.trunk(x)) for name in tasks or ["a"]}

    def components(self) -> dict[str, list[nn.Module]]:
        return {key: [self.get_submodule(name) for name in names] for key, names in self._parts.items()}


def test_components_name_each_parameter_exactly_once() -> None:
    """A parameter in none or two of them, and a model without them, are refused."""
    assert tasks_of(Plain({"backbone": ["trunk"], "head.a": ["top"]})) == ["a"]
    with pytest.raises(ValueError, match=r"must name every parameter. Got `top.weight` in none of \['backbone'\]"):
        components_of(Plain({"backbone": ["trunk"]}))
    with pytest.raises(ValueError, match=r"must name each parameter once. Got one in `backbone` and `head.a`"):
        components_of(Plain({"backbone": ["trunk", "top"], "head.a": ["top"]}))
    with pytest.raises(TypeError, match=r"A model must have `components\(\) .* Got Linear without it"):
        components_of(nn.Linear(1, 1))


def test_a_builder_of_models_to_train_anew_refuses_pruned_ones() -> None:
    """Zeros among other weights were pruned; a tensor of zeros alone is a start, and few zeros are chance."""
    parts = {"backbone": ["trunk"], "head.a": ["top"]}

    def made(zeros: int) -> Plain:
        model = Plain(parts)
        with torch.no_grad():
            model.trunk.weight.fill_(1).view(-1)[:zeros] = 0
            model.top.weight.fill_(1)
        return model

    size = Plain(parts).trunk.weight.numel()
    with pytest.raises(
        ValueError, match=r"train from scratch. Got a pruned one \(\d+ % of its weights are zero\).*prune last"
    ):
        Builder(lambda tasks: made(size - 1), anew=True)(TASKS)
    Builder(lambda tasks: made(size - 1))(TASKS)
    Builder(lambda tasks: made(size), anew=True)(TASKS)
    assert pruned_share(made(1)) == pytest.approx(1 / (size + Plain(parts).top.weight.numel()))


def test_a_builder_refuses_what_it_has_seen() -> None:
    """A module, or a part of it, that was given before; what is gone by then does not count."""
    parts = {"backbone": ["trunk"], "head.a": ["top"]}
    same = Plain(parts)
    build = Builder(lambda tasks: same)
    build(TASKS)
    with pytest.raises(ValueError, match=r"`build` must make a new model at each call. Got a parameter that was given"):
        build(TASKS)
    fresh = Builder(lambda tasks: Plain(parts))
    for _ in range(50):  # ids of what is gone come again
        fresh(TASKS)
    with pytest.raises(TypeError, match=r"`build` must give a module. Got dict"):
        Builder(lambda tasks: tasks)(TASKS)  # type: ignore[arg-type,return-value]


def test_a_structure_is_rebuilt_from_what_build_gives() -> None:
    """Taps, groups of taps, plain modules, and groups with a stem where `build` itself makes them."""

    def build(tasks: Mapping[str, Task]) -> SharedBackbone:
        return SharedBackbone(Features(), tasks, head, example=torch.zeros(1, 1, 8, 8))

    grouped = TaskGroups({"x": build({"kind": TASKS["kind"]}).restructure({"taps": {"kind": "conv1"}}),
                          "y": build({"tall": TASKS["tall"]})})  # fmt: skip
    model = rebuild(grouped.structure(), build, TASKS)
    assert structure_of(model) == grouped.structure()
    assert {n: p.shape for n, p in model.named_parameters()} == {n: p.shape for n, p in grouped.named_parameters()}

    plain = rebuild({}, lambda tasks: Plain({"backbone": ["trunk"], "head.a": ["top"]}), {"a": attribute("a")})
    assert isinstance(plain, Plain)

    def stemmed(tasks: Mapping[str, Task]) -> TaskGroups:
        return TaskGroups({"x": one("a"), "y": one("b")}, nn.Linear(4, 4))

    stored = stemmed({}).structure()
    assert structure_of(rebuild(stored, stemmed, {})) == stored
    with pytest.raises(ValueError, match=r"`build` must give the groups and their stem"):
        rebuild(stored, build, TASKS)


def test_evaluation_leaves_every_module_in_its_mode() -> None:
    """A norm that its owner keeps in evaluation mode stays so, also after an error."""
    model = shared()
    model.train()
    model.backbone.block[1].eval()
    modes = [m.training for m in model.modules()]
    with evaluating(model):
        assert not any(m.training for m in model.modules())
        assert not torch.is_grad_enabled()
    assert [m.training for m in model.modules()] == modes
    with pytest.raises(KeyError), evaluating(model):
        raise KeyError
    assert [m.training for m in model.modules()] == modes


def test_prepared_is_the_models_own_context_or_none() -> None:
    """A model without `prepared` is entered for nothing."""

    class Entered(nn.Module):
        def prepared(self) -> Any:
            return evaluating(self)

    with prepared(nn.Linear(1, 1)):
        assert torch.is_grad_enabled()
    with prepared(Entered()):
        assert not torch.is_grad_enabled()


def test_chosen_names_keep_the_order_asked() -> None:
    """None is all."""
    assert (chosen(TASKS, None), chosen(TASKS, ["tall", "kind"])) == (["kind", "tall"], ["tall", "kind"])
