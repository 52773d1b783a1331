"""Measuring a model: counts by hand, each task's own way, sparse kernels by what they stand for, and the table."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import mtl_core as core
from mtl_core import backbones, heads
from mtl_core.dense import dense_form
from mtl_core.measure import measure, measured_notes, measured_table
from mtl_core.report import write_report
from mtl_core.result import Report
from mtl_core.storage import stored_bytes
from mtl_core.task import classification, segmentation

TASKS = [classification("kind", 3), segmentation("parts", 4)]


def head(channels: int, task: core.Task) -> nn.Module:
    return nn.Conv2d(channels, task.channels, 1) if task.dense else heads.linear()(channels, task)


def shared(tasks: Sequence[core.Task] = TASKS) -> core.SharedBackbone:
    return core.SharedBackbone(nn.Conv2d(1, 8, 3, padding=1), tasks, head, example=torch.zeros(1, 1, 4, 4))


def test_each_task_has_its_own_way() -> None:
    """By hand: a convolution that both tasks share, a linear layer, a convolution of 1×1."""
    model = shared()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
        model.backbone.weight[:4] = 0.0  # half of it
    found = measure(model, torch.rand(2, 1, 4, 4), repeats=2)
    body, kind, parts = 2 * 2 * 16 * 72, 2 * 2 * 8 * 3, 2 * 2 * 16 * 8 * 4
    assert (found.whole.flops, found.whole.nonzero_flops) == (body + kind + parts, body // 2 + kind + parts)
    assert {name: path.flops for name, path in found.tasks.items()} == {"kind": body + kind, "parts": body + parts}
    assert [path.parameters for path in found.tasks.values()] == [80 + 27, 80 + 36]
    assert (found.whole.parameters, found.whole.survivors) == (143, 107)
    assert (found.shape, found.dtype, found.device, found.repeats) == ((2, 1, 4, 4), "float32", "cpu", 2)
    assert found.whole.disk == stored_bytes(model) > found.tasks["kind"].disk


def test_a_group_is_measured_without_the_others() -> None:
    """The stem and the task's own group are on its way, and no other."""
    groups = {"a": shared([TASKS[0]]), "b": shared([TASKS[1]])}
    model = core.TaskGroups(groups, nn.Conv2d(1, 1, 3, padding=1))
    found = measure(model, torch.rand(1, 1, 4, 4), repeats=2)
    assert {n: p.parameters for n, p in found.tasks.items()} == {"kind": 10 + 80 + 27, "parts": 10 + 80 + 36}
    assert found.whole.parameters == 10 + 160 + 27 + 36


@pytest.mark.parametrize("kind", ["tensor", "tuple", "dict"])
def test_any_module_is_measured(kind: str) -> None:
    """Whatever it gives; without tasks there is the whole alone."""

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Any:
            y = self.layer(x)
            return {"tensor": y, "tuple": (y, y), "dict": {"a": y}}[kind]

    found = measure(Plain(), torch.rand(5, 4), repeats=2)
    assert (found.tasks, found.whole.flops) == ({}, 2 * 5 * 12)
    assert found.whole.memory == 4 * (15 + 20 + 15)


def test_the_model_is_left_as_it_was() -> None:
    """Mode, norms and weights; evaluation mode while it is measured."""
    model = core.SharedBackbone(backbones.tiny(), [TASKS[0]], heads.linear()).train()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    measure(model, torch.rand(2, 3, 8, 8), repeats=2)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_the_example_is_brought_to_the_model() -> None:
    """A float64 model takes float32 images; integers stay integers."""
    assert measure(nn.Linear(4, 3).double(), torch.rand(1, 4), repeats=2).dtype == "float64"
    assert measure(nn.Embedding(4, 3), torch.tensor([1, 2]), repeats=2).dtype == "int64"
    assert measure(nn.Identity(), torch.rand(1, 4), repeats=2).whole.disk > 0


class Kernel(nn.Module):
    """A linear layer by a kernel of its own, which no counter knows."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("rows", layer.weight.detach().clone())
        self.register_buffer("more", layer.bias.detach().clone())

    def forward(self, x: Tensor) -> Any:
        return (x.unsqueeze(1) * self.rows).sum(2) + self.more  # type: ignore[operator]

    def dense_layer(self) -> nn.Module:
        layer = nn.Linear(4, 3)
        layer.load_state_dict({"weight": self.rows, "bias": self.more})
        return layer


def test_a_sparse_kernel_counts_as_the_layer_that_it_stands_for() -> None:
    """Operations, parameters and file are the dense layer's; memory is the kernel's own."""
    torch.manual_seed(0)
    layer = nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight[0] = 0.0
    plain, kernel = nn.Sequential(layer), nn.Sequential(Kernel(layer))
    x = torch.rand(2, 4)
    ours, theirs = measure(kernel, x, repeats=2).whole, measure(plain, x, repeats=2).whole
    for name in ("parameters", "survivors", "flops", "nonzero_flops", "disk"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.nonzero_flops == 2 * 2 * 8
    assert ours.memory > theirs.memory


def test_the_dense_form_has_equal_outputs_and_the_model_stays() -> None:
    """A kernel inside, a kernel that is used twice, the model itself; without one it is the model."""
    kernel = Kernel(nn.Linear(4, 3))
    model = nn.Sequential(nn.Sequential(kernel), nn.Linear(3, 4), kernel).eval()
    found = dense_form(model)
    x = torch.rand(2, 4)
    torch.testing.assert_close(found(x), model(x))
    assert found[0][0] is found[2]
    assert model[2] is kernel
    assert not found[2].training
    assert isinstance(dense_form(kernel), nn.Linear)
    assert dense_form(found) is found


def test_few_repeats_are_refused() -> None:
    """A spread needs two."""
    with pytest.raises(ValueError, match=r"`repeats` must be at least 2: a spread needs two. Got `repeats = 1`"):
        measure(nn.Identity(), torch.zeros(1), repeats=1)


def test_it_prints_as_a_table_and_stands_in_the_report(tmp_path: Any) -> None:
    """One line for each way, the units, and how it was measured; JSON values make the page's section."""
    found = measure(shared(), torch.rand(1, 1, 4, 4), repeats=3)
    lines = str(found).splitlines()
    assert lines[0].split()[:3] == ["for", "parameters", "not"]
    assert [line.split("  ")[0].strip() for line in lines[1:4]] == ["all tasks", "kind", "parts"]
    assert f"One pass of 1×1×4×4, float32, on cpu, {torch.get_num_threads()} thread" in lines[4]
    values = json.loads(json.dumps(found.values()))
    report = Report({"measured": {"ours": values, "dense": values}})
    (tmp_path / "report.json").write_text(report.to_json())
    write_report(tmp_path)
    page = (tmp_path / "report.md").read_text()
    assert "## Size and speed" in page
    assert "| ours | all tasks | 143 |" in page
    assert page.count("3 passes, warm") == 1
    assert len(measured_table({"a": values}).rows) == 3
    assert measured_notes({"a": {**values, "device": "H200"}})[-1].endswith("included on a GPU.")


@pytest.mark.cuda
def test_a_gpu_is_measured() -> None:
    """Time and memory of the device, named."""
    found = measure(shared().cuda(), torch.rand(4, 1, 64, 64), repeats=3)
    assert found.device == torch.cuda.get_device_name()
    assert found.whole.memory > 4 * 8 * 64 * 64 * 4
    assert found.whole.seconds > 0
