"""Weights from files, and the backbones that other libraries have."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mtl_core.backbones import IMAGENET, from_timm, load_weights, resnet18, small_resnet, tiny, vgg16, vit, xception
from mtl_core.backbones.xception import Separable
from mtl_core.heads import linear, transposed
from mtl_core.storage import distinct, pack
from mtl_core.task import attribute, depth


def stored(module: nn.Module, path: Path) -> Path:
    save_file(dict(module.state_dict()), path)
    return path


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, None], ids=["norms", "none"])
def test_vgg16_is_torchvisions(norm: Any) -> None:
    """The same names and shapes, and with its weights the same features at a size that every pooling halves."""
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    oracle = (models.vgg16 if norm is None else models.vgg16_bn)().features.double().eval()
    ours = vgg16(norm=norm).double().eval()
    ours.features.load_state_dict(oracle.state_dict())
    images = torch.rand(1, 3, 64, 32, dtype=torch.float64)
    torch.testing.assert_close(ours(images), oracle(images), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("pools", "size"), [(0, (33, 47)), (3, (5, 6)), (5, (2, 2))])
def test_poolings_of_vgg_can_be_left_out(pools: int, size: tuple[int, int]) -> None:
    """What is left halves the map, rounded upwards; the names stay."""
    backbone = vgg16(width=0.125, pools=pools)
    assert backbone(torch.zeros(1, 3, 33, 47)).shape[2:] == size
    assert list(backbone.state_dict()) == list(vgg16(width=0.125).state_dict())


def test_poolings_must_be_there() -> None:
    """There are five."""
    with pytest.raises(ValueError, match=r"`pools` must be 0 to 5. Got `pools = 6`"):
        vgg16(pools=6)


def test_xception_has_dmtgs_layers() -> None:
    """32, 64, 128, 256 and 728 channels, eight blocks of 728, 512 at a sixteenth of the image."""
    with torch.device("meta"):
        backbone = xception()
        features = backbone(torch.zeros(1, 3, 256, 256))
    assert features.shape == (1, 512, 16, 16)
    assert [backbone.conv1.out_channels, backbone.conv2.out_channels] == [32, 64]
    layers = [backbone.get_submodule(f"block{place}.layers") for place in range(1, 12)]
    widths = [[m.pointwise.out_channels for m in layer if isinstance(m, Separable)] for layer in layers]
    assert widths == [[128] * 2, [256] * 2, [728] * 2, *[[728] * 3] * 8]


def test_small_resnet_has_dmtgs_features() -> None:
    """64 × 15 × 15 = 14,400 for an image of 64 pixels, all of which the head over a grid sees."""
    with torch.device("meta"):
        features = small_resnet()(torch.zeros(1, 3, 64, 64))
    assert features.flatten(1).shape == (1, 14_400)
    head: Any = linear(grid=15)(64, attribute("tall"))
    assert head.linear.in_features == 14_400
    values = torch.rand(2, 64, 15, 15)
    torch.testing.assert_close(head(values), head.linear(values.flatten(1)))


def test_the_grid_must_have_a_position() -> None:
    """No features are no prediction."""
    with pytest.raises(ValueError, match=r"`grid` must be at least 1. Got `grid = 0`"):
        linear(grid=0)


def test_transposed_doubles_the_map_in_each_stage() -> None:
    """Four stages make a map of stride 16 as large as the image; a task that is no map is refused."""
    head = transposed()(8, depth("depth"))
    assert head(torch.zeros(1, 8, 3, 4)).shape == (1, 1, 48, 64)
    with pytest.raises(ValueError, match=r"`task` must be a dense task for the head `transposed`"):
        transposed()(8, attribute("tall"))
    with pytest.raises(ValueError, match=r"`widths` must be one or more positive integers. Got `widths = \(\)`"):
        transposed(())


def test_a_class_token_is_seen_and_not_given_back() -> None:
    """It changes the map, which has a token a patch still."""
    torch.manual_seed(0)
    backbone = vit(dim=16, depth=1, class_token=True)
    images = torch.rand(1, 3, 32, 32)
    before = backbone(images)
    assert before.shape == (1, 16, 8, 8)
    assert backbone.class_token is not None
    backbone.class_token.data += 1
    assert not torch.allclose(backbone(images), before)


def test_weights_come_from_a_file(tmp_path: Path) -> None:
    """A backbone starts from the file's weights, also where it normalises its images."""
    torch.manual_seed(0)
    trained = resnet18(width=0.125)
    path = stored(trained, tmp_path / "weights.safetensors")
    images = torch.rand(1, 3, 32, 32)
    for options in ({}, {"normalize": IMAGENET}):
        ours = resnet18(width=0.125, weights=path, **options)
        assert all(torch.equal(ours.state_dict()[name], tensor) for name, tensor in trained.state_dict().items())
    torch.testing.assert_close(resnet18(width=0.125, weights=path).eval()(images), trained.eval()(images))


def test_weights_may_be_a_file_that_core_has_written(tmp_path: Path) -> None:
    """Of a tensor with many zeros it holds the survivors alone."""
    torch.manual_seed(0)
    pruned = tiny()
    pruned.layer3.conv1.weight.data[1:] = 0
    tensors, metadata = pack(*distinct(pruned))
    save_file(tensors, tmp_path / "packed.safetensors", metadata)
    assert "layer3.conv1.weight" not in tensors
    again = tiny(weights=tmp_path / "packed.safetensors")
    assert torch.equal(again.layer3.conv1.weight, pruned.layer3.conv1.weight)


def test_weights_that_are_not_there_are_said_so(tmp_path: Path) -> None:
    """Nothing is downloaded, and the message says what to do."""
    with pytest.raises(
        FileNotFoundError, match=r"`weights` must be a file of safetensors. Got `.*`, which is not there"
    ):
        tiny(weights=tmp_path / "none.safetensors")


def test_weights_must_fit(tmp_path: Path) -> None:
    """Another width, another network, and a file of something else are refused by name."""
    path = stored(tiny(), tmp_path / "tiny.safetensors")
    with pytest.raises(ValueError, match=r"`weights` must hold this backbone's weights.*\[32, 3, 3, 3\]"):
        tiny(width=2.0, weights=path)
    with pytest.raises(ValueError, match=r"Missing key"):
        vgg16(width=0.125, weights=path)
    path.write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"`weights` must hold this backbone's weights.*cannot be read"):
        load_weights(tiny(), path)


@pytest.mark.parametrize(
    ("name", "options"), [("mobilenetv3_small_050", {}), ("swin_s3_tiny_224", {"img_size": 32, "window_size": 4})]
)
def test_any_network_of_timm_is_a_backbone(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    """Channels are those of the level, whatever order the network keeps; weights come from a file."""
    pytest.importorskip("timm")
    torch.manual_seed(0)
    for level in (0, -1):
        backbone = from_timm(name, level=level, normalize=IMAGENET, **options).eval()
        images = torch.rand(2, 3, 32, 32)
        features = backbone(images)
        assert features.shape[:2] == (2, backbone.channels)
    path = tmp_path / "weights.safetensors"
    save_file({k: t.contiguous() for k, t in backbone.state_dict().items() if not k.startswith("normalize.")}, path)
    again = from_timm(name, normalize=IMAGENET, weights=path, **options).eval()
    torch.testing.assert_close(again(images), features)


def test_timm_must_have_the_network_and_the_level() -> None:
    """Names and levels are said."""
    pytest.importorskip("timm")
    with pytest.raises(
        ValueError, match=r"`name` must be a network of timm with a feature pyramid. Got `name = nothing`"
    ):
        from_timm("nothing")
    with pytest.raises(ValueError, match=r"`level` must be one of 5 maps. Got `level = 5`"):
        from_timm("mobilenetv3_small_050", level=5)


def test_without_timm_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no dependency: the message says what to install."""
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(ImportError, match=r"`from_timm` needs timm: `pip install timm`"):
        from_timm("mobilenetv3_small_050")
