"""Every model of core as an `.onnx` file that onnxruntime runs: outputs by task, any batch, maps of the input's size."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mtl_core as core
from mtl_core import backbones, heads
from mtl_core.backbones.residual import BasicBlock, Bottleneck
from mtl_core.backbones.resnet import ResNet
from mtl_core.components import evaluating
from mtl_core.resize import resize
from mtl_core.task import Task, attribute, classification, depth, segmentation

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytest.importorskip("torch", "2.7")

MODULE = sys.modules["mtl_core.export"]  # the package has the function under this name
ASPP = heads.by_kind(dense=heads.aspp(8, rates=(1, 2)), other=heads.linear())
DEEPLAB = heads.by_kind(dense=heads.deeplab_v2(8, rates=(1, 2)), other=heads.two_layer(8, width=8))
TASKS = [segmentation("parts", 4), classification("kind", 3)]
SIZE = (3, 24, 32)


def shared(backbone: nn.Module, head: core.Head = ASPP, **options: Any) -> core.SharedBackbone:
    return core.SharedBackbone(backbone, TASKS, head, **options)


def plain() -> core.SharedBackbone:
    return shared(backbones.mobilenet_v2(width=0.125, output_stride=16, normalize=backbones.IMAGENET))


def tapped() -> core.SharedBackbone:
    options: dict[str, Any] = {"taps": {"parts": "layer2", "kind": "layer3"}, "example": torch.zeros(1, *SIZE)}
    return shared(ResNet(Bottleneck, (1, 1, 1, 1), stem=(32, 64), width=0.125), **options)


def groups() -> core.TaskGroups:
    """Three groups on one stem: a transformer, a residual network, and the heads that the other models have not."""

    def group(task: Task, backbone: nn.Module) -> core.SharedBackbone:
        return core.SharedBackbone(backbone, [task], DEEPLAB)

    parts = {
        "maps": group(depth("depth"), backbones.vit(depth=1, image_size=16, in_channels=8)),
        "images": group(attribute("tall"), ResNet(BasicBlock, (1, 1, 1, 1), width=0.125, in_channels=8)),
        "more": group(classification("kind", 3), backbones.tiny(in_channels=8)),
    }
    return core.TaskGroups(parts, nn.Conv2d(3, 8, 3, padding=1))


def split() -> core.TaskGroups:
    """A backbone that two tasks share up to a layer (`Stem`)."""
    tasks = [depth("depth")]
    model = core.SharedBackbone(backbones.tiny(width=0.25), tasks, ASPP, example=torch.zeros(1, *SIZE))
    stem, rest = model.split("layer1")
    return core.TaskGroups({"only": rest}, stem)


class Several(nn.Module):
    """Two predictions of one task; it names its tasks in `components()` alone."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 2, 3, stride=2), nn.Conv2d(3, 5, 3, stride=2)

    def forward(self, x: Tensor, tasks: Any = None) -> dict[str, Any]:
        return {"maps": (self.a(x), self.b(x)), "one": self.a(x).mean((2, 3))}

    def components(self) -> dict[str, list[nn.Module]]:
        return {"backbone": [self.a], "head.maps": [self.b], "head.one": []}


MODELS: dict[str, tuple[Callable[[], nn.Module], list[str]]] = {
    "taps": (tapped, ["parts", "kind"]),
    "plain": (plain, ["parts", "kind"]),
    "groups": (groups, ["depth", "tall", "kind"]),
    "split": (split, ["depth"]),
    "several": (Several, ["maps.0", "maps.1", "one"]),
}


def wanted(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """What the file has to give: by the model itself, a map resized to the input."""
    with evaluating(model):
        outputs = model(x)
    flat: dict[str, Tensor] = {}
    for name, value in outputs.items():
        several = {f"{name}.{place}": item for place, item in enumerate(value)} if isinstance(value, tuple) else {}
        flat |= several or {name: value}
    return {name: resize(value, x.shape[2:]) if value.ndim == 4 else value for name, value in flat.items()}


@pytest.mark.parametrize("kind", MODELS)
def test_a_file_gives_what_the_model_gives(kind: str, tmp_path: Path) -> None:
    """In onnxruntime: names per task, batches of 1 and 7, within 1e-4; the file alone, and the model as it was."""
    torch.manual_seed(0)
    make, names = MODELS[kind]
    model = make()
    with torch.no_grad():
        model.train()(torch.rand(8, *SIZE))  # norms with a past
    before = {name: t.clone() for name, t in model.state_dict().items()}
    path = core.export(model, torch.rand(1, *SIZE), tmp_path / "to" / "model.onnx")
    assert [file.name for file in (tmp_path / "to").iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == names
    for batch in (1, 7):
        x = torch.rand(batch, *SIZE)
        found = dict(zip(names, session.run(None, {"input": x.numpy()}), strict=True))
        expected = wanted(model, x)
        assert list(expected) == names
        for name, value in expected.items():
            np.testing.assert_allclose(found[name], value.numpy(), rtol=0, atol=1e-4 * float(value.abs().max()))
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert model.training


def test_a_file_says_that_the_batch_is_free_and_nothing_of_this_machine(tmp_path: Path) -> None:
    """Valid ONNX with one named axis; no paths of sources in it; the same again from the same model."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    path = core.export(model, torch.rand(3, 1, 2, 2), tmp_path / "a.onnx")
    content = onnx.load(path)
    onnx.checker.check_model(content, full_check=True)
    sizes = [d.dim_param or d.dim_value for d in content.graph.input[0].type.tensor_type.shape.dim]
    assert sizes == ["batch", 1, 2, 2]
    assert [output.name for output in content.graph.output] == ["output"]
    assert b".py" not in path.read_bytes()
    again = core.export(model, torch.rand(1, 1, 2, 2), tmp_path / "b.onnx")
    assert again.read_bytes() == path.read_bytes()


def test_what_onnxruntime_cannot_run_is_refused(tmp_path: Path) -> None:
    """It has no convolution in float64; nothing is left behind."""
    with pytest.raises(ValueError, match=r"The file must run at a batch of 1\. Got .*Nothing was written"):
        core.export(nn.Conv2d(1, 2, 3).double(), torch.rand(1, 1, 8, 8), tmp_path / "a.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_no_single_file_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is written: weights beside the graph would be a second file."""
    monkeypatch.setattr(MODULE, "ONNX_BYTES", 10)
    with pytest.raises(ValueError, match=r"`model` must have at most 10 bytes of weights.* Got 60: take `.pt2`"):
        core.export(nn.Linear(4, 3), torch.rand(1, 4), tmp_path / "a.onnx")


def test_outputs_are_compared_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime that gives other outputs is refused."""
    wrong: Mapping[str, Tensor] = {"x": torch.zeros(1)}
    monkeypatch.setattr(MODULE, "_run_onnx", lambda path, inputs: wrong)
    with pytest.raises(ValueError, match=r"The file must have the outputs \['output'\]. Got \['x'\]. Nothing was"):
        core.export(nn.Linear(4, 3), torch.rand(1, 4), tmp_path / "a.onnx")
