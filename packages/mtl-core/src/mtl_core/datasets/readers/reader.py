"""`Reader`: a source of samples that lie in files, decoded when they are asked for.

A data set's module lists the files and says how each is decoded; everything else is here: what a sample is, the check of
every target by its task, and errors that name file, sample and task whatever a decoder raises.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from mtl_core.datasets.readers.decoding import Malformed
from mtl_core.task import Task
from mtl_core.types import Tensor

SAMPLED = 16
"""So many samples, evenly spaced, stand for the content in a fingerprint, beside all names and all values."""


@dataclass(frozen=True)
class Layout:
    """What a data set looks like on disk, for messages.

    Args:
        name: Of the data set.
        tree: Its folders and files, as a short tree.
        origin: Where the data come from.
    """

    name: str
    tree: str
    origin: str

    def require(self, root: Path, *needed: str) -> None:
        """Refuse a root that lacks a folder or a file.

        Args:
            root: The root.
            needed: Paths below it.

        Raises:
            FileNotFoundError: With what is missing, the tree, and where the data come from.
        """
        missing = (
            [str(root)] if not root.is_dir() else [str(root / name) for name in needed if not (root / name).exists()]
        )
        if missing:
            raise self.lacks(root, f"There is no {', no '.join(repr(path) for path in missing)}.")

    def lacks(self, root: Path, what: str) -> FileNotFoundError:
        """The error for a root that is not as it should be."""
        tree = "\n".join(f"    {line}" for line in self.tree.splitlines())
        return FileNotFoundError(
            f"{self.name} was looked for in {str(root)!r}. {what} Expected:\n{tree}\nFrom: {self.origin}"
        )


class Column(Protocol):
    """One input or target of every sample."""

    def place(self, row: int) -> Path:
        """The file of a sample."""

    def read(self, row: int) -> Tensor | None:
        """The tensor of a sample; None where it has no label."""

    def described(self) -> bytes:
        """What decides the content and is not read sample by sample, for the fingerprint."""


@dataclass(frozen=True)
class Files:
    """A file for each sample.

    Args:
        folder: Where they lie.
        names: A name for each sample.
        decode: Makes a tensor of a path.
        pattern: The path below the folder, with `{}` for the name.
        optional: Whether a file that is not there means that the sample has no label.
    """

    folder: Path
    names: Sequence[str]
    decode: Callable[[Path], Tensor]
    pattern: str = "{}"
    optional: bool = False

    def place(self, row: int) -> Path:
        """The file of a sample."""
        return self.folder / self.pattern.format(self.names[row])

    def read(self, row: int) -> Tensor | None:
        """The decoded file; None where it is optional and not there."""
        path = self.place(row)
        return None if self.optional and not path.exists() else self.decode(path)

    def described(self) -> bytes:
        """Pattern and names."""
        return "|".join([self.pattern, *self.names]).encode()


@dataclass(frozen=True)
class Values:
    """A number for each sample, known from a list or from the folder's name.

    Args:
        file: Where they stand.
        values: Whole numbers (classes) or floats (attributes), one a sample.
    """

    file: Path
    values: np.ndarray

    def place(self, row: int) -> Path:
        """The list."""
        return self.file

    def read(self, row: int) -> Tensor:
        """The number of a sample."""
        value = self.values[row]
        return torch.tensor(float(value)) if self.values.dtype.kind == "f" else torch.tensor(int(value))

    def described(self) -> bytes:
        """All numbers."""
        return self.values.tobytes()


class Reader:
    """The samples of one part of a data set; made by the functions of `mtl_core.datasets.readers`.

    Args:
        name: Of the data set and its part, for messages.
        samples: A name for each sample.
        image: Gives the images.
        targets: Gives the targets, by task.
        tasks: The tasks; those without a column are left out.

    Attributes:
        name: As given.
        samples: As given.
        tasks: Tasks by name.

    Raises:
        FileNotFoundError: If there is no sample.
    """

    def __init__(
        self, name: str, samples: Sequence[str], image: Column, targets: Mapping[str, Column], tasks: Iterable[Task]
    ) -> None:
        self.name, self.samples = name, samples
        self.tasks = {task.name: task for task in tasks if task.name in targets}
        self._image = image
        self._targets = {task: targets[task] for task in self.tasks}
        if not len(samples):
            raise FileNotFoundError(f"{name} must have at least one sample. There is none.")

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Decode one sample.

        Raises:
            ValueError: If a file is damaged or holds something else than it should; file, sample and task are named.
            FileNotFoundError: If a file is missing; likewise.
            IndexError: If there is no such sample.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"`index` must be within the {len(self)} samples. Got `index = {index}`.")
        row = range(len(self))[index]
        image = self._read("image", self._image, row)
        assert image is not None
        targets = {
            task: self._read(f"task `{task}`", column, row, task, image) for task, column in self._targets.items()
        }
        return image, {task: target for task, target in targets.items() if target is not None}

    def places(self, row: int) -> dict[str, Path]:
        """The files of a sample: `image`, and by task."""
        return {"image": self._image.place(row)} | {task: c.place(row) for task, c in self._targets.items()}

    def fingerprint(self) -> str:
        """A hash of all names and values, and of `SAMPLED` decoded samples."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.blake2b(f"{self.name}|{list(self.tasks)}|{len(self)}|".encode(), digest_size=16)
        for column in (self._image, *self._targets.values()):
            digest.update(column.described())
        for row in np.linspace(0, len(self) - 1, min(SAMPLED, len(self))).astype(int).tolist():
            image, targets = self[row]
            for tensor in (image, *targets.values()):
                digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _read(self, what: str, column: Column, row: int, task: str = "", image: Tensor | None = None) -> Tensor | None:
        """One tensor; everything that can go wrong becomes a message with file, sample and task."""
        where = f"{self.name}, sample `{self.samples[row]}`, {what}"
        path = column.place(row)
        try:
            found = column.read(row)
            if found is not None and image is not None and found.ndim >= 2 and found.shape[-2:] != image.shape[-2:]:
                sizes = f"{list(image.shape[-2:])}, {list(found.shape[-2:])}"
                raise Malformed(path, f"must be as large as the image. Got {sizes}.")
            check = self.tasks[task].check if task else None
            if found is not None and check is not None and found.ndim:  # single values were checked with their list
                check(found[None])
        except Malformed as error:
            raise ValueError(f"{where}: {error}") from error
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{where}: {str(error.filename or path)!r} is missing.") from error
        except ImportError:
            raise
        except Exception as error:  # whatever a damaged file makes a decoder do
            raise ValueError(f"{where}: {str(path)!r} cannot be used: {error}") from error
        return found


def chosen(known: Mapping[str, Task], names: Iterable[str] | None) -> list[Task]:
    """Tasks by name, all without names.

    Args:
        known: The tasks that a data set has.
        names: Some of them.

    Raises:
        ValueError: If there is none of that name.
    """
    wanted = list(known if names is None else names)
    if not wanted or any(name not in known for name in wanted):
        raise ValueError(f"`tasks` must be among {', '.join(known)}. Got `tasks = {wanted}`.")
    return [known[name] for name in wanted]
