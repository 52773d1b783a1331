"""Results: saved and loaded bit by bit, equal bytes for equal weights, reports as JSON."""

import copy
import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

import mtl_core as core
from mtl_core import result as result_module
from mtl_core.checkpoint import StorageError, read_tensors
from mtl_core.result import Report, Result, load, save_model
from mtl_core.task import Task, attribute, classification, segmentation

TASKS = {"kind": classification("kind", 3), "parts": segmentation("parts", 4), "tall": attribute("tall")}


def head(channels: int, task: Task) -> nn.Module:
    if task.dense:
        return nn.Conv2d(channels, task.channels, 1)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, task.channels))


def shared(tasks: Mapping[str, Task], taps: Mapping[str, str] | None = None) -> core.SharedBackbone:
    backbone = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3))
    return core.SharedBackbone(backbone, tasks, head, taps, torch.zeros(1, 1, 8, 8))


class Plain(nn.Module):
    """A user's module; two of its layers have one weight."""

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.tops = nn.ModuleDict({name: nn.Linear(64, task.channels) for name, task in tasks.items()})

    def forward(self, x: Tensor, tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        x = self.second(self.first(x.flatten(1)))
        return {name: self.tops[name](x) for name in tasks or self.tops}

    def components(self) -> dict[str, list[nn.Module]]:
        return {"backbone": [self.first, self.second], **{f"head.{n}": [m] for n, m in self.tops.items()}}


def groups(tasks: Mapping[str, Task]) -> core.TaskGroups:
    first = shared({n: t for n, t in tasks.items() if n != "tall"}).restructure({"taps": {"kind": "1"}})
    return core.TaskGroups({"some": first, "other": shared({"tall": tasks["tall"]})})


def stemmed(tasks: Mapping[str, Task]) -> core.TaskGroups:
    parts = {"a": shared({"kind": TASKS["kind"]}), "b": shared({"tall": TASKS["tall"]})}
    return core.TaskGroups(parts, nn.Conv2d(1, 1, 3, padding=1))


MODELS: dict[str, tuple[Any, Any]] = {
    "shared": (shared, shared),
    "tapped": (partial(shared, taps={"kind": "0", "parts": "2", "tall": "0"}), shared),
    "tapped by build": (partial(shared, taps={"kind": "1"}), partial(shared, taps={"kind": "1"})),
    "groups": (groups, shared),
    "groups by build": (groups, groups),
    "stem by build": (stemmed, stemmed),
    "plain": (Plain, Plain),
}


def bits(model: nn.Module) -> dict[str, Any]:
    return {name: (t.dtype, t.reshape(-1).view(torch.uint8).tolist()) for name, t in model.state_dict().items()}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_saved_model_is_loaded_bit_by_bit(tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    """Weights, buffers, type, structure and predictions, with nothing but `build`."""
    torch.manual_seed(0)
    made, build = MODELS[kind]
    model = made(TASKS).to(dtype)
    x = torch.rand(3, 1, 8, 8, dtype=dtype)
    model.train()(x)  # norms with a past
    save_model(model.eval(), tmp_path, {name: [t.channels, t.dense, 1.0] for name, t in TASKS.items()})
    torch.manual_seed(1)
    again = load(tmp_path, build)
    assert bits(again) == bits(model)
    assert core.model.structure_of(again) == core.model.structure_of(model)
    torch.testing.assert_close(again(x), model(x), rtol=0, atol=0)
    assert not any(m.training for m in again.modules())
    assert list(load(tmp_path, build, TASKS)(x)) == list(model(x))


def test_equal_weights_give_equal_bytes(tmp_path: Path) -> None:
    """Wherever they come from: a copy, another layout in memory, the loaded model."""
    torch.manual_seed(0)
    model = Plain(TASKS)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.tops["kind"].weight.data = model.tops["kind"].weight.t().contiguous().t()
    files = []
    for number, given in enumerate((model, other)):
        (tmp_path / str(number)).mkdir()
        save_model(given, tmp_path / str(number))
        files.append({f.name: f.read_bytes() for f in (tmp_path / str(number)).iterdir()})
    save_model(load(tmp_path / "0", Plain, TASKS), tmp_path / "1")
    files.append({f.name: f.read_bytes() for f in (tmp_path / "1").iterdir()})
    assert files[0] == files[1] == files[2]
    assert sorted(files[0]) == ["model.safetensors", "structure.json"]


def test_a_weight_that_is_used_twice_is_stored_once(tmp_path: Path) -> None:
    """And is one weight again when loaded."""
    save_model(Plain(TASKS), tmp_path)
    assert "second.weight" not in read_tensors(tmp_path / "model.safetensors")
    again = load(tmp_path, Plain, TASKS)
    assert again.get_parameter("first.weight") is again.get_parameter("second.weight")


def test_what_does_not_fit_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """Another build, a structure that it cannot make, damaged or missing files, another format."""
    save_model(shared(TASKS), tmp_path)
    with pytest.raises(StorageError, match=r"does not fit what `build` makes: .*Missing key.*Give the `build` that"):
        load(tmp_path, Plain)
    save_model(stemmed(TASKS), tmp_path)
    with pytest.raises(StorageError, match=r"`build` must give the groups and their stem.*Give the `build`") as caught:
        load(tmp_path, shared)
    assert "\n" not in str(caught.value)
    (tmp_path / "model.safetensors").write_bytes(b"1234")
    with pytest.raises(StorageError, match=r"model.safetensors` cannot be read"):
        load(tmp_path, shared)
    (tmp_path / "structure.json").write_text(json.dumps({"format": 9, "tasks": {}}))
    with pytest.raises(StorageError, match=r"structure.json` is not of format 1, which this version of mtl-core reads"):
        load(tmp_path, shared)
    with pytest.raises(StorageError, match=r"structure.json` cannot be read"):
        load(tmp_path / "nowhere", shared)


def test_weights_and_structure_of_two_savings_are_not_mixed(tmp_path: Path) -> None:
    """The structure knows the checksum of its weights."""
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        (tmp_path / name).mkdir()
        save_model(shared(TASKS), tmp_path / name)
    (tmp_path / "a" / "model.safetensors").replace(tmp_path / "b" / "model.safetensors")
    with pytest.raises(StorageError, match=r"model.safetensors` is damaged: its checksum is not the one in `structure"):
        load(tmp_path / "b", shared)


def test_more_channels_than_weights_are_refused_before_they_fill_the_memory(tmp_path: Path) -> None:
    """Whoever changes a number in the structure makes no head of gigabytes."""
    save_model(shared(TASKS), tmp_path)
    stored = json.loads((tmp_path / "structure.json").read_text())
    stored["tasks"]["kind"][0] = 2**40
    (tmp_path / "structure.json").write_text(json.dumps(stored))
    with pytest.raises(
        StorageError, match=r"structure.json` does not fit .*must give the channels of `kind`.*Got 1099"
    ):
        load(tmp_path, shared)


def test_the_tasks_of_a_loaded_model_have_no_loss(tmp_path: Path) -> None:
    """Unless they are given."""
    save_model(shared(TASKS), tmp_path)
    with pytest.raises(ValueError, match=r"A loaded model's tasks have no loss: give `load\(folder, build, tasks="):
        load(tmp_path, shared).tasks["kind"].elements(torch.zeros(1, 3), torch.zeros(1))
    assert load(tmp_path, shared, TASKS).tasks["kind"] is TASKS["kind"]


def test_a_report_is_its_json() -> None:
    """Infinities, NaN, tensors, nested values; entries are attributes."""
    values = {
        "a": float("inf"),
        "b": [-math.inf, {"c": torch.tensor([1.5, 2.0])}],
        "d": None,
        "e": "float:x",
        "f": ("g", True),
    }
    report = Report(values)
    again = Report.from_json(report.to_json())
    assert again == report
    assert (again.a, again["b"], again.e, again.f) == (math.inf, [-math.inf, {"c": [1.5, 2.0]}], "float:x", ["g", True])
    assert math.isnan(Report.from_json(Report({"x": {"y": [math.nan]}}).to_json()).x["y"][0])
    json.loads(report.to_json(), parse_constant=pytest.fail)
    assert (len(report), list(report), repr(report.extended(z=1))) == (5, [*"abdef"], "Report(a, b, d, e, f, z)")


def test_a_report_says_what_it_has_and_what_it_cannot_hold() -> None:
    """By name and place; copies work."""
    with pytest.raises(AttributeError, match=r"The report has no `groups`; it has \['layers'\]"):
        _ = Report({"layers": 1}).groups
    with pytest.raises(TypeError, match=r"A report must hold JSON values, tensors and arrays. Got object at `a.b.0`"):
        Report({"a": {"b": [object()]}})
    assert copy.deepcopy(Report({"a": [1]})) == Report({"a": [1]})


def test_a_result_writes_its_files_or_says_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Model, structure, report and samples; what is there stays whole when the disk is full."""
    import mtl_core.report

    monkeypatch.setattr(mtl_core.report, "write_report", lambda folder, plots: None)
    torch.manual_seed(0)
    found = Result(Plain(TASKS), Report({"tasks": {n: [t.channels, t.dense] for n, t in TASKS.items()}}))
    found = found.extended(samples={"inputs": torch.zeros(2)}, more=3)
    found.save(tmp_path / "out")
    names = ["model.safetensors", "report.json", "samples.safetensors", "structure.json"]
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == names
    assert bits(load(tmp_path / "out", Plain)) == bits(found.model)  # channels of the heads are in the report
    before = (tmp_path / "out" / "model.safetensors").read_bytes()

    def full(tensors: Any, path: Path, metadata: Any) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(result_module, "save_file", full)
    with pytest.raises(
        StorageError, match=r"Cannot write to `.*out`: No space left.*Choose another folder or make room"
    ):
        found.save(tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == names
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"Cannot write to `.*file`"):
        found.save(tmp_path / "file")
