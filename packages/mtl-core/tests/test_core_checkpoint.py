"""Checkpoints: nested state comes back bit by bit; what is damaged or foreign is named; nothing half-written counts."""

import errno
import json
import math
import os
import random
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mtl_core import checkpoint
from mtl_core.checkpoint import StorageError, pack, seal, unpack, verify, write_part


def same(a: Any, b: Any) -> bool:
    """Equal in type, order, keys and bits."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        plain = [t.contiguous().reshape(-1).view(torch.uint8) for t in (a, b)]
        return a.dtype == b.dtype and a.shape == b.shape and torch.equal(*plain)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    return bool(a == b)


def any_state(draw: random.Random, depth: int = 0) -> Any:
    """Some nested state; keys are chosen so that paths of different places may read the same."""
    kind = draw.randrange(11 if depth < 3 else 8)
    if kind == 0:
        return draw.choice([None, True, False, 2**70, -1, "", "a.b", "$tensor", "ü\n"])
    if kind == 1:
        return draw.choice([0.1, -0.0, 1e-320, math.inf, -math.inf, math.nan])
    if kind < 8:
        dtype = draw.choice([torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.bool])
        shape = [draw.randrange(3) for _ in range(draw.randrange(3))]
        tensor = torch.tensor([draw.random() for _ in range(math.prod(shape))]).reshape(shape).to(dtype)
        return draw.choice([tensor, tensor.expand(2, *shape), tensor.repeat(1, *shape) if shape else tensor])
    if kind == 8:
        return [any_state(draw, depth + 1) for _ in range(draw.randrange(3))]
    if kind == 9:
        return tuple(any_state(draw, depth + 1) for _ in range(draw.randrange(3)))
    keys = draw.sample(["a", "b", "a.b", "0", 0, 1, "a.0", "$dict", ""], draw.randrange(4))
    return {key: any_state(draw, depth + 1) for key in keys}


@pytest.mark.parametrize("seed", range(60))
def test_any_state_comes_back_bit_by_bit(seed: int, tmp_path: Path) -> None:
    """Through the files: types, order of keys, signs of zero, NaN, and tensors of all kinds."""
    state = {"x": any_state(random.Random(seed)), "y": any_state(random.Random(seed + 1000))}
    write_part(tmp_path / ".writing-1", "part", state)
    assert same(checkpoint.read_part(tmp_path / ".writing-1", "part"), state)


def test_paths_that_read_the_same_are_two_tensors() -> None:
    """A key with a dot does not overwrite a nested one."""
    state = {"a.b": torch.zeros(2), "a": {"b": torch.ones(2)}}
    assert same(unpack(*pack(state)), state)


def test_a_tensor_used_twice_is_stored_once() -> None:
    """Views of other shape or place are tensors of their own."""
    base = torch.arange(6.0)
    structure, tensors = pack(
        {"w": base, "again": base, "part": base[:3], "square": base.view(2, 3), "later": base[3:]}
    )
    assert sorted(tensors) == ["later", "part", "square", "w"]
    assert same(unpack(structure, tensors)["again"], base)
    assert all(t.untyped_storage().nbytes() == t.numel() * 4 for t in tensors.values())


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": [object()]}, r"State must be made of .* Got object at `a.0`"),
        ({"a": {(1, 2): 3}}, r"State must have numbers or strings as keys. Got tuple at `a`"),
    ],
)
def test_other_state_is_refused_with_its_place(state: Any, message: str) -> None:
    """Nothing is pickled, so nothing else can be kept."""
    with pytest.raises(TypeError, match=message):
        pack(state)


def write(folder: Path, step: int) -> Path:
    """A complete checkpoint."""
    temporary, final = folder / f".writing-{step}", folder / f"checkpoint-{step}"
    write_part(temporary, "shared", {"step": step, "w": torch.full((100,), float(step))})
    seal(temporary, final, {"step": step})
    return final


def test_checkpoints_are_ordered_by_step_and_old_ones_forgotten(tmp_path: Path) -> None:
    """9 is before 10; what an interrupted writing left does not count and goes; other folders stay."""
    for step in (9, 10, 11):
        write(tmp_path, step)
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / ".writing-12").mkdir()
    assert [f.name for f in checkpoint.checkpoints(tmp_path)] == ["checkpoint-9", "checkpoint-10", "checkpoint-11"]
    checkpoint.forget(tmp_path, keep=2)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-11", "checkpoint-best"]


def test_a_manifest_names_sizes_and_checksums(tmp_path: Path) -> None:
    """Written last, it holds the format and every other file."""
    final = write(tmp_path, 3)
    manifest = json.loads((final / "manifest.json").read_text())
    assert (manifest["format"], manifest["step"]) == (checkpoint.FORMAT, 3)
    assert set(manifest["files"]) == {f.name for f in final.iterdir()} - {"manifest.json"}
    assert verify(final) == manifest


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["shared.safetensors", "shared.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["flipped", "truncated", "emptied", "missing"])
def test_damage_is_named_with_what_to_do(tmp_path: Path, name: str, damage: str) -> None:
    """Any file, any damage: the file, and the advice that leads to the checkpoint before it."""
    before, final = write(tmp_path, 1), write(tmp_path, 2)
    path = final / name
    if damage == "missing":
        path.unlink()
    elif damage == "flipped" and name == "manifest.json":
        path.write_text("[]")
    elif damage == "flipped":
        flip(path)
    else:
        os.truncate(path, 0 if damage == "emptied" else path.stat().st_size - 7)
    with pytest.raises(StorageError, match=rf"{name}.*Delete the folder .*checkpoint-2` to continue from") as caught:
        verify(final)
    assert "\n" not in str(caught.value)
    shutil.rmtree(final)
    assert checkpoint.checkpoints(tmp_path) == [before]
    verify(before)


def test_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    """With the format it has, and the one that can be read."""
    path = write(tmp_path, 1) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 7}))
    with pytest.raises(
        StorageError, match=r"has checkpoint format 7; this version of mtl-core reads 1. Use the version"
    ):
        verify(path.parent)


def test_a_manifest_cannot_point_outside_its_folder(tmp_path: Path) -> None:
    """A file of another folder is missing from the checkpoint."""
    path = write(tmp_path, 1) / "manifest.json"
    content = json.loads(path.read_text())
    content["files"]["../other"] = {"bytes": 1, "sha256": ""}
    (tmp_path / "other").write_text("x")
    path.write_text(json.dumps(content))
    with pytest.raises(StorageError, match=r"other` is missing from the checkpoint"):
        verify(path.parent)


def test_without_room_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Free space is asked for first; the message says how much is needed, and the last checkpoint is as it was."""
    final = write(tmp_path, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))  # type: ignore[attr-defined]
    with pytest.raises(StorageError, match=r"No room for a checkpoint of .* MiB .*Make room and give the same command"):
        write(tmp_path, 2)
    assert list(tmp_path.iterdir()) == [final]
    verify(final)


@pytest.mark.parametrize("place", ["parts", "manifest"])
def test_a_disk_that_fills_up_while_writing_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """ENOSPC in the tensor file or in the manifest: one line, no rest on the full disk, nothing lost."""
    final = write(tmp_path, 1)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file" if place == "parts" else "sha256", full)
    with pytest.raises(StorageError, match=r"Cannot .*No space left on device.*intact; make the folder writable"):
        write(tmp_path, 2)
    assert list(tmp_path.iterdir()) == [final]
    monkeypatch.undo()
    verify(write(tmp_path, 2))


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    """JSON and tensors that are missing or damaged."""
    (tmp_path / "x.json").write_text('{"a": ')
    (tmp_path / "x.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    for name in ("x.json", "y.json"):
        with pytest.raises(StorageError, match=rf"{name}` cannot be read"):
            checkpoint.read_json(tmp_path / name)
    for name in ("x.safetensors", "y.safetensors"):
        with pytest.raises(StorageError, match=rf"{name}` cannot be read"):
            checkpoint.read_tensors(tmp_path / name)


def test_a_text_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old text stays until the new one is complete."""
    path = tmp_path / "a.txt"
    checkpoint.write_text(path, "old")
    monkeypatch.setattr(checkpoint, "flush", lambda _: (_ for _ in ()).throw(OSError("stop")))
    with pytest.raises(OSError, match="stop"):
        checkpoint.write_text(path, "new")
    assert path.read_text() == "old"
