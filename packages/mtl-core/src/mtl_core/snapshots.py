"""The checkpoints of one phase, written by all ranks together."""

from pathlib import Path
from typing import Any

from mtl_core import ranks
from mtl_core.checkpoint import checkpoints, clear, forget, read_part, seal, verify, write_part


class Snapshots:
    """The checkpoints of one phase: written by all ranks together, read by each.

    Args:
        folder: The phase's folder.
        rank: This process.
        world: Number of processes.
    """

    def __init__(self, folder: Path, rank: int, world: int) -> None:
        self.folder, self._rank, self._world = folder, rank, world

    def last(self) -> tuple[Path, Any, Any] | None:
        """The last checkpoint, and what it holds for all ranks and for this one; None where there is none.

        Raises:
            StorageError: If it is damaged, or of a newer format.
        """
        if self._rank == 0:
            clear(self.folder)
        ranks.wait(self._world)
        found = checkpoints(self.folder)
        if not found:
            return None
        mine = f"rank-{self._rank}"
        verify(found[-1], ["shared", mine])
        return found[-1], read_part(found[-1], "shared"), read_part(found[-1], mine)

    def save(self, step: int, shared: dict[str, Any], mine: dict[str, Any], *, keep: int) -> None:
        """Write a checkpoint and delete older ones.

        Args:
            step: Steps done, the checkpoint's name.
            shared: State that is the same on all ranks.
            mine: State of this rank.
            keep: How many checkpoints remain.

        Raises:
            StorageError: If it cannot be written; the one before is intact then.
        """
        temporary = self.folder / f".writing-{step}"
        write_part(temporary, f"rank-{self._rank}", mine)
        if self._rank == 0:
            write_part(temporary, "shared", shared)
        ranks.wait(self._world)
        if self._rank == 0:
            seal(temporary, self.folder / f"checkpoint-{step}", {"step": step, "ranks": self._world})
            forget(self.folder, keep=keep)
        ranks.wait(self._world)
