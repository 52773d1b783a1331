"""The command `dmo`: what it leaves, and what it answers to what the user did wrong."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import dmo
from dmo.__main__ import main, plain
from mtl_core import MultiTaskData
from mtl_core.data import Split

TINY = ["--data", "scripts", "--tasks", "greek", "hebrew", "--backbone", "tiny", "--width", "0.5"]
TINY += ["--epochs", "3", "--batch-size", "128", "--lr", "0.01"]

pytestmark = [pytest.mark.filterwarnings("ignore:The similarity of loss curves says little")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished `dmo fit`."""
    out = tmp_path_factory.mktemp("fit") / "a"
    with pytest.warns(UserWarning, match="says little after 3 epochs"):
        assert main(["fit", *TINY, "--out", str(out)]) == 0
    return out


def test_fit_leaves_a_model_a_report_and_the_methods_pictures(folder: Path) -> None:
    """Model, structure, pages, and the groups in words."""
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "structure.json", "report.json", "report.md", "report.html", "history.csv"} <= names
    pictures = {path.stem for path in (folder / "plots").iterdir()}
    assert {plot.__name__ for plot in sys.modules["dmo.plots"].PLOTS} <= pictures
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert "One group only" in text
    assert "weights kept" in text


def test_the_same_command_says_that_it_is_finished(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is trained a second time; the report is shown again, beside hard parameter sharing."""
    assert main(["fit", *TINY, "--out", str(folder)]) == 0
    assert "was finished before" in capsys.readouterr().out
    assert main(["report", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "dense" in said
    assert "report.html" in said


def test_the_plain_model_beside_it_is_trained_by_the_same_optimizer() -> None:
    """SGD's learning rate would be far too large for Adam."""
    config = plain(dmo.Config(epochs=7, lr=0.2, momentum=0.5))
    assert (config.epochs, config.lr, config.cosine) == (7, 0.2, True)
    optimizer = config.optimizer([torch.nn.Parameter(torch.zeros(1))], lr=config.lr, weight_decay=config.weight_decay)
    assert isinstance(optimizer, torch.optim.SGD)
    assert optimizer.param_groups[0]["momentum"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", *TINY, "--tau", "0"], "`tau` must be positive and finite"),
        (["fit", *TINY[:4], "--epochs", "2"], "`epochs` must be a whole number of at least 3"),
        (["fit", *TINY, "--alpha", "2"], "`alpha` must be in [0, 1]"),
        (["group"], "--help"),
    ],
)
def test_what_the_user_did_wrong_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, no traceback, and what to do."""
    assert main(arguments) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith("dmo: ")
    assert message in said
    assert "\n" not in said


def test_the_demo_is_on_data_sets_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """DMO is defined for classification: without an option it takes `domains`."""
    from mtl_core.commands import deploy, training

    seen = []
    monkeypatch.setattr(training, "train", lambda plan, fit: seen.append(plan))
    monkeypatch.setattr(deploy, "export_demo", lambda folder, parts: None)
    assert main(["demo", "--device", "cpu"]) == 0
    (plan,) = seen
    assert isinstance(plan.data, MultiTaskData)
    assert isinstance(plan.data.train, Split)
    assert list(plan.data.tasks) == ["digits", "fashion", "devanagari", "georgian"]
    assert str(plan.out) == "dmo-demo"


def test_the_module_is_the_command() -> None:
    """`python -m dmo --help` lists the subcommands."""
    said = subprocess.run([sys.executable, "-m", "dmo", "--help"], capture_output=True, text=True, check=True)
    assert all(name in said.stdout for name in ("demo", "fit", "report"))
