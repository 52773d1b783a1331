"""Whatever a checkpoint's or a saved model's files are changed to: a refusal that names the file, or nothing has changed."""

import gc
import hashlib
import json
import runpy
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import mtl_core as core
from mtl_core.checkpoint import StorageError
from mtl_core.task import attribute, classification

SCENARIOS = runpy.run_path(str(Path(__file__).with_name("core_scenarios.py")))

ODD: list[Any] = [
    None,
    True,
    -1,
    2**70,
    1e308,
    "",
    "../outside",
    "\0",
    "\ud800",
    [],
    {},
    [[]],
    {"$tensor": 3},
    {"a": {}},
]
"""Values that JSON may hold where something else is wanted."""

RAW = ["empty", "cut", "flip", "nonsense", "missing", "folder", "link", "deep", "huge number"]
HEADER = ["dtype", "shape", "extra", "lacks", "rename", "offsets", "claims 100 MB", "odd", "metadata"]
"""What is done to a file as a whole, and to a tensor file's header."""


class Damage:
    """One change of one file, made of a seed that hypothesis draws."""

    def __init__(self, number: Callable[[int], int], log: list[str]) -> None:
        self.number, self.log = number, log

    def choose(self, choices: list[Any]) -> Any:
        chosen = choices[self.number(len(choices))]
        self.log.append(repr(chosen)[:80])
        return chosen

    def do(self, folder: Path, outside: Path) -> Path:
        """Change some file of a folder and give its path."""
        path = self.choose(sorted(f for f in folder.iterdir() if f.name != ".lock"))
        own = "json" if path.suffix == ".json" else "header"
        kind = self.choose(["raw", own, own, own])
        {"raw": self.raw, "json": self.json, "header": self.header}[kind](path, outside)
        return path

    def raw(self, path: Path, outside: Path) -> None:
        content = path.read_bytes()
        kind = self.choose(RAW)
        if kind in ("missing", "folder", "link"):
            path.unlink()
        if kind == "folder":
            path.mkdir()
        elif kind == "link":
            path.symlink_to(outside)
        elif kind == "cut":
            path.write_bytes(content[: self.number(len(content))])
        elif kind == "flip":
            place = self.number(len(content))
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << self.number(8)]) + content[place + 1 :])
        elif kind != "missing":
            new = {"deep": b"[" * 10**5, "huge number": b"9" * 10**4, "nonsense": bytes(range(100))}.get(kind, b"")
            path.write_bytes(new)

    def json(self, path: Path, outside: Path) -> None:
        """Put another value somewhere into the tree, take an entry away, or nest it deeply."""
        tree = json.loads(path.read_text())
        parents = list(_places(tree))
        parent, key = self.choose(parents)
        kind, depth, inner = self.choose(["odd", "odd", "lacks", "deep", "copy", "rename"]), 0, ""
        if kind == "odd":
            parent[key] = self.choose(ODD)
        elif kind == "lacks":
            del parent[key]
        elif kind == "deep":
            depth, inner, parent[key] = self.choose([300, 480, 10**4]), json.dumps(parent[key]), "@@"
        elif kind == "copy":
            other, place = self.choose(parents)
            parent[key] = json.loads(json.dumps(other[place]))
        elif isinstance(parent, dict):
            parent[self.choose(["../x", "a" * 300, "\0", "", "b"])] = parent.pop(key)
        text = json.dumps(tree)
        path.write_text(text.replace('"@@"', '{"$list": [' * depth + inner + "]}" * depth))

    def header(self, path: Path, outside: Path) -> None:
        """Change what a tensor file says of its tensors."""
        content = path.read_bytes()
        (size,) = struct.unpack("<Q", content[:8])
        header, body = json.loads(content[8 : 8 + size]), content[8 + size :]
        name = self.choose(sorted(n for n in header if n != "__metadata__"))
        kind, entry = self.choose(HEADER), header[name]
        if kind == "dtype":
            entry["dtype"] = self.choose(["I32", "F32", "F64", "BF16", "U8", "BOOL", "F8_E4M3", "C64", "X9", 3])
        elif kind == "shape":
            entry["shape"] = self.choose(
                [[], [1], [2, 0], [*entry["shape"], 1], entry["shape"][::-1], [-1], ["4"], None]
            )
        elif kind == "extra":
            header[self.choose(["../x", "other", "", "$tensor"])] = {**entry}
        elif kind == "lacks":
            del header[name]
        elif kind == "rename":
            header[self.choose(["../../x", "other", "\0"])] = header.pop(name)
        elif kind == "offsets":
            entry["data_offsets"] = self.choose([[0, 2**62], [-1, 4], [8, 4], [0, 1], "ab", []])
        elif kind == "odd":
            header[name] = self.choose(ODD)
        elif kind == "metadata":
            header["__metadata__"] = self.choose(
                [{"aliases": v} for v in ("[]", "{", '{"a": 3}', '{"a": ["b"]}')] + ODD
            )
        made = json.dumps(header).encode()
        said = 10**8 if kind == "claims 100 MB" else len(made)
        path.write_bytes(struct.pack("<Q", said) + made + body)


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(items):
        yield tree, key
        yield from _places(value)


def seal(folder: Path) -> None:
    """Write the manifest that fits the files, as whoever has changed them can."""
    files = [f for f in sorted(folder.iterdir()) if f.name != "manifest.json" and f.is_file()]
    facts = {f.name: {"bytes": f.stat().st_size, "sha256": hashlib.sha256(f.read_bytes()).hexdigest()} for f in files}
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "step": 5, "ranks": 1, "files": facts}))


def fit(folder: Path, seconds: float = 1000) -> str:
    """A training with all that has state, from where the folder's last checkpoint is."""
    config = core.Config(epochs=3, batch_size=4, lr=0.05, cosine=True, keep_best=True, optimizer=SCENARIOS["MOMENTUM"])
    run = core.Run(folder, progress=False, checkpoint_seconds=seconds)
    return str(
        SCENARIOS["sha"](core.fit(SCENARIOS["build"], DATA, config, run, weigh=core.weighting.Uncertainty).model)
    )


DATA = SCENARIOS["data"]()


class Stop(Exception):
    """Ends a training in its middle."""


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run's folder after five steps of nine, and the weights that it would end with."""
    folder = tmp_path_factory.mktemp("damage")
    original, count = core.phase.Phase.losses, [0]

    def losses(*args: Any) -> Any:
        count[0] += 1
        if count[0] == 6:
            raise Stop
        return original(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core.phase.Phase, "losses", losses)
        with pytest.raises(Stop):
            fit(folder / "run", seconds=0)
    return folder / "run", fit(folder / "whole")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(f.relative_to(folder)): f.read_bytes()
        for f in sorted(folder.rglob("*"))
        if f.is_file() and not f.is_symlink()
    }


def place(tmp_path_factory: pytest.TempPathFactory, original: Path) -> tuple[Path, Path]:
    """A copy of a folder, and a file beside it that nobody may touch."""
    base = tmp_path_factory.mktemp("case")
    (base / "outside").write_text('{"$dict": []}')
    shutil.copytree(original, base / "copy")
    return base / "copy", base / "outside"


def outcome(what: Callable[[], str]) -> tuple[str, str]:
    """What comes of it, or the one line with which it is refused; any other error is a failure."""
    try:
        return what(), ""
    except StorageError as error:
        said = str(error)
    assert "\n" not in said
    return "", said


SEEDS = st.integers(0, 2**32)


QUIET = settings(
    max_examples=100, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.parametrize("sealed", [False, True])
def test_a_changed_checkpoint_is_refused_by_name_or_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, stopped: tuple[Path, str], sealed: bool
) -> None:
    """With the old checksums, and with new ones that fit; never another library's error, never another file touched."""
    refused = []

    @QUIET
    @given(SEEDS)
    def change(seed: int) -> None:
        folder, outside = place(tmp_path_factory, stopped[0])
        checkpoint = folder / "train" / "checkpoint-5"
        log: list[str] = []
        path = Damage(Random(seed).randrange, log).do(checkpoint, outside)
        if sealed and path.name != "manifest.json":
            seal(checkpoint)
        before = contents(outside.parent)
        sha, said = outcome(lambda: fit(folder))
        if said:
            refused.append(log)
            assert str(checkpoint) in said, (log, said)
            assert "Delete" in said or "Use the version" in said, (log, said)
            assert contents(outside.parent) == before
        else:
            assert sealed or path.name == "manifest.json" or sha == stopped[1], log
        assert outside.read_text() == '{"$dict": []}'
        shutil.rmtree(folder.parent)

    change()
    assert len(refused) > 60


def build(tasks: dict[str, core.Task]) -> core.SharedBackbone:
    """Two heads on one layer, and a weight that is used twice."""
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 4))
    backbone[2].weight = backbone[1].weight
    return core.SharedBackbone(backbone, tasks, lambda c, t: nn.Linear(c, t.channels), example=torch.zeros(1, 1, 2, 2))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A saved model, some heads on another layer, and its hash."""
    folder = tmp_path_factory.mktemp("model")
    tasks = {"kind": classification("kind", 3), "tall": attribute("tall")}
    model = build(tasks).restructure({"taps": {"tall": "1"}})
    core.result.save_model(model, folder)
    return folder, str(SCENARIOS["sha"](model))


@pytest.mark.parametrize("sealed", [False, True])
def test_a_changed_model_is_refused_by_name_or_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, saved: tuple[Path, str], sealed: bool
) -> None:
    """With the old checksum and with a new one: `load` names the file, and neither fills the memory nor leaves the folder."""
    refused = []

    @QUIET
    @given(SEEDS)
    def change(seed: int) -> None:
        folder, outside = place(tmp_path_factory, saved[0])
        log: list[str] = []
        path = Damage(Random(seed).randrange, log).do(folder, outside)
        if sealed and path.name == "model.safetensors" and path.is_file():
            facts = json.loads((folder / "structure.json").read_text())
            facts["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
            (folder / "structure.json").write_text(json.dumps(facts))
        before = contents(outside.parent)
        sha, said = outcome(lambda: SCENARIOS["sha"](core.load(folder, build)))
        if said:
            refused.append(log)
            assert str(folder / "model.safetensors") in said or str(folder / "structure.json") in said, (log, said)
        else:
            assert sha == saved[1] or (sealed and log[1:3] == ["'raw'", "'flip'"]), log
        assert contents(outside.parent) == before
        shutil.rmtree(folder.parent)

    change()
    assert len(refused) > 60


def refused(folder: Path, message: str) -> None:
    with pytest.raises(StorageError, match=message):
        fit(folder)


def test_a_header_of_100_megabytes_is_refused(tmp_path: Path, stopped: tuple[Path, str]) -> None:
    """One that is there, not only claimed; it is not read."""
    folder = shutil.copytree(stopped[0], tmp_path / "run")
    path = folder / "train" / "checkpoint-5" / "shared.safetensors"
    with path.open("r+b") as file:
        file.write(struct.pack("<Q", 10**8 + 8))
        file.truncate(10**8 + 100)
    seal(path.parent)
    refused(folder, r"shared.safetensors` cannot be read: .*[Hh]eader ?[Tt]oo ?[Ll]arge.*Delete the folder")


def test_an_older_state_is_not_taken_for_this_one(tmp_path: Path, stopped: tuple[Path, str]) -> None:
    """A checkpoint under another step's name, and one that is a link, as a copy by hand may leave it."""
    folder = shutil.copytree(stopped[0], tmp_path / "run")
    train = folder / "train"
    (train / "checkpoint-5").rename(train / "checkpoint-7")
    refused(folder, r"checkpoint-7` does not fit this phase: `step` must be 7, as the folder says. Got 5")
    (train / "checkpoint-7").rename(tmp_path / "elsewhere")
    (train / "checkpoint-5").symlink_to(tmp_path / "elsewhere")
    refused(folder, r"checkpoint-5` is a link, which is not followed. Delete the folder")


def test_what_a_link_points_to_is_not_written_over(tmp_path: Path, stopped: tuple[Path, str]) -> None:
    """Neither a folder nor a file that someone has put where the next checkpoint is to be written."""
    folder = shutil.copytree(stopped[0], tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "text").write_text("mine")
    for step in range(5, 10):
        (folder / "train" / f".writing-{step}").symlink_to(tmp_path / "other")
    (folder / "train" / "fingerprint.json").rename(tmp_path / "fingerprint.json")
    (folder / "train" / ".fingerprint.json.writing").symlink_to(tmp_path / "text")
    assert fit(folder, seconds=0) == stopped[1]
    assert list((tmp_path / "other").iterdir()) == []
    assert (tmp_path / "text").read_text() == "mine"
    (folder / ".lock").unlink()
    (folder / ".lock").symlink_to(tmp_path / "new")
    gc.collect()  # this process's own lock is of a file that is gone
    refused(folder, r"run` cannot be written: .*Choose another folder or change its rights")
    assert not (tmp_path / "new").exists()


def train(run: core.Run, change: Callable[..., None] | None = None) -> nn.Module:
    """Adam with a schedule; `change` alters what the checkpoint after two steps is to hold, and ends the training there."""
    with run.seeded("model"):
        model = run.place(SCENARIOS["build"](DATA.tasks))
    optimizer = torch.optim.Adam(model.parameters())
    rates = torch.optim.lr_scheduler.StepLR(optimizer, 5)
    models.append(model)
    with run.phase("p", model=model, optimizer=optimizer, state=[rates]) as phase:
        for batch in phase.batches(DATA.train, epochs=2, batch_size=4):
            if phase.step_number == 2 and change is not None:
                raise Stop
            phase.step(core.weighting.equal(phase.losses(model, batch), phase.labelled), optimizer)
            rates.step()
            if phase.step_number == 1 and change is not None:
                change(model, optimizer, rates)
    return model


models: list[nn.Module] = []


def shorten(_model: nn.Module, optimizer: Any, _rates: Any) -> None:
    next(iter(optimizer.state.values()))["exp_avg"] = torch.zeros(1)


def forget(_model: nn.Module, optimizer: Any, _rates: Any) -> None:
    for state in optimizer.state.values():
        del state["exp_avg_sq"]


def flatten(_model: nn.Module, optimizer: Any, _rates: Any) -> None:
    optimizer.param_groups[0]["betas"] = "ab"


def halve(model: nn.Module, _optimizer: Any, _rates: Any) -> None:
    model.half()


def replace(_model: nn.Module, _optimizer: Any, rates: Any) -> None:
    rates.__dict__["step"] = 3


def odd(_model: nn.Module, _optimizer: Any, rates: Any) -> None:
    rates.last_epoch = "x"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shorten, r"`optimizer.state.0.exp_avg` must be torch.float32 \[4, 1, 3, 3\]. Got torch.float32 \[1\]"),
        (flatten, r"`optimizer.param_groups.0.betas` must be a tuple. Got str"),
        (halve, r"`model.backbone.0.weight` must be torch.float32 .* Got torch.float16"),
        (replace, r"`state.0` must not replace a method. Got `step`"),
        (odd, r"`state.0.last_epoch` must be a int. Got str"),
    ],
)
def test_state_of_another_kind_is_named_and_changes_no_model(
    tmp_path: Path, change: Callable[..., None], message: str
) -> None:
    """Whole in itself, checksums included: the model that was handed in is as it was, to the last bit."""
    with pytest.raises(Stop):
        train(core.Run(tmp_path, progress=False, checkpoint_seconds=0), change)
    fresh = core.Run(progress=False)
    with fresh.seeded("model"):
        untouched = SCENARIOS["build"](DATA.tasks)
    with pytest.raises(StorageError, match=rf"checkpoint-2` does not fit this phase: {message}"):
        train(core.Run(tmp_path, progress=False))
    assert SCENARIOS["sha"](models[-1]) == SCENARIOS["sha"](untouched)


def test_an_optimizer_that_cannot_use_its_state_says_so_in_its_first_step(tmp_path: Path) -> None:
    """What only the optimizer knows: the message names the checkpoint."""
    with pytest.raises(Stop):
        train(core.Run(tmp_path, progress=False, checkpoint_seconds=0), forget)
    with pytest.raises(StorageError, match=r"checkpoint-2` does not fit the optimizer \(KeyError: .*Delete it"):
        train(core.Run(tmp_path, progress=False), None)
