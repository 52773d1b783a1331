"""The command `lomt`: what it leaves, and what it answers to what the user did wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

from lomt.__main__ import main

TINY = ["--data", "digits", "--backbone", "tiny", "--width", "0.5", "--epochs", "1", "--batch-size", "128"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished `lomt fit` that chose λ of two values."""
    out = tmp_path_factory.mktemp("fit") / "a"
    assert main(["fit", *TINY, "--lambdas", "1e-5", "1e-3", "--out", str(out)]) == 0
    return out


def test_fit_leaves_a_model_a_report_and_the_methods_pictures(folder: Path) -> None:
    """Model, structure, pages, and the sparsity of each task."""
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "structure.json", "report.json", "report.md", "report.html", "history.csv"} <= names
    pictures = {path.stem for path in (folder / "plots").iterdir()}
    assert {"sparsity_pattern", "sparsity_over_training", "against_lambda"} <= pictures
    assert "group sparsity has emptied of the channels: digit" in (folder / "report.md").read_text()


def test_the_same_command_says_that_it_is_finished(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is trained a second time; the report is shown again."""
    assert main(["fit", *TINY, "--lambdas", "1e-5", "1e-3", "--out", str(folder)]) == 0
    assert "was finished before" in capsys.readouterr().out
    assert main(["report", str(folder)]) == 0
    assert "report.html" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", *TINY, "--lambda", "-1"], "`lambda_` must be >= 0"),
        (["fit", *TINY, "--lambda", "1000", "--out", "{tmp}"], "`lambda_` must leave task `digits` a layer"),
        (["fit", *TINY[:2], "--backbone", "vit", "--out", "{tmp}"], "`build` must give a backbone with convolutions"),
        (["fit", *TINY, "--tap", "middle"], "tap"),
        (["report", "{tmp}"], "must hold a saved result"),
    ],
)
def test_what_the_user_did_wrong_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1 or 2, no traceback, and what to do."""
    out = str(tmp_path / "out")
    assert main([argument.replace("{tmp}", out) for argument in arguments]) in (1, 2)
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("lomt: ")
    assert message in said


def test_the_module_is_the_command() -> None:
    """`python -m lomt --help` lists the subcommands."""
    said = subprocess.run([sys.executable, "-m", "lomt", "--help"], capture_output=True, text=True, check=True)
    assert all(name in said.stdout for name in ("demo", "fit", "report"))
