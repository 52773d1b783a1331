"""A lock on a folder that dies with its process."""

import os
from collections.abc import Callable
from pathlib import Path
from weakref import WeakValueDictionary, finalize

from mtl_core.checkpoint import StorageError

_held: "WeakValueDictionary[Path, FolderLock]" = WeakValueDictionary()


class FolderLock:
    """Holds a folder for this process until nobody in it uses the lock any more.

    Raises:
        StorageError: If another process holds the folder, or it cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.leave: Callable[[], object] = int  # nothing to let go of
        path = folder / ".lock"
        try:
            import fcntl  # POSIX only; elsewhere there is no lock

            folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except ImportError:
            return
        except OSError as error:
            raise StorageError(
                f"`{folder}` cannot be written: {error}. Choose another folder or change its rights."
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise StorageError(
                f"`{folder}` is in use by another run. Wait for it to end, or choose another folder."
            ) from error
        self.leave = finalize(self, os.close, descriptor)


def leave_in_child() -> None:
    """Let go, in a forked process, of what its parent holds: else a lock would outlive a parent that is killed."""
    for lock in list(_held.values()):
        lock.leave()


def hold(folder: Path) -> FolderLock:
    """The lock of a folder; several runs of one process share it."""
    place = folder.resolve()
    lock = _held.get(place)
    if lock is None:
        lock = _held[place] = FolderLock(place)
    return lock
