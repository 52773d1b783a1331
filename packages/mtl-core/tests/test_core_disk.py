"""Disks that are full, read-only or somebody else's: one line that says so, and the same command continues afterwards.

The disk is a real one of 1 MiB in memory. Root mounts it; for others it is mounted where only the process under test sees it.
"""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mtl_core as core
from mtl_core.checkpoint import StorageError

Obey = Any


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[str]]]:
    """Where the disk is, and the command that starts another one where the disk is seen; or why there can be none."""
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    alone = ["unshare", "-rm", "sh", "-c", " ".join(mount) + ' && exec "$0" "$@"']
    try:
        if subprocess.run(mount, capture_output=True, check=False).returncode == 0:  # root may
            yield folder, []
            subprocess.run(["umount", str(folder)], check=True)
            return
        found = subprocess.run([*alone, "true"], capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    if found.returncode:
        pytest.skip(f"no file system can be mounted here: {found.stderr.strip()}")
    yield folder, alone


@pytest.fixture
def disk(mounted: tuple[Path, list[str]], ordering: Callable[..., Any], obey: Obey, tmp_path: Path) -> Obey:
    """Orders trainings in a process that sees the disk, which is empty."""
    folder, before = mounted
    orders = type(obey)(ordering(*before), tmp_path)
    orders("shell", command=["find", str(folder), "-mindepth", "1", "-delete"])
    orders.folder = str(folder)
    return orders


def done(found: tuple[list[int], list[dict[str, Any]]]) -> dict[str, Any]:
    statuses, results = found
    assert statuses == [0]
    return results[0]


def checkpoints(disk: Obey) -> list[str]:
    listed = done(disk("shell", command=["find", disk.folder, "-name", "checkpoint-*", "-o", "-name", ".writing*"]))
    return sorted(Path(line).name for line in listed["said"].split())


FULL = {
    "before a checkpoint": (["losses", 5, "fill"], r"No room for a checkpoint of 0.1 MiB in .* Make room"),
    "after the check of room": (["room", 9, "fill"], "Cannot write a checkpoint to .*No space left on device"),
    "between two files": (["room", 10, "fill"], "Cannot write a checkpoint to .*No space left on device"),
    "before the manifest": (["seal", 5, "fill"], "Cannot finish the checkpoint .*No space left on device"),
}


@pytest.mark.parametrize("when", FULL)
def test_a_disk_that_is_full_costs_one_step(disk: Obey, when: str) -> None:
    """Whenever it fills up: one line, no rest, the last checkpoint is intact, and with room the same command continues."""
    whole, (at, message) = done(disk("fit")), FULL[when]
    folder = f"{disk.folder}/run"
    assert disk("fit", folder, at=at, disk=disk.folder, fails=True)[0] == [70]
    (said,) = disk.errors
    assert re.fullmatch(rf"StorageError: {message}.*same command.*", said)
    assert "\n" not in said
    assert checkpoints(disk) == ["checkpoint-3", "checkpoint-4"]
    assert disk("fit", folder, fails=True)[0] == [70]  # still full
    assert disk.errors[0].startswith("StorageError: No room for a checkpoint")
    disk("shell", command=["rm", f"{disk.folder}/filler"])
    again = done(disk("fit", folder))
    assert again["sha"] == whole["sha"]
    assert again["computed"] == whole["computed"] - 4


def test_a_disk_that_is_full_from_the_start_is_named(disk: Obey) -> None:
    """Not even the fingerprint has room; nothing of it is in the way later."""
    whole = done(disk("fit"))
    disk("shell", command=["sh", "-c", f"mkdir {disk.folder}/run; cat /dev/zero > {disk.folder}/filler || true"])
    assert disk("fit", f"{disk.folder}/run", fails=True)[0] == [70]
    assert re.search("cannot be written: .*No space left on device.*make room|change its rights", disk.errors[0])
    disk("shell", command=["rm", f"{disk.folder}/filler"])
    assert done(disk("fit", f"{disk.folder}/run"))["sha"] == whole["sha"]


@pytest.mark.parametrize("room", [0, 40_000])
def test_a_result_that_finds_no_room_leaves_the_one_before(disk: Obey, room: int) -> None:
    """No room at all, or for the model only: what was there is there, file by file, and can be loaded."""
    found = done(disk("save", disk=disk.folder, room=room))
    assert "Cannot write to `" in found["said"]
    assert "Choose another folder or make room." in found["said"]
    assert found["loaded"]
    assert found["same"]
    assert found["again"]


def test_a_disk_that_is_read_only_is_named(disk: Obey) -> None:
    """One line; once it can be written, the same command continues."""
    whole, folder = done(disk("fit")), f"{disk.folder}/run"
    assert disk("fit", folder, at=["losses", 5, 9])[0] == [-9]
    disk("shell", command=["mount", "-o", "remount,ro", disk.folder])
    assert disk("fit", folder, fails=True)[0] == [70]
    (said,) = disk.errors
    disk("shell", command=["mount", "-o", "remount,rw", disk.folder])
    assert re.search("run` cannot be written: .*Read-only file system.*Choose another folder", said)
    assert done(disk("fit", folder))["sha"] == whole["sha"]


@pytest.mark.parametrize("at", [["write", 9, "limit"], ["seal", 5, "limit"]])
def test_a_file_that_may_grow_no_further_costs_one_step(obey: Obey, tmp_path: Path, at: list[Any]) -> None:
    """The limit of a process on its files, as a quota has it; needs no disk of its own."""
    whole = done(obey("fit"))
    assert obey("fit", "run", at=at, fails=True)[0] == [70]
    assert "File too large" in obey.errors[0]
    assert "The last complete one is intact; make the folder writable, with room" in obey.errors[0]
    assert sorted(f.name for f in (tmp_path / "run" / "train").glob("*check*")) == ["checkpoint-3", "checkpoint-4"]
    assert not list((tmp_path / "run").rglob(".writing*"))
    again = done(obey("fit", "run"))
    assert (again["sha"], again["computed"]) == (whole["sha"], whole["computed"] - 4)


def test_of_two_processes_that_start_at_once_one_trains(obey: Obey) -> None:
    """The other is told so in one line while the first is still training; nothing is damaged."""
    whole = done(obey("fit"))
    statuses, (found,) = obey("fit", "run", copies=2, at=["losses", 2, "wait"], fails=True)
    assert sorted(statuses) == [0, 70]
    (said,) = obey.errors
    assert said.startswith("StorageError: `")
    assert said.endswith("is in use by another run. Wait for it to end, or choose another folder.")
    assert found["sha"] == done(obey("fit", "run"))["sha"] == whole["sha"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_named(tmp_path: Path) -> None:
    """As on somebody else's account."""
    (tmp_path / "run").mkdir(mode=0o500)
    with pytest.raises(StorageError, match=r"run` cannot be written: .*Choose another folder or change its rights"):
        core.Run(tmp_path / "run")
