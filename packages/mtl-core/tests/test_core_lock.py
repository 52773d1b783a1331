"""A folder belongs to one process at a time, and to nobody when that process is gone."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from mtl_core import lock
from mtl_core.checkpoint import StorageError

HOLD = """
import fcntl, os, sys
descriptor = os.open(sys.argv[1] + "/.lock", os.O_RDWR | os.O_CREAT)
fcntl.flock(descriptor, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_folder_held_by_another_process_is_refused_until_that_is_killed(tmp_path: Path) -> None:
    """A lock dies with its process, SIGKILL included: no file has to be deleted by hand."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(
            StorageError, match=r"is in use by another run. Wait for it to end, or choose another folder"
        ):
            lock.hold(tmp_path)
        other.kill()
        other.wait()
        assert lock.hold(tmp_path) is not None


def test_runs_of_one_process_share_a_folder_until_the_last_is_gone(tmp_path: Path) -> None:
    """However it is written; other processes may have it then."""
    first, second = lock.hold(tmp_path / "a"), lock.hold(tmp_path / "b" / ".." / "a")
    assert first is second
    ask = "import fcntl, sys; fcntl.flock(open(sys.argv[1]), fcntl.LOCK_EX | fcntl.LOCK_NB)"

    def free() -> bool:
        return not subprocess.run(
            [sys.executable, "-c", ask, str(tmp_path / "a" / ".lock")], stderr=subprocess.DEVNULL, check=False
        ).returncode

    del first
    assert not free()
    del second
    gc.collect()
    assert free()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """A file is in its place."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file` cannot be written: .*Choose another folder or change its rights"):
        lock.hold(tmp_path / "file")
