"""A source made of image files: one folder per task, and in it one folder per class.

    flowers/            the task's folder
        daisy/          class 0: classes are sorted by name
            001.jpg
            any-name.png
        rose/           class 1
            ...

Only the names are read at first; an image is decoded when it is asked for.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path

import numpy as np
import torch

from mtl_core.types import Int, Tensor

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""Files with another suffix are passed over, as are names that begin with a dot."""

HEAD_BYTES = 4096
"""So much of each file enters the fingerprint, beside its name and size."""


def folders(
    paths: Mapping[str, str | PathLike[str]],
    *,
    size: tuple[int, int] | None = None,
    channels: int = 3,
    classes: Mapping[str, Sequence[str]] | None = None,
) -> list["Folder"]:
    """Make one source per task from folders of images.

    Args:
        paths: The task's folder, by task name.
        size: Height and width that every image is resized to (bilinear, antialiased). Without it the images keep their
            sizes, and those of one batch must agree.
        channels: 1 (grey) or 3 (red, green, blue).
        classes: Names of a task's classes in the order of their numbers, by task name; without it, the names of the
            folders, sorted. Give the training part's to a test part that lacks a class, or its numbers would shift:
            `classes={source.task: source.classes for source in training}`.

    Returns:
        The sources, in the order of `paths`; each has `task`, `tasks` and `classes`.

    Raises:
        FileNotFoundError: If a folder is missing, or holds no folder of a class, or a class holds no image.
        ValueError: If `channels` or `size` is not usable, or a folder is none of the classes given.
    """
    if channels not in (1, 3):
        raise ValueError(f"`channels` must be 1 or 3. Got `channels = {channels}`.")
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise ValueError(f"`size` must be a positive height and width. Got `size = {size}`.")
    names = classes or {}
    return [Folder(task, Path(path), size, channels, names.get(task)) for task, path in paths.items()]


class Folder:
    """The images of one task, one folder per class; made by [`folders`][mtl_core.datasets.folders].

    Args:
        task: The task's name.
        path: Its folder.
        size: Height and width of the images; as they are on disk without it.
        channels: 1 or 3.
        classes: Names of the classes in the order of their numbers; the sorted names of the folders without it.

    Raises:
        FileNotFoundError: If the folder is missing, or holds no folder of a class, or a class holds no image.
        ValueError: If a folder is none of the `classes`.
    """

    def __init__(
        self, task: str, path: Path, size: tuple[int, int] | None, channels: int, classes: Sequence[str] | None = None
    ) -> None:
        if not path.is_dir():
            raise FileNotFoundError(f"There is no folder {str(path)!r} of task `{task}`. {_expected(path)}")
        found = sorted(child.name for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))
        if not found:
            raise FileNotFoundError(
                f"The folder {str(path)!r} of task `{task}` has no folder of a class. {_expected(path)}"
            )
        self.task = task
        self.classes = tuple(found if classes is None else classes)
        strange = sorted(set(found) - set(self.classes))
        if strange:
            raise ValueError(
                f"`classes[{task!r}]` must name every folder in {str(path)!r}. "
                f"Got `classes` without {', '.join(strange)}."
            )
        self._path, self._size, self._channels = path, size, channels
        self._files: list[Path] = []
        self._labels: list[int] = []
        for name in found:
            files = sorted(file for file in (path / name).iterdir() if _is_image(file))
            if not files:
                raise FileNotFoundError(f"The class {name!r} of task `{task}` has no image. {_expected(path)}")
            self._files += files
            self._labels += [self.classes.index(name)] * len(files)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The one task that this source labels."""
        return (self.task,)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Decode one image.

        Raises:
            ValueError: If the file is damaged; the message names file and task.
        """
        return self._image(self._files[index]), {self.task: torch.tensor(self._labels[index])}

    def batch(self, indices: Int[Tensor, " batch"]) -> tuple[Tensor, dict[str, Tensor]]:
        """Decode the images at `indices`, stacked, in that order.

        Raises:
            ValueError: If a file is damaged, or the images differ in size and no `size` was given.
        """
        rows = indices.tolist()
        images = [self._image(self._files[row]) for row in rows]
        for row, image in zip(rows, images, strict=True):
            if image.shape != images[0].shape:
                raise ValueError(
                    f"`size` must be given where images differ in size. Got {tuple(images[0].shape[1:])} in "
                    f"{str(self._files[rows[0]])!r} and {tuple(image.shape[1:])} in {str(self._files[row])!r} "
                    f"of task `{self.task}`."
                )
        return torch.stack(images), {self.task: torch.tensor([self._labels[row] for row in rows])}

    def fingerprint(self) -> str:
        """Return a hash of names, sizes and the first `HEAD_BYTES` of all files, and of how they are decoded."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.blake2b(f"{self.task}|{self.classes}|{self._size}|{self._channels}".encode(), digest_size=16)
        for file in self._files:
            digest.update(f"|{file.relative_to(self._path).as_posix()}|{file.stat().st_size}|".encode())
            with file.open("rb") as stream:
                digest.update(stream.read(HEAD_BYTES))
        return digest.hexdigest()

    def _image(self, file: Path) -> Tensor:
        from PIL import Image

        try:
            with Image.open(file) as image:
                # PIL cuts 16-bit grey off at 255 where it converts it to 8 bits.
                scale = 65535 if image.mode.startswith("I;16") else 255
                values = np.asarray(image if scale > 255 else image.convert("L" if self._channels == 1 else "RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"The image {str(file)!r} of task `{self.task}` cannot be read: {error}") from error
        pixels = torch.from_numpy(values.astype(np.float32) / np.float32(scale))
        pixels = pixels.unsqueeze(0).expand(self._channels, -1, -1) if pixels.ndim == 2 else pixels.permute(2, 0, 1)
        if self._size is not None and tuple(pixels.shape[1:]) != tuple(self._size):
            pixels = torch.nn.functional.interpolate(pixels.unsqueeze(0), self._size, mode="bilinear", antialias=True)[
                0
            ]
        return pixels.clamp(0, 1).contiguous()


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")


def _expected(path: Path) -> str:
    return f"Expected:\n{path}/\n    one_class/\n        any_name.png\n    another_class/\n        any_name.jpg"
