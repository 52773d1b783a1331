from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_core.backbones import mobilenet_v2, resnet34
from mtl_core.heads import aspp, by_kind, deeplab_v2, linear, two_layer
from mtl_core.task import Task


def elements(prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    return prediction - target, target.isfinite()


IMAGE = Task("tall", 3, elements)
MAP = Task("depth", 2, elements, dense=True)
DENSE: dict[str, Callable[..., Callable[[int, Task], Any]]] = {
    "aspp": partial(aspp, width=8),
    "aspp_group_norm": partial(aspp, width=8, norm=lambda channels: nn.GroupNorm(2, channels)),
    "deeplab_v2": partial(deeplab_v2, width=8),
}
LEVEL: dict[str, Callable[..., Callable[[int, Task], Any]]] = {
    "linear": linear,
    "linear over a grid": partial(linear, grid=3),
    "two_layer": two_layer,
}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 4), (7, 9)])
@pytest.mark.parametrize("name", DENSE)
def test_dense_heads_keep_the_size(name: str, size: tuple[int, int]) -> None:
    """A dense prediction has the features' rows and columns and the task's channels, at any size."""
    head = DENSE[name]()(6, MAP)
    assert head(torch.rand(2, 6, *size)).shape == (2, 2, *size)


@pytest.mark.parametrize("name", DENSE)
def test_dense_heads_train_on_a_batch_of_one(name: str) -> None:
    """One image is enough: no norm sees a single value per channel."""
    head = DENSE[name]()(6, MAP)
    head(torch.rand(1, 6, 3, 2)).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in head.parameters())


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 4), (7, 9)])
@pytest.mark.parametrize("name", LEVEL)
def test_image_heads_give_one_prediction_per_image(name: str, size: tuple[int, int]) -> None:
    """An image-level prediction is `[batch, channels]`, whatever the size of the map, in training with one image."""
    head = LEVEL[name]()(6, IMAGE)
    assert head(torch.rand(1, 6, *size)).shape == (1, 3)


def test_linear_takes_vectors_and_maps() -> None:
    """A vector is a map of one position, and a map is averaged."""
    torch.manual_seed(0)
    head: Any = linear()(6, IMAGE).double()
    maps = torch.rand(2, 6, 3, 5, dtype=torch.float64)
    expected = maps.mean((2, 3)) @ head.linear.weight.T + head.linear.bias
    torch.testing.assert_close(head(maps), expected)
    torch.testing.assert_close(head(maps.mean((2, 3))), expected)


def test_two_layer_equals_its_formula() -> None:
    """Convolution, ReLU, pooling, two linear layers; dropout is off in eval mode."""
    torch.manual_seed(0)
    head: Any = two_layer(hidden=5, width=4)(6, IMAGE).eval()
    features = torch.rand(2, 6, 8, 8)
    x = nn.functional.max_pool2d(nn.functional.conv2d(features, head.conv.weight, head.conv.bias, padding=1).relu(), 2)
    x = (x.mean((2, 3)) @ head.linear1.weight.T + head.linear1.bias).relu()
    torch.testing.assert_close(head(features), x @ head.linear2.weight.T + head.linear2.bias)


def test_two_layer_has_lomts_sizes() -> None:
    """3×3 convolution to 64 channels, 64 → 32 → the task's, dropout .6 and .4, no sigmoid."""
    head: Any = two_layer()(2048, Task("male", 1, elements))
    assert count(head) == (2048 * 9 * 64 + 64) + (64 * 32 + 32) + (32 + 1)
    assert [layer.p for layer in head.modules() if isinstance(layer, nn.Dropout)] == [0.6, 0.4]


def test_aspp_equals_its_formula() -> None:
    """1×1, three dilated 3×3 and the image's average side by side, projected, refined, predicted."""
    torch.manual_seed(0)
    head: Any = aspp(width=8, rates=(1, 2, 3))(6, MAP).double().eval()
    features = torch.rand(2, 6, 5, 7, dtype=torch.float64)

    def unit(x: Tensor, layers: Any, dilation: int) -> Tensor:
        convolution, norm, _ = layers
        pad = dilation * (convolution.weight.shape[-1] // 2)
        x = nn.functional.conv2d(x, convolution.weight, padding=pad, dilation=dilation)
        return (x / (1 + norm.eps) ** 0.5).relu()  # a new norm in eval mode: mean 0, variance 1

    branches = [unit(features, layers, d) for layers, d in zip(head.branches, (1, 1, 2, 3), strict=True)]
    average = torch.einsum("oc,bchw->bo", head.pooled.weight[:, :, 0, 0], features) / 35 + head.pooled.bias
    branches.append(average.relu()[:, :, None, None].expand(2, 8, 5, 7))
    x = unit(unit(torch.cat(branches, 1), head.project, 1), head.refine, 1)
    expected = torch.einsum("oc,bchw->bohw", head.predict.weight[:, :, 0, 0], x) + head.predict.bias[:, None, None]
    torch.testing.assert_close(head(features), expected)


def test_aspp_has_deeplab_v3s_layers() -> None:
    """On a ResNet-50: 1×1, three 3×3 of rates 12, 24, 36, the image's average, projection, 3×3, 1×1, all 256 wide."""
    with torch.device("meta"):
        head: Any = aspp()(2048, MAP)
    unit = 256 * 2  # a norm's weight and bias
    branches = (1 + 3 * 9) * 2048 * 256 + 4 * unit
    after = (5 * 256 * 256 + unit) + (9 * 256 * 256 + unit) + (256 * 2 + 2)
    assert count(head) == branches + (2048 * 256 + 256) + after
    rates = [layer.dilation[0] for layer in head.branches.modules() if isinstance(layer, nn.Conv2d)]
    assert rates == [1, 12, 24, 36]


def test_deeplab_v2_is_the_sum_of_its_branches() -> None:
    """The branches differ in their dilation and are added."""
    torch.manual_seed(0)
    head: Any = deeplab_v2(width=8, rates=(1, 2))(6, MAP).eval()
    features = torch.rand(2, 6, 5, 7)
    total = torch.zeros(2, 2, 5, 7)
    for branch, rate in zip(head.branches, (1, 2), strict=True):
        first, _, _, second, _, _, third = branch
        x = nn.functional.conv2d(features, first.weight, first.bias, padding=rate, dilation=rate).relu()
        x = nn.functional.conv2d(x, second.weight, second.bias).relu()
        total = total + nn.functional.conv2d(x, third.weight, third.bias)
    torch.testing.assert_close(head(features), total)
    assert [layer.p for layer in deeplab_v2()(6, MAP).modules() if isinstance(layer, nn.Dropout)] == [0.5] * 8


@pytest.mark.parametrize(
    ("backbone", "millions", "ratio"),
    [(resnet34, 69.4, 1.535), (mobilenet_v2, 154.0, 0.071)],
    ids=["resnet34", "mobilenet_v2"],
)
def test_adapmtls_networks_have_adapmtls_sizes(backbone: Callable[..., Any], millions: float, ratio: float) -> None:
    """Three heads on NYU-v2 (40 classes, depth, normals): their prunable weights, and 5 |W_B| / Σ|W_t|."""

    def prunable(module: nn.Module) -> int:
        return sum(layer.weight.numel() for layer in module.modules() if isinstance(layer, nn.Conv2d))

    with torch.device("meta"):
        shared = backbone(output_stride=8)
        tasks = [
            Task(name, c, elements, dense=True) for name, c in [("segmentation", 40), ("depth", 1), ("normals", 3)]
        ]
        heads = sum(prunable(deeplab_v2()(shared.channels, task)) for task in tasks)
    assert heads / 1e6 == pytest.approx(millions, rel=5e-3)
    assert 5 * prunable(shared) / heads == pytest.approx(ratio, rel=5e-3)


@pytest.mark.parametrize("name", [*DENSE, *LEVEL])
def test_heads_trace_by_fx(name: str) -> None:
    """The trace gives the same prediction at another size, and holds no check."""
    torch.manual_seed(0)
    head = (DENSE[name]()(6, MAP) if name in DENSE else LEVEL[name]()(6, IMAGE)).eval()
    traced = torch.fx.symbolic_trace(head)
    for shape in [(2, 6, 4, 4), (1, 6, 5, 3)]:
        features = torch.rand(shape)
        torch.testing.assert_close(traced(features), head(features))


def test_traced_linear_takes_vectors_and_maps() -> None:
    """The trace does not settle for one of the two."""
    traced = torch.fx.symbolic_trace(linear()(6, IMAGE))
    assert traced(torch.rand(2, 6)).shape == traced(torch.rand(2, 6, 4, 4)).shape == (2, 3)


def test_by_kind_picks_by_the_task() -> None:
    """Dense tasks get the one head, all others the other."""
    head = by_kind(dense=aspp(width=8), other=linear())
    assert head(6, MAP)(torch.rand(2, 6, 4, 4)).shape == (2, 2, 4, 4)
    assert head(6, IMAGE)(torch.rand(2, 6, 4, 4)).shape == (2, 3)


@pytest.mark.parametrize("name", [*DENSE, "two_layer"])
def test_vectors_are_refused_where_a_map_is_needed(name: str) -> None:
    """The message names the task and what to do."""
    head = DENSE[name]()(6, MAP) if name in DENSE else two_layer()(6, IMAGE)
    task = "depth" if name in DENSE else "tall"
    with pytest.raises(
        ValueError, match=rf"head of task `{task}`. Got shape \[2, 6\]: take a backbone that gives maps"
    ):
        head(torch.rand(2, 6))


@pytest.mark.parametrize("name", ["aspp", "deeplab_v2"])
def test_dense_heads_refuse_image_level_tasks(name: str) -> None:
    """The message names head and task."""
    with pytest.raises(
        ValueError, match=rf"`task` must be a dense task for the head `{name}`. Got task `tall`.*`linear`"
    ):
        DENSE[name]()(6, IMAGE)


@pytest.mark.parametrize("name", LEVEL)
def test_image_heads_refuse_dense_tasks(name: str) -> None:
    """The message names head and task."""
    with pytest.raises(
        ValueError, match=rf"must be an image-level task for the head `{name.split()[0]}`. Got task `depth`.*`aspp`"
    ):
        LEVEL[name]()(6, MAP)


@pytest.mark.parametrize("rates", [(), (0, 3)])
@pytest.mark.parametrize("make", [aspp, deeplab_v2])
def test_rates_must_be_positive(make: Callable[..., Any], rates: tuple[int, ...]) -> None:
    """Without branches there is no sum."""
    with pytest.raises(ValueError, match="`rates` must be one or more positive integers"):
        make(rates=rates)
