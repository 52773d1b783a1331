"""A run and its folder: fingerprints, starting afresh, seeds, places, and folders that cannot be used."""

import dataclasses
import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import mtl_core as core
from mtl_core.fingerprint import config_values, function_name, of_training
from mtl_core.run import begin
from mtl_core.task import attribute, classification


def build(tasks: Any, width: int = 4) -> core.SharedBackbone:
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(4, width))
    return core.SharedBackbone(backbone, tasks, lambda c, t: nn.Linear(c, t.channels), example=torch.zeros(1, 1, 2, 2))


def source(seed: int = 0) -> list[Any]:
    g = torch.Generator().manual_seed(seed)
    return [(torch.rand(1, 2, 2, generator=g), {"kind": i % 3, "tall": i % 2 * 1.0}) for i in range(8)]


def data(seed: int = 0, weight: float = 1.0, validation: int = 7, **rest: Any) -> core.MultiTaskData:
    tasks = [classification("kind", 3, weight=weight), attribute("tall")]
    return core.MultiTaskData(tasks, source(seed), source(validation), **rest)


CONFIG = core.Config(epochs=1, batch_size=4)


def train(folder: Path, again: bool = False, **changes: Any) -> torch.Tensor:
    """A short training; `changes` are of what its fingerprint holds."""
    run = core.Run(folder, progress=False, again=again, seed=changes.pop("seed", 0))
    part, make = changes.pop("part", None) or data(), changes.pop("build", build)
    weigh = changes.pop("weigh", None)
    model = core.fit(make, part, dataclasses.replace(CONFIG, **changes), run, weigh=weigh).model
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def doubled(x: Any, targets: Any, generator: Any) -> Any:
    return 2 * x, targets


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"lr": 0.5}, r"config.lr: 0.001 there, 0.5 now"),
    ({"optimizer": torch.optim.SGD}, r"config.optimizer: .*Adam.* there, .*SGD.* now"),
    ({"seed": 3}, r"seed: 0 there, 3 now"),
    ({"part": data(seed=1)}, r"data.train: \"\w+\" there"),
    ({"part": data(validation=1)}, r"data.validation: \"\w+\" there"),
    ({"part": data(weight=2.0)}, r"tasks.kind: \[3, false, 1.0.* there, \[3, false, 2.0"),
    ({"part": data(augment=doubled)}, r"augment: null there, .*doubled"),
    (
        {"build": partial(build, width=5)},
        r"parameters.backbone.1.weight: \[\[4, 4\], true\] there, \[\[5, 4\], true\] now",
    ),
    ({"weigh": core.weighting.Uncertainty}, r"weighting: .*equal.* there, .*Uncertainty.* now"),
    ({"weigh": lambda tasks: core.weighting.Fixed({"kind": 2.0, "tall": 1.0})}, r"weighting: .* now"),
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(folder)
    return folder


@pytest.mark.parametrize(("changes", "message"), CHANGES)
def test_the_same_folder_with_another_training_is_refused_with_what_differs(
    trained: Path, changes: dict[str, Any], message: str
) -> None:
    """Never answered with an old result; the message says how to go on."""
    before = {f: f.read_bytes() for f in trained.rglob("*") if f.is_file()}
    with pytest.raises(
        core.StorageError, match=rf"holds another training \(.*{message}.*again=True.*--again"
    ) as caught:
        train(trained, **dict(changes))
    assert "\n" not in str(caught.value)
    assert {f: f.read_bytes() for f in trained.rglob("*") if f.is_file()} == before


def test_the_same_training_is_answered_from_its_folder(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one step is computed, and the weights are those of a run without a folder."""
    expected = core.fit(build, data(), CONFIG, core.Run(progress=False)).model
    monkeypatch.setattr(core.run.Phase, "losses", None)
    assert torch.equal(train(trained), torch.cat([p.detach().flatten() for p in expected.parameters()]))


def test_starting_afresh_deletes_nothing_but_phases(tmp_path: Path) -> None:
    """What others have put there stays, also where it bears a name of ours."""
    train(tmp_path)
    mine = tmp_path / "notes" / "fingerprint.json"
    mine.parent.mkdir()
    mine.write_text('{"hand": "left"}')
    others = [mine, mine.parent / "checkpoint-3", tmp_path / "train" / "sketch.txt", tmp_path / "report.md"]
    for path in others[1:]:
        path.write_text("mine")
    (tmp_path / "x" / "checkpoint-1").mkdir(parents=True)
    new = train(tmp_path, again=True, lr=0.5)
    assert all(path.exists() for path in [*others, tmp_path / "x" / "checkpoint-1"])
    assert torch.equal(new, train(tmp_path, lr=0.5))


def test_a_damaged_fingerprint_is_named_and_can_be_forgotten(tmp_path: Path) -> None:
    """Starting afresh knows the phase by its checkpoints."""
    train(tmp_path)
    (tmp_path / "train" / "fingerprint.json").write_text("{")
    with pytest.raises(core.StorageError, match=r"fingerprint.json` cannot be read"):
        train(tmp_path)
    train(tmp_path, again=True)


def test_addresses_and_nan_do_not_make_a_training_another_one(tmp_path: Path) -> None:
    """Objects move from process to process; NaN is itself."""

    @dataclasses.dataclass(frozen=True)
    class Odd:
        limit: float = float("nan")
        rule: Any = None

    run = begin(core.Run(tmp_path, progress=False), "m", Odd(rule=partial(doubled, object())), data())
    assert config_values(Odd(rule=partial(doubled, object()))) == {
        **run.context["config"],
        "limit": pytest.approx(float("nan"), nan_ok=True),
    }
    for _ in range(2):
        run = begin(core.Run(tmp_path, progress=False), "m", Odd(rule=partial(doubled, object())), data())
        with run.seeded("model"):
            model = build(run and data().tasks)
        with run.phase("p", model=model, optimizer=torch.optim.SGD(model.parameters(), lr=0.1)):
            pass
    assert function_name(partial(json.dumps, 1, indent=2)) == "json:dumps(1, indent=2)"
    assert function_name(CONFIG) == "mtl_core.fit:Config"


def test_a_damaged_checkpoint_is_named_and_the_one_before_continues(tmp_path: Path) -> None:
    """Following the advice of the message leads to the weights of the undamaged run."""
    whole = train(tmp_path / "whole", epochs=3)
    kept = []

    def stop(self: Any, *_: Any, **__: Any) -> Any:
        if self.step_number == 4:
            raise KeyboardInterrupt
        return original(self, *_, **__)

    original = core.run.Phase.losses
    run = core.Run(tmp_path / "a", progress=False, checkpoint_seconds=0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core.run.Phase, "losses", stop)
        with pytest.raises(KeyboardInterrupt):
            core.fit(build, data(), dataclasses.replace(CONFIG, epochs=3), run)
    kept = sorted((tmp_path / "a" / "train").glob("checkpoint-*"))
    assert [f.name for f in kept] == ["checkpoint-3", "checkpoint-4"]
    file = kept[1] / "shared.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(core.StorageError, match=r"shared.safetensors` is damaged.*Delete the folder `.*checkpoint-4`"):
        train(tmp_path / "a", epochs=3)
    for left in kept[1].iterdir():
        left.unlink()
    kept[1].rmdir()
    assert torch.equal(train(tmp_path / "a", epochs=3), whole)


def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """State of another kind than was stored: one line, with what to do."""
    for state in ([], [core.weighting.Uncertainty(["kind"])]):
        run = begin(core.Run(tmp_path, progress=False), "m", CONFIG, data())
        with run.seeded("model"):
            model = build(data().tasks)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        if state:
            with pytest.raises(core.StorageError, match=r"does not fit this phase: .*Delete the folder of the phase"):
                run.phase("p", model=model, optimizer=optimizer, state=state).__enter__()
        else:
            with run.phase("p", model=model, optimizer=optimizer, state=state):
                pass


def test_a_place_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in place of the folder or of the phase's; a folder without rights; nothing was computed."""
    file = tmp_path / "file"
    file.write_text("x")
    for place in (file, file / "below"):
        with pytest.raises(core.StorageError, match=r"cannot be written: .*Choose another folder"):
            core.Run(place)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "train").write_text("x")
    with pytest.raises(core.StorageError, match=r"a/train` cannot be written: .*Choose another folder or make room"):
        train(tmp_path / "a")

    def denied(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    with pytest.raises(core.StorageError, match=r"cannot be written: .*Permission denied.*change its rights"):
        core.Run(tmp_path / "b")


def test_a_full_disk_ends_in_one_line_and_the_same_command_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room runs out in the middle; once there is some, the weights are those of the undisturbed run."""
    whole, calls = train(tmp_path / "whole", epochs=2), [0]
    original = core.checkpoint.shutil.disk_usage

    def filling(path: Any) -> Any:
        calls[0] += 1
        return original(path)._replace(free=0) if calls[0] > 2 else original(path)

    monkeypatch.setattr(core.checkpoint.shutil, "disk_usage", filling)
    run = core.Run(tmp_path / "a", progress=False, checkpoint_seconds=0)
    with pytest.raises(
        core.StorageError, match=r"No room for a checkpoint of .*Make room and give the same command again"
    ):
        core.fit(build, data(), dataclasses.replace(CONFIG, epochs=2), run)
    monkeypatch.undo()
    assert torch.equal(train(tmp_path / "a", epochs=2), whole)


def test_seeded_draws_are_functions_of_seed_and_name() -> None:
    """Whatever was drawn before; and what is drawn after does not notice."""
    torch.manual_seed(5)
    expected = torch.rand(2)
    drawn = []
    for seed, name in ((0, "a"), (0, "a"), (1, "a"), (0, "b")):
        torch.manual_seed(5)
        with core.Run(seed=seed).seeded(name):
            drawn.append(float(torch.rand(())))
        assert torch.equal(torch.rand(2), expected)
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3


def test_children_are_runs_in_subfolders(tmp_path: Path) -> None:
    """Everything else is the same; a name that is no folder's is refused, for phases too."""
    run = core.Run(tmp_path, seed=4, precision="float64", progress=False)
    child = run.child("a").child("b")
    assert (child.folder, child.seed, child.dtype, child.phases) == (tmp_path / "a" / "b", 4, torch.float64, {})
    assert core.Run().child("a").folder is None
    model = nn.Linear(1, 1)
    for name in ("", "..", "a/b", "/", ".hidden"):
        with pytest.raises(ValueError, match=r"`name` must be the name of a folder. Got `name = '"):
            run.child(name)
        with pytest.raises(ValueError, match=r"`name` must be the name of a folder"):
            run.phase(name, model=model, optimizer=None).__enter__()


def test_a_phase_has_a_name_of_its_own() -> None:
    """A second one of the name would be taken for the first."""
    run, model = core.Run(progress=False), nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with run.phase("p", model=model, optimizer=optimizer):
        pass
    with pytest.raises(ValueError, match=r"`name` must be new within the run. Got a second phase `p`"):
        run.phase("p", model=model, optimizer=optimizer).__enter__()


def test_spreading_in_one_process_is_a_loop() -> None:
    """In the order of the names, each with a child of its own."""
    run = core.Run(progress=False)
    assert run.spread(["a", "b"], lambda name, child: (name, child.world)) == {"a": ("a", 1), "b": ("b", 1)}


def test_options_that_cannot_be_used_are_refused() -> None:
    """Each with what is allowed."""
    with pytest.raises(ValueError, match=r"`precision` must be one of .*Got `precision = 'float8'`"):
        core.Run(precision="float8")
    with pytest.raises(ValueError, match=r"`precision = \"float16\"` must run on a GPU"):
        core.Run(precision="float16", device="cpu")
    with pytest.raises(ValueError, match=r"`checkpoint_seconds` must be >= 0. Got `checkpoint_seconds = -1`"):
        core.Run(checkpoint_seconds=-1)
    with pytest.raises(TypeError, match=r"`data` must be a `MultiTaskData`. Got `list`"):
        begin(None, "m", CONFIG, [])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"`config` must be a configuration object. Got"):
        begin(None, "m", core.Config, data())


def test_deterministic_runs_are_equal() -> None:
    """Twice the same bits."""
    runs = [core.Run(deterministic=True, progress=False) for _ in range(2)]
    models = [core.fit(build, data(), CONFIG, run).model for run in runs]
    torch.testing.assert_close(models[0].state_dict(), models[1].state_dict(), rtol=0, atol=0)


def test_what_wraps_an_optimizer_says_its_own_settings() -> None:
    """They are part of the fingerprint; a torch optimizer has none."""

    class Wrapper:
        def __init__(self, inner: torch.optim.Optimizer) -> None:
            self.param_groups = inner.param_groups

        def settings(self) -> dict[str, Any]:
            return {"strength": 0.5}

    layer = nn.Linear(1, 1)
    inner = torch.optim.SGD(layer.parameters(), lr=0.1)
    found = of_training(layer, Wrapper(inner))
    assert found["optimizer"][0] == "Wrapper"
    assert found["optimizer settings"] == {"strength": 0.5}
    assert "optimizer settings" not in of_training(layer, inner)
