"""Whatever a checkpoint's or a saved model's files are changed to: a refusal that names the file, or nothing has changed."""

import hashlib
import json
import os
import runpy
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
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
    """One change of one file, made by numbers that hypothesis draws."""

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
            new = {"deep": b"[" * 10**5, "huge number": b"9" * 10**4, "nonsense": os.urandom(100)}.get(kind, b"")
            path.write_bytes(new)

    def json(self, path: Path, outside: Path) -> None:
        """Put another value somewhere into the tree, take an entry away, or nest it deeply."""
        tree = json.loads(path.read_text())
        parents = [place for place in _places(tree)]
        parent, key = self.choose(parents)
        kind = self.choose(["odd", "odd", "lacks", "deep", "copy", "rename"])
        if kind == "odd":
            parent[key] = self.choose(ODD)
        elif kind == "lacks":
            del parent[key]
        elif kind == "deep":
            for _ in range(700):  # less than the parser's limit: what walks the tree meets it
                parent[key] = {"$list": [parent[key]]}
        elif kind == "copy":
            other, place = self.choose(parents)
            parent[key] = json.loads(json.dumps(other[place]))
        elif isinstance(parent, dict):
            parent[self.choose(["../x", "a" * 300, "\0", "", "b"])] = parent.pop(key)
        path.write_text(json.dumps(tree))

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


def fit(folder: Path) -> str:
    """A training with all that has state, from where the folder's last checkpoint is."""
    config = core.Config(epochs=3, batch_size=4, lr=0.05, cosine=True, keep_best=True, optimizer=SCENARIOS["MOMENTUM"])
    run = core.Run(folder, progress=False, checkpoint_seconds=0)
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
            fit(folder / "run")
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


NUMBERS = st.lists(st.integers(0, 2**20), min_size=12, max_size=12)


def drawn(numbers: list[int]) -> Callable[[int], int]:
    left = iter(numbers)
    return lambda choices: next(left) % choices


QUIET = settings(
    max_examples=120, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.parametrize("sealed", [False, True])
def test_a_changed_checkpoint_is_refused_by_name_or_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, stopped: tuple[Path, str], sealed: bool
) -> None:
    """With the old checksums, and with new ones that fit; never another library's error, never another file touched."""
    refused = []

    @QUIET
    @given(NUMBERS)
    def change(numbers: list[int]) -> None:
        folder, outside = place(tmp_path_factory, stopped[0])
        checkpoint = folder / "train" / "checkpoint-5"
        log: list[str] = []
        path = Damage(drawn(numbers), log).do(checkpoint, outside)
        if sealed and path.name != "manifest.json":
            seal(checkpoint)
        before = contents(outside.parent)
        try:
            sha = fit(folder)
        except StorageError as error:
            refused.append(log)
            assert str(checkpoint) in str(error), (log, error)
            assert "\n" not in str(error)
            assert "Delete" in str(error) or "Use the version" in str(error), (log, error)
            assert contents(outside.parent) == before
        else:
            assert sealed or path.name == "manifest.json" or sha == stopped[1], log
        assert outside.read_text() == '{"$dict": []}'
        shutil.rmtree(folder.parent)

    change()
    assert len(refused) > 60
