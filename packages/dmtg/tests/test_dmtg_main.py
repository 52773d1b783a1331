"""The command `dmtg`: as written in the README, and what it answers to what the user did wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

from dmtg.__main__ import main

TINY = ["--data", "scripts", "--tasks", "greek", "hebrew", "--backbone", "tiny", "--width", "0.5", "--epochs", "1"]
TINY += ["--groups", "2", "--batch-size", "64"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished `dmtg fit`."""
    out = tmp_path_factory.mktemp("fit") / "a"
    assert main(["fit", *TINY, "--out", str(out)]) == 0
    return out


def test_fit_leaves_a_model_a_report_and_the_methods_pictures(folder: Path) -> None:
    """Model, structure, pages, and the groups in words."""
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "structure.json", "report.json", "report.md", "report.html", "history.csv"} <= names
    assert (folder / "plots" / "assignment_matrix.svg").exists()
    assert "2 tasks in" in (folder / "report.md").read_text()


def test_the_same_command_says_that_it_is_finished(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is trained a second time."""
    assert main(["fit", *TINY, "--out", str(folder)]) == 0
    assert "was finished before" in capsys.readouterr().out


def test_report_shows_the_table_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Naive multi-task learning stands beside the groups."""
    assert main(["report", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "dense" in said
    assert "report.html" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", *TINY, "--tau", "0"], "`tau` must be positive"),
        (["fit", *TINY[:2], "--groups", "0"], "`groups` must be a whole number of at least 1"),
        (["fit", *TINY, "--stem", "nowhere", "--out", "{tmp}"], "nowhere"),
        (["group"], "--help"),
    ],
)
def test_what_the_user_did_wrong_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, no traceback, and what to do."""
    out = str(tmp_path / "out")
    assert main([argument.replace("{tmp}", out) for argument in arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("dmtg: ")
    assert message in said
    assert "\n" not in said


def test_the_module_is_the_command() -> None:
    """`python -m dmtg --help` lists the subcommands."""
    said = subprocess.run([sys.executable, "-m", "dmtg", "--help"], capture_output=True, text=True, check=True)
    assert all(name in said.stdout for name in ("demo", "fit", "report"))
