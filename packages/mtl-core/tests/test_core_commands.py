"""The command line kit: options from a configuration, results in a folder, errors on one line."""

import dataclasses
import math
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

import mtl_core as core
from mtl_core.commands import command_line
from mtl_core.commands.architecture import Architecture
from mtl_core.commands.names import BACKBONES, Shape, find_backbone, find_data, find_function, find_head, group_norm
from mtl_core.commands.options import DEMOS, Training, config_of, fit_options, option_fields
from mtl_core.commands.training import summary
from mtl_core.fit import Config
from mtl_core.ranks import RankLostError
from mtl_core.result import Report
from mtl_core.task import classification

# What a user's own module may hold; the commands are given `mine:data` and the like.
MINE = """
import torch
from torch import nn
from mtl_core.data import MultiTaskData
from mtl_core.task import attribute, classification

def data():
    images = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    pairs = [(images[i], {"kind": i % 3, "tall": float(i % 2)}) for i in range(8)]
    return MultiTaskData([classification("kind", 3), attribute("tall")], train=pairs, test=pairs)

def vectors():
    pairs = [(torch.rand(5), {"kind": i % 3}) for i in range(8)]
    return MultiTaskData([classification("kind", 3)], train=pairs, test=pairs)

def backbone():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())

def number():
    return 3

LIST = []
"""
FAST = ["--backbone", "tiny", "--epochs", "1", "--batch-size", "4", "--device", "cpu"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs in an empty folder that holds a user's module."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")


@pytest.fixture
def main() -> Callable[..., int]:
    return command_line("plain", Config, core.fit, description="Plain training.")


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


def fit_arguments(*more: str) -> list[str]:
    return ["fit", "--data", "mine:data", "--out", "runs/a", *FAST, *more]


def test_fit_trains_compares_and_reports(main: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A run leaves model, report and pages, and shows the table beside the dense model trained for as many steps."""
    assert main(fit_arguments()) == 0
    out = capsys.readouterr().out
    assert "kind  accuracy ↑" in out
    assert "dense" in out
    assert lines(out)[-1] == "Report: runs/a/report.html"
    names = {path.name for path in Path("runs/a").iterdir()}
    assert {"model.safetensors", "structure.json", "report.json", "report.md", "report.html", "plots"} <= names
    report = core.Report.from_json(Path("runs/a/report.json").read_text(encoding="utf-8"))
    assert report.phases["train"]["steps"] == report.baseline_phases["dense"]["train"]["steps"] == 2
    assert report.config["batch_size"] == 4


def test_the_same_command_again_says_that_it_is_finished(main: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A finished run is loaded: the report stays as it is, and pages that were deleted are there again."""
    assert main(fit_arguments()) == 0
    stored = Path("runs/a/report.json").read_bytes()
    Path("runs/a/report.html").unlink()
    capsys.readouterr()
    assert main(fit_arguments()) == 0
    assert lines(capsys.readouterr().out)[0].startswith("runs/a was finished before: nothing was trained.")
    assert Path("runs/a/report.json").read_bytes() == stored
    assert Path("runs/a/report.html").exists()


def test_another_configuration_needs_again(main: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder of another training is refused in one line; `--again` starts afresh."""
    assert main(fit_arguments("--no-dense")) == 0
    capsys.readouterr()
    assert main(fit_arguments("--no-dense", "--lr", "0.1")) == 1
    error = lines(capsys.readouterr().err)
    assert len(error) == 1
    assert "holds another training" in error[0]
    assert "--again" in error[0]
    assert main(fit_arguments("--no-dense", "--lr", "0.1", "--again")) == 0
    assert core.Report.from_json(Path("runs/a/report.json").read_text(encoding="utf-8")).config["lr"] == 0.1


def test_report_writes_the_pages_again(main: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """`report` needs the folder alone and shows the same table."""
    assert main(fit_arguments()) == 0
    shown = capsys.readouterr().out
    Path("runs/a/report.html").unlink()
    assert main(["report", "runs/a"]) == 0
    assert capsys.readouterr().out == shown
    assert Path("runs/a/report.html").exists()


def test_report_leaves_the_pages_of_another_method_alone(main: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Its pictures are not this method's; beside a run of this method it may stand."""
    assert main(fit_arguments("--no-dense")) == 0
    before = Path("runs/a/report.html").read_bytes()
    capsys.readouterr()
    other = command_line("other", Config, core.fit)
    assert other(["report", "runs/a"]) == 2
    said = "other: `runs/a` must hold a result of other. Got one of plain, whose pages `plain report` writes.\n"
    assert capsys.readouterr().err == said
    assert Path("runs/a/report.html").read_bytes() == before
    assert other(["fit", "--data", "mine:data", "--out", "runs/b", *FAST, "--no-dense", "--seed", "1"]) == 0
    assert other(["report", "runs/a", "runs/b"]) == 0


def test_report_puts_several_runs_on_one_page(main: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Each with the command that made it."""
    assert main(fit_arguments("--no-dense")) == 0
    assert main(["fit", "--data", "mine:data", "--out", "runs/b", *FAST, "--no-dense", "--seed", "1"]) == 0
    capsys.readouterr()
    assert main(["report", "runs/a", "runs/b", "--out", "both.html"]) == 0
    assert capsys.readouterr().out == "Comparison of 2 runs: both.html\n"
    assert "plain fit --data mine:data --out runs/b " in Path("both.html").read_text(encoding="utf-8")


def test_a_gain_that_nothing_can_be_relative_to_is_explained() -> None:
    """Where a baseline's figure is 0 there is the reason, and no number."""
    gains = {"dense": {"tasks": {"kind": math.nan}, "overall": math.nan}, "other": {"tasks": {}, "overall": -2.04}}
    said = summary(Report({"delta": gains, "notes": ["No Δ of kind against dense: its accuracy is 0."]}), Path("a"))
    assert lines(said)[-3:-1] == [
        "Δ against other: −2.0 % (+ is better)",
        "No Δ of kind against dense: its accuracy is 0.",
    ]
    assert "nan" not in said


def test_without_the_dense_model_there_is_no_comparison(main: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """`--no-dense` trains the method alone, for the tasks asked for."""
    assert main(fit_arguments("--no-dense", "--tasks", "tall")) == 0
    out = capsys.readouterr().out
    assert "dense" not in out
    assert "kind" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "--data", "nothing"], "`--data` must be one of"),
        (["fit", "--data", "mine:missing"], "must name a function that can be imported"),
        (["fit", "--data", "missing:data"], "must name a function that can be imported"),
        (["fit", "--data", "mine:LIST"], "must name a function. Got `list`"),
        (["fit", "--data", "mine:number"], "must give a `MultiTaskData`. Got `int`"),
        (["fit", "--data", "."], "must hold the folders `train` and `test`"),
        (["fit", "--data", "mine:data", "--tasks", "nothing"], "must be among the tasks"),
        (["fit", "--data", "mine:data", "--backbone", "nothing"], "`--backbone` must be one of"),
        (["fit", "--data", "mine:data", "--backbone", "mine:number"], "must give a module. Got `int`"),
        (["fit", "--data", "mine:vectors", "--backbone", "tiny"], "must have images"),
        (["fit", "--data", "mine:data", "--head", "nothing"], "`--head` must be one of"),
        (["fit", "--data", "mine:data", "--device", "nothing"], "`--device` must be cpu or cuda"),
        (["fit", "--data", "mine:data", "--checkpoint-seconds", "-1"], "`checkpoint_seconds` must be >= 0"),
        (["fit", "--data", "mine:data", "--backbone", "tiny", "--epochs", "0"], "`epochs` must be a whole number"),
        (["fit", "--data", "mine:data", "--backbone", "tiny", "--width", "-1"], "`width` must be positive"),
        (["fit", "--epochs", "many"], "could not convert|invalid|Error parsing"),
        (["fit", "--nothing", "1"], "--nothing"),
        (["fit", "--optimizer", "sgd"], "--optimizer"),
        (["demo", "--data", "nothing"], "nothing"),
        (["report"], "must be given the folder of a run"),
        ([], "demo, ?fit, ?report"),
    ],
)
def test_what_the_user_did_wrong_is_one_line(
    main: Any, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """A wrong option, name or value ends with status 2 and one line that starts with the command's name."""
    assert main(arguments) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert len(lines(error)) == 1
    assert error.startswith("plain: ")
    assert re.search(message, error)


def test_a_gpu_that_is_not_there_is_refused(
    main: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking for a device that torch does not find is the user's error."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(fit_arguments("--device", "cuda")) == 2
    assert "torch finds no GPU" in capsys.readouterr().err


def test_a_dry_run_says_what_would_be_trained_and_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Parameters by component, the stages of the method with their steps and time, disk; no folder is made."""
    main = command_line(
        "twice", Config, core.fit, stages=lambda config, tasks: {"both": (config.epochs, len(tasks)), "last": (7, 0.5)}
    )
    assert main(fit_arguments("--dry-run")) == 0
    out = capsys.readouterr().out
    options = Training(data="mine:data", backbone="tiny")
    model = Architecture.asked(find_data("mine:data"), options).build(find_data("mine:data").tasks)
    assert f"{sum(p.numel() for p in model.parameters()):,} parameters (backbone " in out
    cells = [line.split()[:4] for line in lines(out)[3:6]]
    assert cells == [["both", "1", "2", "2"], ["last", "7", "14", "0.5"], ["plain", "model", "beside", "it"]]
    assert "of disk at most" in out
    assert lines(out)[-1] == "Nothing was trained or written."
    assert not Path("runs").exists()


def test_a_dry_run_of_a_method_without_stages_has_one(main: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """And none beside it where no plain model is asked for."""
    assert main(fit_arguments("--dry-run", "--no-dense")) == 0
    assert [line.split()[0] for line in lines(capsys.readouterr().out)[2:-2]] == ["stage", "training"]


def test_completion_is_written_for_a_shell(main: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The script that a shell reads knows the subcommands."""
    assert main(["--tyro-print-completion", "bash"]) == 0
    assert "export" in capsys.readouterr().out


def test_what_lies_on_disk_wrongly_has_status_1(main: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without a saved result, or one that cannot be written, is an error of storage."""
    assert main(["report", "nowhere"]) == 1
    assert capsys.readouterr().err.startswith("plain: `nowhere` must hold a saved result.")
    Path("file").write_text("", encoding="utf-8")
    assert main(fit_arguments("--out", "file/inside")) == 1
    assert len(lines(capsys.readouterr().err)) == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [(KeyboardInterrupt(), 130), (FloatingPointError("NaN"), 1), (RankLostError("gone"), 1), (TypeError("wrong"), 2)],
)
def test_errors_have_their_status(error: BaseException, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C, a loss that is not finite and a wrong type each end with one line and a status of their own."""

    def failing(*_: Any) -> Any:
        raise error

    assert command_line("plain", Config, failing)(fit_arguments()) == status
    assert len(lines(capsys.readouterr().err)) == 1


def test_a_warning_is_one_line() -> None:
    """During a command, what Python would print of a warning is the command's name and what it says."""
    usual, shown = warnings.formatwarning, []

    def warning(*_: Any) -> None:
        shown.append(warnings.formatwarning("Few\nepochs.", UserWarning, "fit.py", 3))
        raise ValueError

    command_line("plain", Config, warning)(fit_arguments())
    assert shown == ["plain: Few epochs.\n"]
    assert warnings.formatwarning is usual


def test_sigterm_passes_through() -> None:
    """The status that a phase ends the process with on SIGTERM is kept, and an error of our own is not hidden."""

    def stopped(*_: Any) -> Any:
        raise SystemExit(143)

    with pytest.raises(SystemExit, match="143"):
        command_line("plain", Config, stopped)(fit_arguments())

    def broken(*_: Any) -> Any:
        raise AssertionError("a bug")

    with pytest.raises(AssertionError, match="a bug"):
        command_line("plain", Config, broken)(fit_arguments())


@dataclass(frozen=True)
class Settings:
    """Configuration of a method.

    Args:
        lambda_: Weight of the penalty.
        epochs: Passes over the data.
        schedule: A function.
        maybe: Perhaps a function.
    """

    lambda_: float = 2.0
    epochs: int = 3
    schedule: Callable[[int], float] = float
    maybe: Callable[[int], float] | None = None
    names: tuple[str, ...] = dataclasses.field(default_factory=tuple)


def test_functions_are_not_on_the_command_line() -> None:
    """Fields whose type is a function are left out; the others keep their defaults."""
    assert [field.name for field in option_fields(Settings)] == ["lambda_", "epochs", "names"]
    assert config_of(Settings, fit_options(Settings)(lambda_=5.0)) == Settings(lambda_=5.0)
    assert config_of(Settings, object(), {"epochs": 7, "unknown": 1}) == Settings(epochs=7)


def test_help_comes_from_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    """Options, defaults and meanings of a method's configuration are in the help; a name ending in `_` loses it."""
    main = command_line("method", Settings, core.fit, description="What it does.")
    assert main(["--help"]) == 0
    assert "What it does." in capsys.readouterr().out
    assert main(["fit", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "--lambda FLOAT" in shown
    assert "Weight of the penalty." in shown
    assert "--backbone" in shown
    assert "--schedule" not in shown


def test_a_field_may_not_hide_an_option_of_the_kit() -> None:
    """A method's field with the name of an option of the kit is the package's mistake, named."""
    clash = dataclasses.make_dataclass("Clash", [("out", int, 3)])
    with pytest.raises(TypeError, match="must have other fields than the kit's options"):
        fit_options(clash)


def test_demo_takes_settings_of_its_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo's table decides architecture and training; a method adds its own values; results have a folder."""
    from mtl_core.commands import deploy, training

    seen: dict[str, Any] = {}
    monkeypatch.setattr(training, "train", lambda plan, fit: seen.update(plan=plan))
    monkeypatch.setattr(deploy, "export_demo", lambda folder, parts: seen.update(exported=folder))
    main = command_line("plain", Config, core.fit, demo={"domains": {"cosine": True}})
    assert main(["demo", "--data", "domains", "--epochs", "2", "--device", "cpu"]) == 0
    plan = seen["plan"]
    assert plan.out == seen["exported"] == Path("plain-demo-domains")
    assert plan.config.epochs == plan.plain.epochs == 2
    assert plan.config.lr == plan.plain.lr == DEMOS["domains"].lr
    assert plan.config.cosine
    assert list(plan.data.tasks) == ["digits", "fashion", "devanagari", "georgian"]


def test_demo_and_fit_can_be_called_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """`demo` and `fit --data rooms` need no further option; rooms have segmentation, depth and normals."""
    from mtl_core.commands import deploy, training

    seen = []
    monkeypatch.setattr(training, "train", lambda plan, fit: seen.append(plan))
    monkeypatch.setattr(deploy, "export_demo", lambda folder, parts: None)
    main = command_line("plain", Config, core.fit)
    assert main(["demo"]) == 0
    assert main(["fit", "--data", "rooms", "--epochs", "3", "--out", "runs/a", "--checkpoint-seconds", "2"]) == 0
    assert [str(plan.out) for plan in seen] == ["plain-demo", "runs/a"]
    for plan in seen:
        assert list(plan.data.tasks) == ["segmentation", "depth", "normals"]
    assert seen[1].run["checkpoint_seconds"] == 2


def test_a_method_decides_its_demos_data_and_how_the_plain_model_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one whose learning rate is not Adam's, and whose tasks are classifications."""
    from mtl_core.commands import deploy, training

    seen = []
    monkeypatch.setattr(training, "train", lambda plan, fit: seen.append(plan))
    monkeypatch.setattr(deploy, "export_demo", lambda folder, parts: None)
    other = Config(epochs=7, lr=0.5)
    main = command_line("plain", Config, core.fit, demo_data="domains", plain=lambda config: other)
    assert main(["demo", "--device", "cpu"]) == main(["demo", "--data", "rooms", "--device", "cpu"]) == 0
    assert [str(plan.out) for plan in seen] == ["plain-demo", "plain-demo-rooms"]
    assert list(seen[0].data.tasks) == ["digits", "fashion", "devanagari", "georgian"]
    assert all(plan.plain is other for plan in seen)


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_every_backbone_of_the_list_can_be_made(name: str) -> None:
    """Each name gives a new backbone that takes the data's images."""
    shape = Shape(0.125, 32, 1, 32, group_norm)
    backbone = find_backbone(name, shape)
    assert backbone(torch.zeros(2, 1, 32, 32)).shape[1] == backbone.channels
    assert not any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules())
    assert find_backbone(name, shape) is not backbone


@pytest.mark.parametrize("name", ["aspp", "deeplab_v2", "two_layer"])
def test_every_head_takes_both_kinds_of_task(name: str) -> None:
    """A head of the list predicts maps for dense tasks and vectors for others."""
    from mtl_core.task import depth

    head = find_head(name, 8)
    features = torch.zeros(2, 4, 4, 4)
    assert head(4, depth("d"))(features).shape == (2, 1, 4, 4)
    assert head(4, classification("c", 3))(features).shape == (2, 3)


def test_the_transposed_head_makes_maps_of_the_images_size() -> None:
    """Sixteen times the features', with DMTG's channels at a width of 128."""
    from mtl_core.task import depth

    head = find_head("transposed", 128)(8, depth("d"))
    assert head(torch.zeros(2, 8, 2, 3)).shape == (2, 1, 32, 48)
    assert [module.out_channels for module in head.modules() if isinstance(module, nn.ConvTranspose2d)] == [
        128,
        64,
        48,
        32,
    ]


def test_the_output_stride_of_vgg_is_a_number_of_poolings() -> None:
    """8, 16 or 32, as of the other backbones."""
    assert find_backbone("vgg16", Shape(0.125, 8, 3, 32))(torch.zeros(1, 3, 32, 32)).shape[2:] == (4, 4)
    with pytest.raises(ValueError, match=r"`output_stride` must be 8, 16 or 32. Got `output_stride = 4`"):
        find_backbone("vgg16", Shape(0.125, 4, 3, 32))


def test_a_file_and_a_backbone_of_one_s_own(main: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """`file.py:function` works as `module:function`; a backbone without `channels` is asked with a sample."""
    Path("place").mkdir()
    Path("mine.py").rename("place/mine.py")
    before = list(sys.path)
    assert find_function("data", "place/mine.py:number")() == 3
    assert sys.path == before
    arguments = fit_arguments("--no-dense", "--data", "place/mine.py:data", "--backbone", "place/mine.py:backbone")
    assert main(arguments) == 0
    assert "Report:" in capsys.readouterr().out


def test_a_folder_of_images_is_data() -> None:
    """A folder with parts, tasks and classes becomes a data set per task."""
    for part in ("train", "test"):
        for place in ("flower/rose", "flower/daisy", "leaf/oak", "leaf/elm", "leaf/ash"):
            folder = Path("images") / part / place
            folder.mkdir(parents=True)
            Image.new("RGB", (9, 7), (200, 10, 30)).save(folder / "1.png")
    data = find_data("images")
    assert {name: task.channels for name, task in data.tasks.items()} == {"flower": 2, "leaf": 3}
    assert data.validation is None
    assert data.test is not None
    assert find_data("images", ("leaf",)).tasks.keys() == {"leaf"}


def test_help_loads_nothing_slow() -> None:
    """`--help` imports neither data nor plots nor vision."""
    program = (
        "import sys; from mtl_core.commands import command_line; from mtl_core.fit import Config, fit\n"
        "assert command_line('plain', Config, fit)(['--help']) == 0\n"
        "slow = {'matplotlib', 'torchvision', 'PIL', 'scipy', 'networkx', 'mtl_core.datasets', 'mtl_core.report'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_a_reader_that_goes_away_is_no_error(main: Any) -> None:
    """`NAME report runs/a | head -1` ends quietly."""
    assert main(fit_arguments("--no-dense")) == 0
    program = "import sys, mtl_core as core\nfrom mtl_core.commands import command_line\n"
    program += "sys.exit(command_line('plain', core.Config, core.fit)(['report', 'runs/a']))"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read()
    assert (process.returncode, said) == (141, "")


def test_a_process_ends_with_the_status() -> None:
    """As a program, the status of `main` is the process's, and a traceback is shown in development mode only."""
    program = (
        "from mtl_core.commands import command_line; from mtl_core.fit import Config, fit\n"
        "raise SystemExit(command_line('plain', Config, fit)())"
    )
    run = [sys.executable, "-c", program, "fit", "--data", "nothing"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert lines(done.stderr)[-1].startswith("plain: `--data` must be one of")
    done = subprocess.run([run[0], "-X", "dev", *run[1:]], capture_output=True, text=True, check=False)
    assert "Traceback" in done.stderr


def test_a_model_of_the_command_line_can_be_split() -> None:
    """A method may share the first layers of any backbone that is known by name."""
    data = find_data("digits")
    model: Any = Architecture.asked(data, Training(data="digits", backbone="tiny")).build(data.tasks)
    stem, rest = model.split("layer1")
    x = torch.rand(2, 1, 8, 8)
    assert rest(stem(x))["digits"].shape == (2, 10)


def test_a_method_may_have_backbones_and_models_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--backbone` names them, what they make is assembled by the method, and the plain model is the shared bottom."""
    seen: list[str] = []

    def assemble(backbone: Any, tasks: Any, head: Any, example: Any) -> Any:
        model: Any = core.SharedBackbone(backbone, tasks, head, example=example)
        model.shared_bottom = lambda: seen.append("plain") or model
        return model

    def own(shape: Any) -> Any:
        seen.append("own")
        return torch.nn.Conv2d(shape.channels, 8, 3)

    main = command_line("method", Config, core.fit, backbones={"own": own}, assemble=assemble)
    assert main(["fit", "--help"]) == 0
    assert "own, or module:function" in " ".join(capsys.readouterr().out.split())
    asked = ["fit", "--data", "digits", "--epochs", "1", "--batch-size", "600", "--out", str(tmp_path)]
    assert main([*asked, "--backbone", "tiny"]) == 2
    assert "`--backbone` must be one of own" in capsys.readouterr().err
    assert main(asked) == 0
    assert seen.count("plain") == 1
    assert main(["measure", str(tmp_path), "--repeats", "2"]) == 0
