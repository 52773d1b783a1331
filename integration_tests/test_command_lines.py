"""The five command lines are made the same way."""

import importlib
from pathlib import Path

import pytest

METHODS = ("adapmtl", "dagmtl", "dmo", "dmtg", "lomt")
STAGES = {
    "adapmtl": ["training"],
    "dagmtl": ["warm-up", "search", "fine-tuning"],
    "dmo": ["single tasks", "groups"],
    "dmtg": ["search"],
    "lomt": ["sparse networks", "layers attached"],
}


@pytest.mark.parametrize("method", METHODS)
def test_a_dry_run_says_what_a_demo_would_train_and_leaves_nothing(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tasks, parameters, each stage with epochs, steps and time, and the disk that it takes."""
    monkeypatch.chdir(tmp_path)
    assert importlib.import_module(f"{method}.__main__").main(["demo", "--data", "rooms", "--dry-run"]) == 0
    said, error = capsys.readouterr()
    first, model, head, *rest = said.splitlines()
    assert first.startswith(f"`{method}` would train 3 tasks (segmentation, depth, normals) on 260 samples, in ")
    assert "parameters (backbone" in model
    assert head.split()[:3] == ["stage", "epochs", "steps"]
    stages, (total, nothing) = rest[:-2], rest[-2:]
    assert [line.split("  ")[0] for line in stages] == [*STAGES[method], "plain model beside it"]
    assert "of disk at most" in total
    assert (nothing, error) == ("Nothing was trained or written.", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("command", ["demo", "fit", "report", "measure", "export"])
def test_each_has_the_same_commands_with_help(method: str, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 0, usage first, no line wider than a terminal."""
    assert importlib.import_module(f"{method}.__main__").main([command, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: {method} {command}")
    assert max(map(len, said.splitlines())) <= 100


@pytest.mark.parametrize("method", METHODS)
def test_a_wrong_argument_is_one_line_with_status_2(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing is on disk before it is known."""
    assert importlib.import_module(f"{method}.__main__").main(["fit", "--data", "nothing-here"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith(f"{method}: ")
