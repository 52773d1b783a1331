"""The command `adapmtl`: as written in the README, and what it answers to what the user did wrong."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import mtl_core
from adapmtl.__main__ import main
from mtl_core.commands.architecture import Architecture

TINY = ["--data", "digits", "--backbone", "tiny", "--width", "0.5", "--epochs", "1", "--batch-size", "64"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished `adapmtl fit`."""
    out = tmp_path_factory.mktemp("fit") / "a"
    assert main(["fit", *TINY, "--sparsity", "0.8", "--out", str(out), "--checkpoint-seconds", "2"]) == 0
    return out


def test_fit_leaves_a_model_a_report_and_the_methods_pictures(folder: Path) -> None:
    """Model, structure, pages, and the sparsity of each component."""
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "structure.json", "report.json", "report.md", "report.html", "history.csv"} <= names
    assert (folder / "plots" / "sparsity_over_training.svg").exists()
    assert "80.0 % of the prunable weights are zero" in (folder / "report.md").read_text()


def test_the_same_command_says_that_it_is_finished(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is trained a second time."""
    assert main(["fit", *TINY, "--sparsity", "0.8", "--out", str(folder), "--checkpoint-seconds", "2"]) == 0
    assert "was finished before" in capsys.readouterr().out


def test_report_shows_the_table_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The dense model stands beside the pruned one."""
    assert main(["report", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "dense" in said
    assert "report.html" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", *TINY, "--sparsity", "90"], "`sparsity` must be a share in (0, 1)"),
        (["fit", *TINY, "--tasks", "depth"], "depth"),
        (["fit", "--data", "nowhere"], "`--data` must be one of"),
        (["fit", *TINY[:2], "--backbone", "resnet1000"], "`--backbone` must be one of"),
        (["fit", *TINY, "--theta-start", "-40", "--out", "{tmp}"], "`theta_start` must be at least"),
        (["report", "{tmp}"], "must hold a saved result"),
        (["prune"], "--help"),
    ],
)
def test_what_the_user_did_wrong_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 1 or 2, no traceback, and what to do."""
    out = str(tmp_path / "out")
    assert main([argument.replace("{tmp}", out) for argument in arguments]) in (1, 2)
    said = capsys.readouterr().err.strip()
    assert said.startswith("adapmtl: ")
    assert message in said
    assert "\n" not in said


def test_another_sparsity_in_the_same_folder_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder never answers with the result of another configuration."""
    assert main(["fit", *TINY, "--sparsity", "0.5", "--out", str(folder), "--checkpoint-seconds", "2"]) == 1
    assert "holds another training (config.sparsity: 0.8 there, 0.5 now)" in capsys.readouterr().err


def test_the_module_is_the_command() -> None:
    """`python -m adapmtl --help` lists the subcommands."""
    said = subprocess.run([sys.executable, "-m", "adapmtl", "--help"], capture_output=True, text=True, check=True)
    assert all(name in said.stdout for name in ("demo", "fit", "report", "measure", "export"))


@pytest.mark.parametrize("suffix", [".pt2", ".onnx"])
def test_the_pruned_model_is_measured_and_exported(
    folder: Path, tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder is enough; the file gives the saved model's predictions, its weights take a fifth and a bit each."""
    if suffix == ".onnx":
        runtime = pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
        pytest.importorskip("torch", "2.7")
    assert main(["measure", str(folder), "--repeats", "2"]) == 0
    assert "not zero" in capsys.readouterr().out
    path = tmp_path / f"model{suffix}"
    assert main(["export", str(folder), str(path)]) == 0
    architecture = Architecture.stored(folder)
    model = mtl_core.load(folder, architecture.build)
    x = architecture.example(5)
    expected = model(x)["digits"].detach()
    if suffix == ".pt2":
        found = torch.export.load(path).module()(x)["digits"]
    else:
        found = torch.from_numpy(runtime.InferenceSession(path).run(["digits"], {"input": x.numpy()})[0])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    weights = [model.get_parameter(name) for name in mtl_core.sparsity.count_zeros(model)]
    assert not any(torch.signbit(weight[weight == 0]).any() for weight in weights)
    number = sum(weight.numel() for weight in weights)
    rest = sum(t.nbytes for t in model.state_dict().values()) - 4 * number
    assert (folder / "model.safetensors").stat().st_size <= 1.1 * (
        4 * 0.2 * number + number / 8 + rest
    ) + 6000  # header
