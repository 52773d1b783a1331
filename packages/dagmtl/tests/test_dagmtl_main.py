"""The command `dagmtl`: what it leaves, and what it answers to what the user did wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

from dagmtl import Config
from dagmtl.__main__ import main, plain

TINY = ["--data", "digits", "--width", "0.2", "--epochs", "1", "--search-epochs", "1", "--warmup-epochs", "1"]
TINY += ["--batch-size", "128", "--flow", "2", "--upper-lr", "0.1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished `dagmtl fit`."""
    out = tmp_path_factory.mktemp("fit") / "a"
    assert main(["fit", *TINY, "--out", str(out)]) == 0
    return out


def test_fit_leaves_a_model_a_report_and_the_methods_pictures(folder: Path) -> None:
    """Model, structure, pages, and the graphs in words and pictures."""
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "structure.json", "report.json", "report.md", "report.html", "history.csv"} <= names
    pictures = {path.stem for path in (folder / "plots").iterdir()}
    assert {"topologies", "adjacency", "sharing", "layers_over_training"} <= pictures
    assert "layers between 8 states (M = 2)" in (folder / "report.md").read_text()


def test_the_same_command_says_that_it_is_finished(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is trained a second time; the plain model beside it is the shared bottom of the same states."""
    assert main(["fit", *TINY, "--out", str(folder)]) == 0
    assert "was finished before" in capsys.readouterr().out
    assert main(["report", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "dense" in said
    assert "report.html" in said


def test_the_plain_model_beside_it_is_trained_as_long_as_the_three_stages() -> None:
    """Else what longer training gives would look like a gain of the graphs."""
    beside = plain(Config(warmup_epochs=2, search_epochs=3, epochs=4, batch_size=5, lr=0.1, weight_decay=0.01))
    assert (beside.epochs, beside.batch_size, beside.lr, beside.weight_decay) == (9, 5, 0.1, 0.01)


def test_the_network_that_was_found_is_measured_and_exported(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Made again from the folder alone."""
    assert main(["measure", str(folder), "--repeats", "2"]) == 0
    assert main(["export", str(folder), str(tmp_path / "model.pt2")]) == 0
    assert "checked against the model" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", *TINY, "--lambda-sq", "-1"], "`lambda_sq` must be >= 0"),
        (["fit", *TINY[:2], "--backbone", "resnet18"], "`--backbone` must be one of omniglot, vgg16"),
        (
            ["fit", *TINY[:2], "--backbone", "torch.nn:Identity"],
            "must give a stem with `channels` and a list of `states`",
        ),
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
    assert said.startswith("dagmtl: ")
    assert message in said


def test_the_module_is_the_command() -> None:
    """`python -m dagmtl fit --help` lists the method's own spaces."""
    said = subprocess.run([sys.executable, "-m", "dagmtl", "fit", "--help"], capture_output=True, text=True, check=True)
    assert "omniglot, vgg16" in " ".join(said.stdout.split())
