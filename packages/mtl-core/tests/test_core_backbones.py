from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mtl_core.backbones import (
    IMAGENET,
    Normalize,
    mobilenet_v2,
    resnet10,
    resnet14,
    resnet18,
    resnet34,
    resnet50,
    resnet50_d,
    small_resnet,
    tiny,
    vgg16,
    vit,
    vit_b16,
    xception,
)
from mtl_core.backbones.layers import conv, scale_channels, strides_and_dilations
from mtl_core.backbones.normalize import input_normalization

Make = Callable[..., Any]

CONVOLUTIONAL: dict[str, Make] = {
    "resnet10": resnet10,
    "resnet14": resnet14,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "resnet50_d": resnet50_d,
    "mobilenet_v2": mobilenet_v2,
}
NARROW: dict[str, Make] = {
    name: lambda m=make, **options: m(width=0.125, **options) for name, make in CONVOLUTIONAL.items()
}
SMALL: dict[str, Make] = {
    **NARROW,
    "tiny": tiny,
    "vgg16": lambda **options: vgg16(**{"width": 0.125, **options}),
    "xception": lambda **options: xception(**{"width": 0.05, **options}),
    "small_resnet": lambda **options: small_resnet(**{"width": 0.25, **options}),
    "vit": lambda **options: vit(dim=16, depth=2, **options),
    "vit with a class token": lambda **options: vit(dim=16, depth=2, class_token=True, **options),
}
CONVOLVING = [name for name in SMALL if not name.startswith("vit")]


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def on_meta(make: Make, **options: object) -> Any:
    with torch.device("meta"):
        return make(**options)


def stir(module: Any) -> Any:
    """Give norms statistics and weights of their own, so that leaving one out would show."""
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                for tensor in layer.state_dict().values():
                    if tensor.is_floating_point():
                        tensor.uniform_(0.5, 1.5)
    return module.double().eval()


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "mobilenet_v2"])
def test_parameter_names_and_shapes_are_torchvisions(name: str) -> None:
    """Without its classifier, torchvision's network has the same state dict, in the same order."""
    models = pytest.importorskip("torchvision.models")
    oracle = on_meta(getattr(models, name)).state_dict()
    expected = {n: p.shape for n, p in oracle.items() if not n.startswith(("fc.", "classifier."))}
    ours = {n: p.shape for n, p in on_meta(CONVOLUTIONAL[name]).state_dict().items()}
    assert list(ours.items()) == list(expected.items())


@pytest.mark.parametrize(
    ("name", "options", "oracle_options"),
    [
        ("resnet18", {}, {}),
        ("resnet50", {"output_stride": 8}, {"replace_stride_with_dilation": [False, True, True]}),
        ("mobilenet_v2", {}, {}),
    ],
)
def test_outputs_are_torchvisions_with_its_weights(
    name: str, options: dict[str, Any], oracle_options: dict[str, Any]
) -> None:
    """Weights copied from torchvision's network give its features."""
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    oracle = stir(getattr(models, name)(**oracle_options))
    ours = CONVOLUTIONAL[name](**options).double().eval()
    result = ours.load_state_dict(oracle.state_dict(), strict=False)
    assert not result.missing_keys
    cut = oracle.features if name == "mobilenet_v2" else nn.Sequential(*list(oracle.children())[:-2])
    images = torch.rand(2, 3, 49, 64, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), cut(images), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("make", "parameters"),
    [
        (resnet18, 11_176_512),
        (resnet34, 21_284_672),
        (resnet50, 23_508_032),
        (resnet50_d, 23_631_808),
        (mobilenet_v2, 2_223_872),
        (tiny, 45_280),
        (vit, 207_296),
        (vgg16, 14_723_136),
        (xception, 14_398_880),
        (small_resnet, 75_840),
        (vit_b16, 85_797_888),
    ],
)
def test_parameter_counts_are_those_that_the_documentation_prints(make: Make, parameters: int) -> None:
    """The counts at width 1."""
    assert count(on_meta(make)) == parameters


@pytest.mark.parametrize(
    ("make", "blocks"), [(resnet10, [1, 1, 1, 1]), (resnet14, [2, 2, 1, 1]), (resnet34, [3, 4, 6, 3])]
)
def test_the_number_of_a_resnet_counts_its_layers(make: Make, blocks: list[int]) -> None:
    """ResNet-n of basic blocks has the stem, two convolutions a block, and the classifier that we leave out."""
    backbone = on_meta(make)
    assert [len(stage) for stage in (backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4)] == blocks
    assert make.__name__ == f"resnet{2 + 2 * sum(blocks)}"


@pytest.mark.parametrize(
    ("layer", "parameters"),
    [
        ("layer2.3.conv2", 1_501_888),
        ("layer3.3.conv1", 5_577_664),
        ("layer3.4.conv2", 7_285_184),
        ("layer4.0.conv1", 9_191_360),
        ("layer4.2.bn3", 23_631_808),
    ],
)
def test_prefixes_of_resnet50_d_have_lomts_sizes(layer: str, parameters: int) -> None:
    """Counted: all parameters in the order of `parameters()`, norms included, up to and including the layer's own."""
    total = 0
    passed = False
    for name, parameter in on_meta(resnet50_d, output_stride=8).named_parameters():
        if passed and not name.startswith(f"{layer}."):
            break
        passed = passed or name.startswith(f"{layer}.")
        total += parameter.numel()
    assert total == parameters


@pytest.mark.parametrize(("stride", "size"), [(32, (2, 3)), (16, (4, 5)), (8, (7, 9))])
@pytest.mark.parametrize("name", NARROW)
def test_output_stride_gives_the_resolution(name: str, stride: int, size: tuple[int, int]) -> None:
    """Features have the image's size divided by the output stride, rounded upwards."""
    backbone = NARROW[name](output_stride=stride).eval()
    assert backbone(torch.zeros(1, 3, 49, 65)).shape == (1, backbone.channels, *size)


@pytest.mark.parametrize("size", [(64, 64), (49, 75)])
@pytest.mark.parametrize("name", NARROW)
def test_dilated_features_contain_the_strided_ones(name: str, size: tuple[int, int]) -> None:
    """At output stride 8 every fourth row and column is what the strided network gives, up to the border."""
    torch.manual_seed(0)
    strided = stir(NARROW[name]())
    dilated = NARROW[name](output_stride=8).double().eval()
    dilated.load_state_dict(strided.state_dict())
    images = torch.rand(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        expected = strided(images)
        scale = expected.abs().max()
        torch.testing.assert_close(dilated(images)[:, :, ::4, ::4] / scale, expected / scale, rtol=0, atol=1e-12)


def test_layers_have_deeplabs_strides_and_dilations() -> None:
    """At output stride 8 the stages of a ResNet have strides 1, 2, 1, 1 and dilations 1, 1, 2, 4."""
    backbone = on_meta(resnet34, output_stride=8)
    stages = [backbone.layer1, backbone.layer2, backbone.layer3, backbone.layer4]
    assert [stage[0].conv1.stride[0] for stage in stages] == [1, 2, 1, 1]
    assert [stage[-1].conv2.dilation[0] for stage in stages] == [1, 1, 2, 4]


@pytest.mark.parametrize("name", NARROW)
def test_small_images_keep_a_fourfold_resolution(name: str) -> None:
    """Without the stem's strides a 32-pixel image keeps 4 × 4 features at output stride 32."""
    backbone = NARROW[name](small_images=True).eval()
    assert backbone(torch.zeros(1, 3, 32, 32)).shape == (1, backbone.channels, 4, 4)


@pytest.mark.parametrize(
    ("make", "width", "channels"),
    [(resnet18, 0.25, 128), (resnet50, 0.25, 512), (resnet18, 0.01, 8), (mobilenet_v2, 0.5, 640), (tiny, 2.0, 64)],
)
def test_width_multiplies_the_channels(make: Make, width: float, channels: int) -> None:
    """`channels` is the scaled number, a multiple of 8 and at least 8."""
    backbone = on_meta(make, width=width)
    assert backbone.channels == channels
    assert all(layer.out_channels % 8 == 0 for layer in backbone.modules() if isinstance(layer, nn.Conv2d))


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (48, 64), (128, 96)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", SMALL)
def test_any_size_and_number_of_channels_works(name: str, channels: int, size: tuple[int, int]) -> None:
    """Grey and colour images from 32 to 128 pixels give finite maps with `channels` channels."""
    torch.manual_seed(0)
    backbone = SMALL[name](in_channels=channels).eval()
    with torch.no_grad():
        features = backbone(torch.rand(2, channels, *size))
    assert features.ndim == 4
    assert features.shape[:2] == (2, backbone.channels)
    assert features.isfinite().all()


@pytest.mark.parametrize("options", [{}, {"normalize": IMAGENET}], ids=["plain", "normalize"])
@pytest.mark.parametrize("name", SMALL)
def test_traces_by_fx_and_the_trace_takes_other_sizes(name: str, options: dict[str, Any]) -> None:
    """The traced network gives the same features, also for a batch and an image size of its own."""
    torch.manual_seed(0)
    backbone = SMALL[name](**options).eval()
    traced = torch.fx.symbolic_trace(backbone)
    for shape in [(2, 3, 32, 32), (1, 3, 41, 50)]:
        images = torch.rand(shape)
        torch.testing.assert_close(traced(images), backbone(images))


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_learns(name: str) -> None:
    """In training mode each parameter has a finite gradient, and not all of them zero."""
    torch.manual_seed(0)
    backbone = SMALL[name]()
    features = backbone(torch.rand(4, 3, 64, 64))
    (features * torch.randn_like(features)).sum().backward()
    gradients = {n: parameter.grad for n, parameter in backbone.named_parameters()}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
    # A bias of the keys shifts all scores of a query alike, which the softmax does not see.
    assert [n for n, gradient in gradients.items() if gradient.abs().max() == 0 and "key.bias" not in n] == []


@pytest.mark.parametrize("name", CONVOLVING)
def test_norm_makes_every_norm(name: str) -> None:
    """With group norms there is no batch norm left, and a batch of one trains."""
    backbone = SMALL[name](norm=lambda channels: nn.GroupNorm(4, channels))
    assert not [layer for layer in backbone.modules() if isinstance(layer, nn.BatchNorm2d)]
    backbone(torch.rand(1, 3, 32, 32)).sum().backward()


@pytest.mark.parametrize("name", CONVOLVING)
def test_modules_are_called_once(name: str) -> None:
    """No module is called twice in a forward pass, so that a layer's name names one place."""
    traced = torch.fx.symbolic_trace(SMALL[name]())
    called = [node.target for node in traced.graph.nodes if node.op == "call_module"]
    assert len(called) == len(set(called))


def test_activations_leave_their_inputs() -> None:
    """A convolution's and a norm's output can be taken anywhere: no activation works in place."""
    for make in SMALL.values():
        assert not any(getattr(layer, "inplace", False) for layer in make().modules())


def test_initial_convolutions_keep_the_gradients_variance() -> None:
    """The weights of a new convolution have variance 2 / (C k²)."""
    torch.manual_seed(0)
    weight = conv(64, 128, 3).weight
    assert weight.var().item() == pytest.approx(2 / (128 * 9), rel=0.03)


@pytest.mark.parametrize("name", SMALL)
def test_normalize_is_the_first_submodule(name: str) -> None:
    """A normalised backbone is the plain one on normalised images, with the same parameters and channels."""
    torch.manual_seed(0)
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.25, 0.3]
    backbone = SMALL[name](normalize=(mean, std)).eval()
    assert next(iter(dict(backbone.named_children()))) == "normalize"
    plain = SMALL[name]().eval()
    assert set(backbone.state_dict()) - set(plain.state_dict()) == {"normalize.mean", "normalize.std"}
    plain.load_state_dict(backbone.state_dict(), strict=False)
    images = torch.rand(2, 3, 32, 32)
    by_hand = torch.stack([(images[:, c] - mean[c]) / std[c] for c in range(3)], dim=1)
    torch.testing.assert_close(backbone(images), plain(by_hand))
    assert backbone.channels == plain.channels


def test_normalize_worked_example() -> None:
    """(0.5 − 0.4) / 0.2 = 0.5 and (0.5 − 0.5) / 0.1 = 0."""
    images = torch.full((1, 2, 1, 1), 0.5)
    expected = torch.tensor([0.5, 0.0]).view(1, 2, 1, 1)
    torch.testing.assert_close(Normalize([0.4, 0.5], [0.2, 0.1])(images), expected)


def test_normalize_follows_the_modules_dtype() -> None:
    """Mean and standard deviation are buffers: they move and are converted with the module, and do not learn."""
    module = Normalize([0.5], [0.5]).double()
    assert module(torch.zeros(1, 1, 2, 2, dtype=torch.float64)).dtype is torch.float64
    assert not list(module.parameters())


def naive_vit(backbone: Any, images: Tensor) -> Tensor:
    """The transformer patch by patch and head by head, for images of its own size."""
    patch, dim = backbone.patch, backbone.channels
    weight, bias = backbone.embedding.weight.flatten(1), backbone.embedding.bias
    rows, columns = images.shape[2] // patch, images.shape[3] // patch
    tokens = []
    for row in range(rows):
        for column in range(columns):
            piece = images[:, :, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch].flatten(1)
            tokens.append(piece @ weight.T + bias + backbone.position[0, :, row, column])
    x = torch.stack(tokens, dim=1)
    for block in backbone.blocks:
        normed = block.norm1(x)
        size = dim // block.attention.heads
        q, k, v = (layer(normed) for layer in (block.attention.query, block.attention.key, block.attention.value))
        parts = []
        for head in range(block.attention.heads):
            s = slice(head * size, (head + 1) * size)
            parts.append(torch.softmax(q[..., s] @ k[..., s].mT / size**0.5, dim=-1) @ v[..., s])
        x = x + block.attention.out(torch.cat(parts, dim=-1))
        x = x + block.linear2(nn.functional.gelu(block.linear1(block.norm2(x))))
    x = backbone.norm(x)
    return torch.stack([x[:, i].reshape(-1, dim) for i in range(rows * columns)], dim=2).unflatten(2, (rows, columns))


def test_vit_equals_the_loop_over_patches_and_heads() -> None:
    """On its own grid the positions are added as they are, and the tokens come back in their places."""
    torch.manual_seed(0)
    backbone = vit(image_size=12, patch=4, dim=12, depth=2, heads=3).double()
    images = torch.rand(2, 3, 12, 12, dtype=torch.float64)
    torch.testing.assert_close(backbone(images), naive_vit(backbone, images))


def test_vit_pads_images_that_are_no_multiple_of_the_patch() -> None:
    """Zeros on the right and below change nothing."""
    torch.manual_seed(0)
    backbone = vit(dim=8, depth=1, heads=2)
    images = torch.rand(1, 3, 30, 33)
    padded = nn.functional.pad(images, (0, 3, 0, 2))
    torch.testing.assert_close(backbone(images), backbone(padded))


def test_equal_seeds_give_equal_weights() -> None:
    """The initial weights are a function of the global generator."""
    for make in SMALL.values():
        torch.manual_seed(3)
        first = make().state_dict()
        torch.manual_seed(3)
        second = make().state_dict()
        assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("name", CONVOLVING)
def test_width_must_be_positive(name: str) -> None:
    """No channels are not a network."""
    make = CONVOLUTIONAL.get(name, SMALL[name])
    with pytest.raises(ValueError, match=r"`width` must be positive. Got `width = 0`"):
        make(width=0)


def test_output_stride_must_be_a_known_one() -> None:
    """Only the strides that the stages can give are taken."""
    with pytest.raises(ValueError, match=r"`output_stride` must be 8, 16 or 32. Got `output_stride = 4`"):
        resnet18(output_stride=4)
    with pytest.raises(ValueError, match=r"`output_stride` must be 8, 16 or 32"):
        strides_and_dilations((1, 2), 64)


@pytest.mark.parametrize("name", SMALL)
def test_in_channels_must_be_positive(name: str) -> None:
    """Images have a channel."""
    with pytest.raises(ValueError, match=r"`in_channels` must be at least 1. Got `in_channels = 0`"):
        SMALL[name](in_channels=0)


@pytest.mark.parametrize("name", SMALL)
def test_normalize_must_fit_the_images(name: str) -> None:
    """ImageNet's three numbers do not fit grey images."""
    with pytest.raises(ValueError, match=r"`normalize` must have `in_channels = 1` numbers"):
        SMALL[name](in_channels=1, normalize=IMAGENET)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ([0.5], [0.5, 0.5], r"`mean` and `std` must have one number per channel. Got `len\(mean\) = 1`"),
        ([], [], r"`mean` and `std` must have one number per channel"),
        ([float("nan")], [0.5], r"`mean` must be finite"),
        ([0.5], [0.0], r"`std` must be positive and finite. Got `std = \[0.0\]`"),
        ([0.5], [float("inf")], r"`std` must be positive and finite"),
    ],
)
def test_normalize_refuses_what_is_no_normalisation(mean: list[float], std: list[float], message: str) -> None:
    """Lengths that differ, and numbers that would divide by zero or spread."""
    with pytest.raises(ValueError, match=message):
        Normalize(mean, std)


def test_no_normalization_is_the_identity() -> None:
    """Without numbers there is nothing to keep."""
    assert isinstance(input_normalization(None, in_channels=2), nn.Identity)


@pytest.mark.parametrize("name", ["image_size", "patch", "dim", "depth", "heads"])
def test_vit_sizes_must_be_positive(name: str) -> None:
    """Each size is named when it is not usable."""
    sizes: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=rf"`{name}` must be at least 1. Got `{name} = 0`"):
        vit(**sizes)


def test_vit_dim_must_be_a_multiple_of_heads() -> None:
    """Heads share the channels evenly."""
    with pytest.raises(ValueError, match=r"`dim` must be a multiple of `heads`. Got `dim = 10`, `heads = 4`"):
        vit(dim=10, heads=4)


def test_scaled_channels_are_the_nearest_multiple_of_eight() -> None:
    """Halves go upwards, and 8 is the least."""
    assert [scale_channels(c, w) for c, w in [(64, 1.0), (24, 0.5), (16, 0.75), (20, 1.0), (64, 0.05)]] == [
        64,
        16,
        16,
        24,
        8,
    ]
