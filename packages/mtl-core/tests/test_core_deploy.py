"""`measure` and `export` on the command line: the run's folder is enough, and is not trusted."""

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import mtl_core as core
from mtl_core.commands import command_line, deploy
from mtl_core.commands.architecture import Architecture
from mtl_core.fit import Config

MINE = """
import torch
from torch import nn
from mtl_core.data import MultiTaskData
from mtl_core.task import attribute, segmentation

def data():
    images = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    pairs = [(images[i], {"parts": (images[i, 0] * 3).long(), "tall": float(i % 2)}) for i in range(8)]
    return MultiTaskData([segmentation("parts", 3), attribute("tall")], train=pairs, test=pairs)

def words():
    pairs = [(torch.tensor([1, 2, i]), {"tall": float(i % 2)}) for i in range(8)]
    return MultiTaskData([attribute("tall")], train=pairs, test=pairs)

def backbone():
    return nn.Sequential(nn.Embedding(9, 4), nn.Flatten())
"""


def run(*arguments: str) -> int:
    return command_line("plain", Config, core.fit)(list(arguments))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of which the user's module is gone."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "deployed.py").write_text(MINE, encoding="utf-8")
    fast = ["--epochs", "1", "--batch-size", "4", "--device", "cpu", "--head-width", "8"]
    options = ["--data", f"{folder / 'deployed.py'}:data", "--backbone", "tiny", "--out", str(folder / "a")]
    assert run("fit", *options, *fast) == 0
    options = ["--data", f"{folder / 'deployed.py'}:words", "--backbone", f"{folder / 'deployed.py'}:backbone"]
    assert run("fit", *options, "--out", str(folder / "own"), "--no-dense", *fast) == 0
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "deployed", raising=False)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    out, error = capsys.readouterr()
    assert out == ""
    assert len(error.strip().splitlines()) == 1
    return error


def changed(trained: Path, to: Path, **entries: Any) -> Path:
    """A copy of a run whose report says something else."""
    to.mkdir()
    for name in ("model.safetensors", "structure.json", "report.json"):
        (to / name).write_bytes((trained / "a" / name).read_bytes())
    report = json.loads((to / "report.json").read_text())
    (to / "report.json").write_text(json.dumps(report | entries))
    return to


def test_fit_measures_both_models(trained: Path) -> None:
    """Sizes, operations and times of the result and of the dense model are in the report and on its page."""
    report = core.Report.from_json((trained / "a" / "report.json").read_text())
    assert list(report.measured) == ["ours", "ours, compacted", "dense"]
    assert list(report.measured["ours"]["tasks"]) == ["parts", "tall"]
    assert report.measured["ours"]["shape"] == [1, 1, 8, 8]
    assert "<h2>Size and speed</h2>" in (trained / "a" / "report.html").read_text()


def test_measure_needs_the_folder_alone(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table of the saved model, for the batch asked for."""
    assert run("measure", str(trained / "a"), "--batch", "3", "--repeats", "2") == 0
    out = capsys.readouterr().out
    assert "all tasks" in out
    assert "One pass of 3×1×8×8" in out


def test_export_gives_the_predictions_of_the_saved_model(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The file is where it was asked for, and one line says what it takes and gives."""
    assert run("export", str(trained / "a"), "to/model.pt2") == 0
    said = capsys.readouterr().out
    assert said.startswith("to/model.pt2: ")
    assert "KiB, input [batch, 1, 8, 8], outputs parts, tall; checked against the model." in said
    architecture = Architecture.stored(trained / "a")
    x = architecture.example(3)
    found = torch.export.load("to/model.pt2").module()(x)
    torch.testing.assert_close(found["tall"], core.load(trained / "a", architecture.build)(x)["tall"])
    assert found["parts"].shape == (3, 3, 8, 8)


def test_both_remove_the_zeros_first(trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """`compact` makes the model that is written, and a second row of the table."""
    seen, written = [], []

    def compact(model: Any, example: torch.Tensor, kernels: Any = None) -> Any:
        seen.append(tuple(example.shape))
        return torch.nn.Sequential(model)

    def export(model: Any, example: torch.Tensor, path: Path) -> None:
        written.append(type(model).__name__)
        path.write_bytes(b"")

    monkeypatch.setattr(deploy, "compact", compact)
    monkeypatch.setattr(deploy, "export", export)
    assert run("measure", str(trained / "a"), "--repeats", "2") == 0
    assert "ours, compacted" in capsys.readouterr().out
    assert run("export", str(trained / "a"), "model.pt2") == 0
    assert (seen, written) == ([(1, 1, 8, 8)] * 2, ["Sequential"])

    def refuses(model: Any, example: torch.Tensor, kernels: Any = None) -> Any:
        raise ValueError("`model` must be\ntraceable.")

    monkeypatch.setattr(deploy, "compact", refuses)
    assert run("export", str(trained / "a"), "model.pt2") == 0
    assert written == ["Sequential", "SharedBackbone"]
    assert capsys.readouterr().err == "The zeros stay in the model: `model` must be traceable.\n"


def test_a_folder_names_no_code_to_run(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A backbone of the user's own is named again; then inputs that are no images work, too."""
    assert run("export", str(trained / "own"), "model.pt2") == 2
    assert "a folder names no code to run" in one_line(capsys)
    own = f"{trained / 'deployed.py'}:backbone"
    assert run("export", str(trained / "own"), "model.pt2", "--backbone", own) == 0
    assert "input [batch, 3], outputs tall" in capsys.readouterr().out
    assert run("measure", str(trained / "own"), "--repeats", "2", "--backbone", own) == 0
    assert "int64" in capsys.readouterr().out
    assert run("measure", str(trained / "a"), "--backbone", "resnet10") == 2
    assert "`--backbone` must be tiny" in one_line(capsys)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["measure", "nowhere"], 1, "`nowhere` must hold a saved result"),
        (["export", "nowhere", "a.pt2"], 1, "`nowhere` must hold a saved result"),
        (["measure", "{a}", "--batch", "0"], 2, "`--batch` must be at least 1"),
        (["measure", "{a}", "--repeats", "1"], 2, "`repeats` must be at least 2"),
        (["measure", "{a}", "--device", "nothing"], 2, "`--device` must be cpu or cuda"),
        (["export", "{a}", "a.txt"], 2, "`path` must end with `.onnx` or `.pt2`"),
        (["export", "{a}", "{a}/report.json/a.pt2"], 1, "Cannot write"),
        (["export", "{a}"], 2, "export"),
    ],
)
def test_what_the_user_did_wrong_is_one_line(
    arguments: list[str], status: int, message: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the status that the other subcommands have."""
    assert run(*(argument.replace("{a}", str(trained / "a")) for argument in arguments)) == status
    assert message in one_line(capsys)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "does not say with which architecture it was trained"),
        ([1], "does not say with which architecture"),
        ({"backbone": "tiny"}, "does not say with which architecture"),
        ({"width": "1"}, "does not say with which architecture"),
        ({"sample": [1, -8, 8]}, "is damaged: no sample has the shape"),
        ({"sample": [1, True, 8]}, "is damaged: no sample has the shape"),
        ({"sample": [1, 10**6, 10**6]}, "is damaged: no sample has the shape"),
    ],
)
def test_a_report_that_says_nothing_usable_is_refused(
    values: Any, message: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of an older version, or damaged: status 1, before anything is made of it."""
    whole = Architecture.stored(trained / "a").values()
    if isinstance(values, dict) and "backbone" not in values:
        values = whole | values
    folder = changed(trained, tmp_path / "other", architecture=values)
    assert run("measure", str(folder)) == 1
    assert message in one_line(capsys)


def test_another_architecture_in_the_report_does_not_fit(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A name that is none is the folder's fault, a width that is another is seen at the weights."""
    whole = Architecture.stored(trained / "a").values()
    folder = changed(trained, tmp_path / "other", architecture=whole | {"width": 0.5})
    assert run("measure", str(folder)) == 1
    assert "does not fit what `build` makes" in one_line(capsys)
    folder = changed(trained, tmp_path / "names", architecture=whole | {"backbone": "resnet1000"})
    assert run("export", str(folder), "a.pt2") == 1
    assert "`--backbone` must be one of" in one_line(capsys)


def test_the_demo_ends_with_the_files(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both kinds; without the extra `.pt2` and a line that says how to get the other."""
    written: list[Path] = []

    def export(model: Any, example: torch.Tensor, path: Path) -> Path:
        if path.suffix == ".onnx" and importlib.util.find_spec("onnxscript") is None:
            raise ModuleNotFoundError('An `.onnx` file needs: `pip install "mtl-core[export]"`.')
        path.write_bytes(b"0" * 2048)
        written.append(path)
        return path

    monkeypatch.setattr(deploy, "export", export)
    find: Callable[..., Any] = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "onnxscript" else find(name))
    deploy.export_demo(trained / "a")
    out = capsys.readouterr().out.splitlines()
    assert [path.name for path in written] == ["model.pt2"]
    assert "2 KiB" in out[0]
    assert out[1] == 'An `.onnx` file needs: `pip install "mtl-core[export]"`.'
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: object() if name == "onnxscript" else find(name)
    )
    deploy.export_demo(trained / "a")
    assert [path.name for path in written[1:]] == ["model.pt2", "model.onnx"]

    def broken(*_: Any) -> Path:
        raise ValueError("cannot be followed")

    monkeypatch.setattr(deploy, "export", broken)
    with pytest.raises(ValueError, match="cannot be followed"):
        deploy.export_demo(trained / "a")


def test_a_missing_extra_is_one_line(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2, and what to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert run("export", str(trained / "a"), "a.onnx") == 2
    assert 'pip install "mtl-core[export]"' in one_line(capsys)
