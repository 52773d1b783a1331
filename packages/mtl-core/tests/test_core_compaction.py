"""Compaction of whole models: what comes out is called as the model was, computes the same, and says what was done."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_core import SharedBackbone, TaskGroups, backbones, compact, heads
from mtl_core.compaction import Kernels
from mtl_core.compaction.tracing import leaves
from mtl_core.task import attribute, classification, depth, segmentation

DENSE = Kernels()


def spoiled(model: nn.Module, share: float = 0.4, seed: int = 0) -> nn.Module:
    """The model with some filters at zero and norms that have statistics of their own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                module.weight[torch.rand(len(module.weight), generator=generator) < share] = 0
            if isinstance(module, nn.BatchNorm2d):
                size = module.num_features
                module.running_mean.copy_(torch.rand(size, generator=generator) - 0.5)
                module.running_var.copy_(torch.rand(size, generator=generator) + 0.5)
                module.bias.copy_(torch.rand(size, generator=generator) - 0.5)
    return model.eval()


def assert_equal(model: nn.Module, small: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        expected, given = model(x.clone()), small(x.clone())
    assert type(expected) is type(given)
    for a, b in zip(leaves(expected), leaves(given), strict=True):
        assert (a - b).abs().max() <= 1e-5 * a.abs().max()


def two_tasks(**options: Any) -> SharedBackbone:
    tasks = [classification("kind", 5), depth("far")]
    head = heads.by_kind(dense=heads.aspp(width=8, rates=(1, 2)), other=heads.linear())
    return SharedBackbone(backbones.resnet10(width=0.125), tasks, head, example=torch.rand(1, 3, 32, 32), **options)


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2", "densenet121", "shufflenet_v2_x0_5", "efficientnet_b0"])
def test_torchvision_models_are_compacted_as_they_are(name: str) -> None:
    """Residual, depthwise, concatenating and gated networks keep their outputs at other sizes and lose weights."""
    import torchvision

    torch.manual_seed(0)
    model = spoiled(getattr(torchvision.models, name)(weights=None))
    small = compact(model, torch.rand(1, 3, 64, 64), kernels=DENSE)
    assert_equal(model, small, torch.rand(2, 3, 64, 96))
    before, after = small.table.parameters
    assert before == sum(p.numel() for p in model.parameters())
    assert after == sum(p.numel() for p in small.parameters()) < 0.7 * before


def test_aspp_heads_lose_dead_channels_through_the_concatenation() -> None:
    """A branch of which nothing is left is no part of the concatenation any more."""
    torch.manual_seed(0)
    model = two_tasks().eval()
    head = model.heads["far"]
    with torch.no_grad():
        head.branches[1][0].weight.zero_()  # all of one branch
        head.branches[0][0].weight[::2] = 0  # half of another
        for branch in head.branches:
            branch[1].bias.zero_()
    small = compact(model, torch.rand(2, 3, 32, 32), kernels=DENSE)
    assert_equal(model, small, torch.rand(1, 3, 64, 32))
    assert small.table.named("heads.far.branches.1.0").after == "removed"
    assert small.table.named("heads.far.branches.0.0").after.startswith("64→4")
    assert small.table.named("heads.far.project.0").after.startswith("20→8")


def test_a_models_tasks_can_be_chosen() -> None:
    """With `tasks`, only what these need is computed, by keyword and in second place as in the models themselves."""
    torch.manual_seed(0)
    model = spoiled(two_tasks())
    small = compact(model, torch.rand(1, 3, 32, 32), kernels=DENSE)
    x = torch.rand(2, 3, 32, 32)
    whole = small(x)
    assert list(whole) == ["kind", "far"]
    for given in (small(x, tasks=["far"]), small(x, ["far"])):
        assert list(given) == ["far"]
        assert torch.equal(given["far"], whole["far"])
    names = {name for name, _ in small.part(["far"]).named_modules()}
    assert any(name.startswith("heads.far") for name in names)
    assert not any(name.startswith("heads.kind") for name in names)
    with pytest.raises(ValueError, match="`tasks` must be among"):
        small(x, tasks=["near"])


def test_a_part_follows_the_model_to_another_precision() -> None:
    """What was made for some tasks before the model is moved is made anew."""
    model = spoiled(SharedBackbone(backbones.vit(dim=16, depth=1, heads=2), [attribute("a")], heads.linear()))
    small = compact(model, torch.rand(1, 3, 32, 32), kernels=DENSE)
    small(torch.rand(1, 3, 32, 32), tasks=["a"])
    small.double()
    assert small(torch.rand(1, 3, 32, 32).double(), tasks=["a"])["a"].dtype == torch.float64


def test_a_model_without_tasks_refuses_them() -> None:
    """A plain network has none to choose from."""
    small = compact(nn.Sequential(nn.Linear(3, 2)).eval(), torch.rand(1, 3))
    with pytest.raises(TypeError, match="`tasks` must be None"):
        small(torch.rand(1, 3), tasks=["a"])


def test_layers_past_the_deepest_tap_and_unused_heads_are_left_out() -> None:
    """Of a backbone whose heads read its middle, nothing after that is left."""
    torch.manual_seed(0)
    model = spoiled(two_tasks(taps={"kind": "layer2", "far": "layer1"}))

    class OneTask(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)["far"]

    small = compact(OneTask().eval(), torch.rand(1, 3, 32, 32), kernels=DENSE)
    assert_equal(OneTask().eval(), small, torch.rand(1, 3, 48, 32))
    left = {row.name for row in small.table if row.parameters[1]}
    assert any("layer1" in name for name in left)
    assert not any("layer2" in name or "heads.kind" in name for name in left)


def test_groups_on_a_stem_are_compacted() -> None:
    """A shared stem, groups with models of their own, and a prediction that is a tuple."""
    torch.manual_seed(0)

    class Pair(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(channels, 1, 1), nn.Conv2d(channels, 1, 3, padding=1)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.a(x), self.b(x)

    def build(*tasks: Any, head: Any = None) -> SharedBackbone:
        head = head or heads.by_kind(dense=heads.deeplab_v2(width=8, rates=(1, 2)), other=heads.two_layer(width=8))
        return SharedBackbone(backbones.resnet10(width=0.125), tasks, head, example=torch.rand(1, 3, 32, 32))

    stem, first = build(classification("a", 3), segmentation("b", 4)).split("layer1")
    _, second = build(depth("c"), head=lambda channels, task: Pair(channels)).split("layer1")
    model = spoiled(TaskGroups({"one": first, "two": second}, stem))
    small = compact(model, torch.rand(1, 3, 32, 32), kernels=DENSE)
    x = torch.rand(3, 3, 32, 64)
    assert_equal(model, small, x)
    assert isinstance(small(x)["c"], tuple)
    assert list(small(x, ["c", "a"])) == ["c", "a"]
    assert small.table.parameters[1] < 0.8 * small.table.parameters[0]


def test_a_transformer_stays_equal_and_loses_dead_hidden_units() -> None:
    """Tokens share the statistics of layer norms; the hidden units of the perceptrons do not."""
    torch.manual_seed(0)
    model = SharedBackbone(backbones.vit(dim=16, depth=2, heads=2), [attribute("a")], heads.linear()).eval()
    with torch.no_grad():
        model.backbone.blocks[0].linear1.weight[:40] = 0
        model.backbone.blocks[0].linear1.bias.normal_()
    small = compact(model, torch.rand(2, 3, 32, 32), kernels=DENSE)
    assert_equal(model, small, torch.rand(1, 3, 40, 56))
    assert small.table.named("backbone.blocks.0.linear1").after == "16→24"
    assert small.table.named("backbone.blocks.0.linear2").after == "24→16"
    assert "LayerNorm shares its statistic" in small.table.named("backbone.norm").note


def test_the_callers_model_is_not_touched() -> None:
    """Weights, buffers, modes, random numbers, the example and even what a forward counts are as before."""

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))
            self.conv = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return self.conv(x)

    model = Counting().eval()
    example = torch.randn(1, 3, 8, 8)
    before, kept = copy.deepcopy(model.state_dict()), example.clone()
    state = torch.random.get_rng_state()
    small = compact(model, example)
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(example, kept)
    assert not any(module.training for module in (*model.modules(), *small.modules()))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(parameter.requires_grad for parameter in small.parameters())
    assert model.conv[0].inplace


def test_double_precision_is_held_to_more() -> None:
    """In float64 the outputs agree to 1e-10."""
    torch.manual_seed(0)
    model = spoiled(backbones.resnet10(width=0.125)).double()
    small = compact(model, torch.rand(1, 3, 32, 32).double(), kernels=DENSE)
    x = torch.rand(2, 3, 32, 32).double()
    a, b = model(x), small(x)
    assert b.dtype == torch.float64
    assert (a - b).abs().max() <= 1e-10 * a.abs().max()


def test_gradients_of_the_input_flow_and_parameters_train_on_request() -> None:
    """A compacted model is an ordinary module."""
    torch.manual_seed(0)
    model = spoiled(backbones.resnet10(width=0.125))
    small = compact(model, torch.rand(1, 3, 32, 32), kernels=DENSE).requires_grad_()
    x, y = (torch.rand(1, 3, 32, 32) for _ in range(2))
    x.requires_grad_(), y.data.copy_(x.data), y.requires_grad_()
    model(x).sum().backward()
    small(y).sum().backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-3, atol=1e-4)
    assert all(parameter.grad is not None for parameter in small.parameters())


def test_a_compacted_model_can_be_exported_copied_and_compacted_again() -> None:
    """torch.export takes it for any number of samples, a copy computes the same, and nothing is left for a second time."""
    torch.manual_seed(0)
    model = spoiled(two_tasks())
    x = torch.rand(1, 3, 32, 32)
    small = compact(model, x, kernels=DENSE)
    batch = torch.export.Dim("batch", min=1, max=8)
    exported = torch.export.export(
        small, (torch.rand(2, 3, 32, 32),), dynamic_shapes={"inputs": {0: batch}}, strict=False
    )
    assert_equal(model, exported.module(), torch.rand(5, 3, 32, 32))
    assert_equal(model, copy.deepcopy(small), x)
    again = compact(small, x, kernels=DENSE)
    assert_equal(model, again, x)
    assert again.table.parameters[0] == again.table.parameters[1]


def test_the_table_says_what_was_done() -> None:
    """Sizes before and after, norms that were folded, layers that are gone, and why a layer was kept whole."""
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4)
    ).eval()
    with torch.no_grad():
        model[0].weight[:2] = 0
        model[3].weight[:1] = 0
    table = compact(model, torch.rand(1, 1, 8, 8), kernels=DENSE).table
    assert [row.after for row in table] == ["1→2, 3×3", "in 0", "2→4, 1×1", "4"]
    assert "GroupNorm shares its statistic" in table.named("4").note
    assert table.named("3").note == "1 constant channel kept"
    assert table[0].parameters == (40, 20)
    assert [row.kind for row in table[:2]] == ["Conv2d", "BatchNorm2d"]
    with pytest.raises(KeyError, match="nothing"):
        table.named("nothing")


@pytest.mark.cuda
def test_a_model_on_a_device_stays_there() -> None:
    """On CUDA layers are removed and folded; no sparse kernels are chosen."""
    model = spoiled(backbones.resnet10(width=0.125)).cuda()
    small = compact(model, torch.rand(1, 3, 32, 32).cuda())
    assert all(parameter.is_cuda for parameter in small.parameters())
    x = torch.rand(1, 3, 32, 32).cuda()
    assert (model(x) - small(x)).abs().max() <= 1e-4 * model(x).abs().max()
