"""Sparse kernels compute what the dense layer does; the choice is made by time, recorded, stored and read again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_core import Report, Result, SharedBackbone, StorageError, backbones, compact, heads, load
from mtl_core.compaction import Choice, Kernels, choice
from mtl_core.compaction.choice import apply_kernels
from mtl_core.compaction.kernels import Gathered, SparseLayer, SparseLinear, Tapped
from mtl_core.compaction.layout import best_change
from mtl_core.dense import dense_form
from mtl_core.task import depth

MAKERS = (lambda layer: Gathered(layer, None), lambda layer: Gathered(layer, 40), Tapped)
SHAPES: tuple[dict[str, Any], ...] = (
    {"kernel_size": 1},
    {"kernel_size": 1, "stride": 2, "padding": 1},
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1, "bias": False},
    {"kernel_size": (5, 2), "stride": (1, 3), "padding": (0, 2), "dilation": (2, 1)},
    {"kernel_size": (2, 4), "padding": "same", "dilation": (1, 2)},
    {"kernel_size": 3, "padding": "valid"},
)


def sparse_layer(layer: Any, zeros: float = 0.8) -> Any:
    with torch.no_grad():
        layer.weight[torch.rand_like(layer.weight) < zeros] = 0
    return layer.requires_grad_(False).eval()


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_sparse_convolutions_equal_the_dense_one(make: Callable[[nn.Conv2d], Any], shape: dict[str, Any]) -> None:
    """For all strides, paddings and dilations, any number of samples, size, layout and both precisions."""
    torch.manual_seed(0)
    layer = sparse_layer(nn.Conv2d(5, 7, **shape)).double()
    sparse = make(layer)
    for size in ((1, 5, 12, 9), (3, 5, 9, 16)):
        x = torch.randn(size, dtype=torch.float64)
        torch.testing.assert_close(sparse(x), layer(x), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(sparse(x.to(memory_format=torch.channels_last)), layer(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(make(layer.float())(x.float()), layer(x.float()))
    torch.testing.assert_close(sparse.float()(x.float()), layer(x.float()))


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_dense_layers_come_back_as_they_were(make: Callable[[nn.Conv2d], Any], shape: dict[str, Any]) -> None:
    """The same weights; one with an uneven border as two plain layers."""
    torch.manual_seed(0)
    layer = sparse_layer(nn.Conv2d(5, 7, **shape))
    dense = dense_form(make(layer))
    assert not any(isinstance(module, SparseLayer) for module in dense.modules())
    assert torch.equal(next(dense.parameters()), layer.weight)
    x = torch.randn(2, 5, 9, 11)
    torch.testing.assert_close(dense(x), layer(x))


def test_sparse_linear_layers_equal_the_dense_one() -> None:
    """For vectors and tokens, one sample and several."""
    torch.manual_seed(0)
    for bias in (True, False):
        layer = sparse_layer(nn.Linear(9, 6, bias=bias))
        sparse = SparseLinear(layer)
        for size in ((1, 9), (4, 9), (2, 5, 9)):
            x = torch.randn(size)
            torch.testing.assert_close(sparse(x), layer(x))
        assert torch.equal(dense_form(sparse).weight, layer.weight)


def test_a_layer_of_zeros_gives_its_bias() -> None:
    """A matrix without a number is one, too."""
    for make, layer, x in (
        (Tapped, nn.Conv2d(2, 3, 3), torch.randn(2, 2, 5, 5)),
        (MAKERS[0], nn.Conv2d(2, 3, 3), torch.randn(2, 2, 5, 5)),
        (SparseLinear, nn.Linear(2, 3), torch.randn(2, 2)),
    ):
        layer = sparse_layer(layer, zeros=2.0)
        torch.testing.assert_close(make(layer)(x), layer(x))


@pytest.mark.parametrize("make", [*MAKERS, SparseLinear])
def test_gradients_of_the_input_flow_through_sparse_kernels(make: Callable[[Any], Any]) -> None:
    """They equal the dense layer's."""
    torch.manual_seed(0)
    layer = sparse_layer(nn.Linear(5, 4) if make is SparseLinear else nn.Conv2d(5, 4, 3, padding=1))
    x = torch.randn(2, 5) if make is SparseLinear else torch.randn(2, 5, 6, 6)
    gradients = []
    for module in (layer, make(layer)):
        own = x.clone().requires_grad_()
        module(own).square().sum().backward()
        gradients.append(own.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


def network() -> nn.Module:
    """Three layers with many zeros."""
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 1), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3))
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).eval()
    for layer in (model[2], model[4], model[7]):
        sparse_layer(layer, 0.6)
    return model


PLANTED = Kernels({"2": Choice("gathered"), "4": Choice("tapped"), "7": Choice("linear")}, "conv_1")


def test_given_kernels_are_taken_without_timing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A stored choice makes the same compacted model again: the same kernels in the same places."""
    monkeypatch.setattr(choice, "_time", lambda *_: pytest.fail("timed"))
    x = torch.randn(1, 3, 16, 16)
    first = compact(
        network(), x, kernels=Kernels({"2": Choice("gathered"), "7": Choice("linear", 0.5, 0.6, (1, 8), 2)})
    )
    first.save_kernels(tmp_path / "kernels.json")
    again = compact(network(), x, kernels=tmp_path / "kernels.json")
    assert again.kernels == first.kernels
    assert [repr(m) for m in again.body.children()] == [repr(m) for m in first.body.children()]
    assert isinstance(again.body.get_submodule("2"), Gathered)
    assert torch.equal(first(x), again(x))
    assert again.table.named("7").note == "linear kernel, 0.50 of dense"


def test_a_loaded_model_becomes_the_compacted_one_again(tmp_path: Path) -> None:
    """From the folder of a result and the file of kernels: equal outputs to the last bit."""

    def build(tasks: Any) -> SharedBackbone:
        return SharedBackbone(backbones.resnet10(width=0.125), tasks, heads.deeplab_v2(8, (1,)))

    torch.manual_seed(0)
    model = build([depth("far")]).eval()
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            sparse_layer(layer)
    x = torch.rand(1, 3, 32, 32)
    first = compact(model, x)
    first.save_kernels(tmp_path / "kernels.json")
    Result(model, Report({})).save(tmp_path / "result")
    again = compact(load(tmp_path / "result", build), x, kernels=tmp_path / "kernels.json")
    assert again.kernels == first.kernels
    assert torch.equal(first(x)["far"], again(x)["far"])


def test_kernels_are_chosen_by_time_and_recorded() -> None:
    """Each layer with many zeros has a choice, with what it was timed on."""
    x = torch.randn(2, 3, 16, 16)
    model = network()
    small = compact(model, x)
    assert set(small.kernels.layers) == {"2", "4", "7"}
    found = small.kernels.layers["4"]
    assert (found.shape, found.threads) == ((2, 8, 8, 8), torch.get_num_threads())
    left = dense_form(small).body.get_submodule("4").weight
    assert found.zeros == pytest.approx(float((left == 0).float().mean()), abs=1e-3)
    for name, chosen in small.kernels.layers.items():
        assert isinstance(small.body.get_submodule(name), SparseLayer) == (chosen.kernel != "dense")
        assert chosen.ratio <= 1
    torch.testing.assert_close(small(x), model(x), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("ratio", "sparse"), [(0.5, True), (0.99, False), (1.5, False)])
def test_the_whole_model_decides(monkeypatch: pytest.MonkeyPatch, ratio: float, sparse: bool) -> None:
    """Kernels that win alone are given up unless the model wins clearly with them."""
    planted = {"linear": 0.1, "gathered": 0.2}

    def layer(module: nn.Module, shape: tuple[int, ...]) -> Choice:
        kernel = "linear" if isinstance(module, nn.Linear) else "gathered"
        return Choice(kernel, planted[kernel], 0.6, shape)

    monkeypatch.setattr(choice, "_choose_layer", layer)
    monkeypatch.setattr(choice, "best_change", lambda *_: "")  # else nothing is left for the sparse kernels
    monkeypatch.setattr(choice, "compare", lambda first, others, _: [1.0] * (len(others) - 1) + [ratio])
    small = compact(network(), torch.randn(1, 3, 16, 16))
    assert bool(small.kernels.sparse) == sparse
    assert any(isinstance(module, SparseLayer) for module in small.modules()) == sparse


def test_the_change_of_layout_is_where_the_times_say() -> None:
    """Channels last for the first two layers saves 3 seconds; the copy of 8·8·8 numbers costs half a second."""
    model = network()
    small = compact(model, torch.randn(1, 3, 8, 8), kernels=Kernels())
    body = small.body
    names = [node.name for node in body.graph.nodes]
    for node in body.graph.nodes:
        node.meta["shape"] = (1, 8, 8, 8)
    first = dict.fromkeys(names, 1.0)
    last = {name: 0.0 if place in (1, 2, 3) else 2.0 for place, name in enumerate(names)}
    assert best_change(body, first, last, copying=0.001) == names[3]
    assert best_change(body, first, last, copying=0.01) == ""
    assert best_change(body, first, dict.fromkeys(names, 0.5), copying=0.01) == "output"


def test_layouts_do_not_change_outputs() -> None:
    """Channels last throughout, or up to a step and channels first with sparse kernels after it."""
    x = torch.randn(2, 3, 16, 16)
    model = network()
    names = [node.name for node in compact(model, x, kernels=Kernels()).body.graph.nodes]
    for last in names:
        for layers in ({}, {"4": Choice("tapped"), "7": Choice("linear")}):
            small = compact(model, x, kernels=Kernels(layers, last))
            torch.testing.assert_close(small(x), model(x), rtol=1e-4, atol=1e-6)


def test_dense_form_can_be_exported() -> None:
    """All sparse layers are plain ones again, also for single tasks; the compacted model keeps its own."""
    torch.manual_seed(0)
    model = SharedBackbone(backbones.resnet10(width=0.125), [depth("far"), depth("near")], heads.deeplab_v2(8, (1,)))
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            sparse_layer(layer)
    x = torch.rand(1, 3, 32, 32)
    kernels = Kernels({"heads.far.branches.0.0": Choice("tapped"), "backbone.layer1.0.conv1": Choice("gathered")})
    small = compact(model.eval(), x, kernels=kernels)
    small(x, ["far"])
    dense = dense_form(small)
    assert sum(isinstance(module, SparseLayer) for module in small.modules()) == 2
    assert not any(isinstance(module, SparseLayer) for module in dense.modules())
    assert not any(isinstance(module, SparseLayer) for module in dense.part(["far"]).modules())
    exported = torch.export.export(dense, (x,), strict=False).module()
    for name, value in model(x).items():
        torch.testing.assert_close(exported(x)[name], value, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(small(x)[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kernels", "message"),
    [
        (Kernels({"9": Choice("tapped")}), "`kernels` must name layers of the compacted model. Got `9`"),
        (Kernels({"7": Choice("tapped")}), "kernels that can compute them. Got `tapped` for `7`"),
        (Kernels({"1": Choice("tapped")}), "`kernels` must name layers|kernels that can compute them"),
        (Kernels({}, "nowhere"), "must name a step of the compacted model's graph. Got `nowhere`"),
    ],
)
def test_kernels_that_do_not_fit_are_refused(kernels: Kernels, message: str) -> None:
    """With the layer and the kernel."""
    with pytest.raises(ValueError, match=message):
        compact(network(), torch.randn(1, 3, 16, 16), kernels=kernels)


def test_files_that_are_no_choice_of_kernels_are_refused(tmp_path: Path) -> None:
    """Missing, of another format, or damaged."""
    path = tmp_path / "kernels.json"

    def load() -> None:
        compact(network(), torch.randn(1, 3, 16, 16), kernels=path)

    with pytest.raises(StorageError, match="cannot be read"):
        load()
    path.write_text(json.dumps({"format": 99}))
    with pytest.raises(StorageError, match="is not of format 1"):
        load()
    for damaged in (
        {},
        {"layers": {"2": {"kernel": "magic"}}, "channels_last": ""},
        {"layers": [], "channels_last": ""},
    ):
        path.write_text(json.dumps({"format": 1, **damaged}))
        with pytest.raises(StorageError, match=r"is damaged.*Choose the kernels anew"):
            load()


def test_kernels_that_cannot_be_written_are_an_error_of_storage(tmp_path: Path) -> None:
    """A folder that is not there."""
    small = compact(network(), torch.randn(1, 3, 16, 16), kernels=Kernels())
    with pytest.raises(StorageError, match="Cannot write to"):
        small.save_kernels(tmp_path / "nowhere" / "kernels.json")


def test_an_unknown_kernel_is_refused() -> None:
    """By its name."""
    with pytest.raises(ValueError, match="unknown kernel `magic`"):
        Choice.from_json({"kernel": "magic"})


def test_grouped_and_mirrored_convolutions_have_no_sparse_kernel() -> None:
    """They stay dense, and are refused where one is asked for."""
    for layer in (nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect")):
        body = nn.Sequential(sparse_layer(layer, 0.9)).eval()
        x: Tensor = torch.randn(1, 4, 8, 8)
        small = compact(body, x)
        assert not small.kernels.layers
        with pytest.raises(ValueError, match="kernels that can compute them"):
            apply_kernels(small.body, Kernels({"0": Choice("tapped")}))
