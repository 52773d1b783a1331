"""Checkpoints: safetensors and JSON, checksummed, written whole or not at all.

A checkpoint is a folder `checkpoint-<step>` with a tensor file and a JSON file per writer and, last, `manifest.json`: format
version, sizes and SHA-256 of the others. It is written under another name, flushed and renamed, so what bears the name is
complete. Nothing is ever unpickled.
"""

import hashlib
import json
import math
import os
import re
import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

FORMAT = 1


class StorageError(OSError):
    """Something on disk is missing, damaged, foreign, or cannot be written; the message says what to do."""


def pack(value: Any) -> tuple[Any, dict[str, Tensor]]:
    """Split nested state into JSON and tensors.

    Args:
        value: Dicts, lists, tuples, tensors, numbers, strings, None; dict keys may be numbers.

    Raises:
        TypeError: If something else is in it, naming its place.

    Examples:
        >>> import torch
        >>> pack({"step": 3, "w": torch.zeros(2)})
        ({'$dict': [['step', 3], ['w', {'$tensor': 'w'}]]}, {'w': tensor([0., 0.])})
    """
    tensors: dict[str, Tensor] = {}
    seen: dict[tuple[Any, ...], str] = {}

    def walk(item: Any, path: str) -> Any:
        if isinstance(item, Tensor):
            flat = item.detach()
            place = (flat.data_ptr(), flat.shape, flat.stride(), flat.dtype, flat.device)
            if flat.numel() == 0 or place not in seen:  # a tensor used twice is stored once
                while path in tensors:  # {"a.b": x, "a": {"b": y}} are two
                    path += "'"
                seen[place] = path
                tensors[path] = _own(flat)
            return {"$tensor": seen[place]}
        if isinstance(item, Mapping):
            for k in item:
                if k is not None and not isinstance(k, (bool, int, float, str)):
                    raise TypeError(f"State must have numbers or strings as keys. Got {type(k).__name__} at `{path}`.")
            return {"$dict": [[k, walk(v, f"{path}.{k}" if path else str(k))] for k, v in item.items()]}
        if isinstance(item, (list, tuple)):
            kind = "$list" if isinstance(item, list) else "$tuple"
            return {kind: [walk(v, f"{path}.{i}") for i, v in enumerate(item)]}
        if isinstance(item, float) and not math.isfinite(item):
            return {"$float": repr(item)}
        if item is None or isinstance(item, (bool, int, float, str)):
            return item
        raise TypeError(
            f"State must be made of tensors, numbers, strings, lists and dicts. Got {type(item).__name__} at `{path}`."
        )

    return walk(value, ""), tensors


def unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Put together what `pack` has split."""
    if isinstance(value, dict):
        ((kind, content),) = value.items()
        if kind == "$tensor":
            return tensors[content]
        if kind == "$dict":
            return {k: unpack(v, tensors) for k, v in content}
        if kind == "$float":
            return float(content)
        items = [unpack(v, tensors) for v in content]
        return items if kind == "$list" else tuple(items)
    return value


def write_part(folder: Path, name: str, state: Any) -> None:
    """Write one writer's part of a checkpoint: `<name>.safetensors` and `<name>.json`.

    Raises:
        StorageError: If there is no room, or the folder cannot be written.
    """
    structure, tensors = pack(state)
    text = json.dumps(structure)
    needed = sum(t.numel() * t.element_size() for t in tensors.values()) + len(text) + 2**16
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise StorageError(
                f"No room for a checkpoint of {needed / 2**20:.1f} MiB in `{folder.parent}` ({free / 2**20:.1f} MiB free). "
                "Make room and give the same command again: it continues from the last checkpoint."
            )
        save_file(tensors, folder / f"{name}.safetensors")
        flush(folder / f"{name}.safetensors")
        write_text(folder / f"{name}.json", text)
    except StorageError:
        clear(folder.parent)
        raise
    except (OSError, SafetensorError) as error:
        clear(folder.parent)
        raise StorageError(
            f"Cannot write a checkpoint to `{folder.parent}`: {error}. The last complete one is intact; "
            "make the folder writable, with room, and give the same command again."
        ) from error


def seal(folder: Path, final: Path, facts: Mapping[str, Any]) -> None:
    """Write the manifest of a checkpoint whose parts are complete, and give it its name.

    Raises:
        StorageError: If the folder cannot be written.
    """
    try:
        files = {f.name: {"bytes": f.stat().st_size, "sha256": sha256(f)} for f in sorted(folder.iterdir())}
        write_text(folder / "manifest.json", json.dumps({"format": FORMAT, **facts, "files": files}, indent=1))
        if final.exists():
            shutil.rmtree(final)
        os.rename(folder, final)
        flush(final.parent)
    except OSError as error:
        clear(final.parent)
        raise StorageError(
            f"Cannot finish the checkpoint `{final}`: {error}. The last complete one is intact; "
            "make the folder writable, with room, and give the same command again."
        ) from error


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints of a phase, oldest first."""
    found = [(int(m[1]), f) for f in folder.glob("checkpoint-*") if (m := re.fullmatch(r"checkpoint-(\d+)", f.name))]
    return [f for _, f in sorted(found)]


def forget(folder: Path, keep: int) -> None:
    """Delete all but the last `keep` checkpoints, and what an interrupted writing left."""
    complete = checkpoints(folder)
    for old in complete[: len(complete) - keep]:
        shutil.rmtree(old, ignore_errors=True)
    clear(folder)


def clear(folder: Path) -> None:
    """Delete what an interrupted writing left."""
    for left in folder.glob(".writing-*"):
        if left.is_symlink():  # it would be written to, wherever it leads
            left.unlink(missing_ok=True)
        shutil.rmtree(left, ignore_errors=True)


def verify(folder: Path, parts: Sequence[str] = ()) -> dict[str, Any]:
    """Check a checkpoint against its manifest and return the manifest.

    Args:
        folder: The checkpoint.
        parts: Writers whose files it must have.

    Raises:
        StorageError: If a file is missing, damaged, or of a newer format.
    """
    advice = _advice(folder)
    if folder.is_symlink():
        raise StorageError(f"`{folder}` is a link, which is not followed. {advice}")
    try:
        manifest = read_json(folder / "manifest.json")
    except StorageError as error:
        raise StorageError(f"{error} {advice}") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise StorageError(f"`{folder / 'manifest.json'}` is not a checkpoint's manifest. {advice}")
    if manifest.get("format") != FORMAT:
        raise StorageError(
            f"`{folder}` has checkpoint format {manifest.get('format')!r}; this version of mtl-core reads {FORMAT}. "
            "Use the version that wrote it."
        )
    needed = [f"{part}.{kind}" for part in parts for kind in ("json", "safetensors")]
    for name in dict.fromkeys([*needed, *manifest["files"]]):
        path, facts = folder / name, manifest["files"].get(name)
        if Path(name).name != name or not _is_file(path):
            raise StorageError(f"`{path}` is missing from the checkpoint, or no file. {advice}")
        if not isinstance(facts, dict) or (path.stat().st_size, sha256(path)) != (
            facts.get("bytes"),
            facts.get("sha256"),
        ):
            raise StorageError(f"`{path}` is damaged: size or checksum differ from the manifest. {advice}")
    return manifest


def read_part(folder: Path, name: str) -> Any:
    """Read one writer's part of a verified checkpoint.

    Raises:
        StorageError: If it is not there or not readable.
    """
    path = folder / f"{name}.json"
    try:
        return unpack(read_json(path), read_tensors(path.with_suffix(".safetensors")))
    except StorageError as error:
        raise StorageError(f"{error} {_advice(folder)}") from error
    except Exception as error:  # anything may stand where `pack` has written something
        raise StorageError(f"`{path}` is not a checkpoint's ({type(error).__name__}). {_advice(folder)}") from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file.

    Raises:
        StorageError: If it is missing or damaged.
    """
    _check_file(path)
    try:
        return load_file(path)
    except Exception as error:  # a header may claim anything, and the library raises what it likes
        raise StorageError(f"`{path}` cannot be read: {in_one_line(error)}.") from error


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        StorageError: If it is missing or damaged.
    """
    _check_file(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise StorageError(f"`{path}` cannot be read: {in_one_line(error)}.") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, and flush it."""
    temporary = path.with_name(f".{path.name}.writing")
    temporary.unlink(missing_ok=True)  # were it a link, the text would go elsewhere
    temporary.write_text(text, encoding="utf-8")
    flush(temporary)
    os.replace(temporary, path)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_file(path: Path) -> bool:
    """Whether it is an ordinary file, and no link."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):  # not there; or no name that a file could have
        return False


def _check_file(path: Path) -> None:
    if not _is_file(path):
        what = "it is a link, a folder or a device; put a file there" if os.path.lexists(path) else "it is not there"
        raise StorageError(f"`{path}` cannot be read: {what}.")


def _advice(folder: Path) -> str:
    return f"Delete the folder `{folder}` to continue from the checkpoint before it (or start again)."


def _own(tensor: Tensor) -> Tensor:
    """The tensor on the CPU in storage of its own: safetensors refuses memory that two tensors share."""
    flat = tensor.cpu().contiguous()
    return flat if flat.untyped_storage().nbytes() == flat.numel() * flat.element_size() else flat.clone()


def in_one_line(error: Exception) -> str:
    """What an error says, to be put into another's sentence; its type where it says nothing."""
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__


def flush(path: Path) -> None:
    """Wait until a file, or what a folder lists, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
