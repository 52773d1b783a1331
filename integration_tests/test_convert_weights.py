"""Torchvision's weights, converted, give torchvision's features."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from mtl_core import backbones

SCRIPT = Path(__file__).parent.parent / "shared" / "convert_weights.py"
models = pytest.importorskip("torchvision.models")


def script() -> Any:
    specification = importlib.util.spec_from_file_location("convert_weights", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_a_converted_transformer_gives_torchvisions_tokens(tmp_path: Path) -> None:
    """A small one of the same kind: the map is its tokens after the class token, in their places."""
    torch.manual_seed(0)
    oracle = models.VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=64).eval()
    for parameter in oracle.parameters():
        nn.init.normal_(parameter, std=0.2)
    path = tmp_path / "weights.safetensors"
    save_file({n: t.detach().contiguous().clone() for n, t in script().converted(oracle.state_dict()).items()}, path)
    ours = backbones.vit(image_size=32, patch=8, dim=16, depth=2, heads=2, class_token=True, weights=path).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        tokens = oracle._process_input(images)
        tokens = oracle.encoder(torch.cat([oracle.class_token.expand(2, -1, -1), tokens], dim=1))[:, 1:]
        torch.testing.assert_close(ours(images).flatten(2).transpose(1, 2), tokens)


def test_the_command_writes_a_file_that_fits(tmp_path: Path) -> None:
    """Without the internet, with random weights: the file is taken."""
    path = tmp_path / "mobilenet.safetensors"
    command = [sys.executable, str(SCRIPT), "mobilenet_v2", str(path), "--random"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "mtl_core.backbones.mobilenet_v2" in result.stdout
    backbones.mobilenet_v2(weights=path)


def test_every_network_that_is_offered_fits_ours() -> None:
    """Names and shapes of all that the command offers are those of the backbone it names."""
    make = {"vgg16(norm=None)": lambda: backbones.vgg16(norm=None)}
    for name, own in script().OURS.items():
        with torch.device("meta"):
            theirs = script().converted(models.get_model(name, weights=None).state_dict())
            ours = (make.get(own) or getattr(backbones, own))().state_dict()
        assert {n: t.shape for n, t in theirs.items()} == {n: t.shape for n, t in ours.items()}, name
