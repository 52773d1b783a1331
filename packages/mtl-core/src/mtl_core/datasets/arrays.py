"""A source made of arrays that are there already: tensors, numpy arrays, or `.npy` files that stay on disk.

Nothing is converted before it is asked for: a `.npy` file is mapped into memory and only the rows of a batch are read.
On access inputs and targets take the dtypes of the project's conventions.

| Stored as | Input becomes | Target becomes |
|---|---|---|
| uint8 | float32, divided by 255 | int64 |
| other integers | int64 | int64 |
| floats | float32 | float32 |
| booleans | float32 | float32 |
"""

import hashlib
from collections.abc import Iterable, Mapping
from functools import cached_property
from os import PathLike, fspath
from typing import TypeAlias

import numpy as np
import torch

from mtl_core.types import Int, Tensor

ArrayLike: TypeAlias = "Tensor | np.ndarray | str | PathLike[str]"
"""A tensor, a numpy array (memory-mapped or not), or the path of a `.npy` file."""

WHOLE_BYTES = 256 * 2**20
"""A memory-mapped array above this size is fingerprinted by a part of its rows: reading all would take minutes."""

SAMPLED_ROWS = 1024
"""So many rows, evenly spaced and the last one among them, stand for a memory-mapped array above `WHOLE_BYTES`."""


def arrays(inputs: ArrayLike, targets: Mapping[str, ArrayLike]) -> "Arrays":
    """Make a source from arrays whose first axis is the sample.

    Args:
        inputs: All inputs, `[samples, ...]` with at least two axes; images are `[samples, channels, h, w]`, and uint8
            images are divided by 255 on access. A path is opened as a memory map.
        targets: All targets by task name, `[samples, ...]`; what is not labelled holds the task's `missing` value.

    Raises:
        TypeError: If something is no array, or its dtype is neither a number nor a boolean.
        ValueError: If the lengths differ, there is no sample or no task, too few axes, or a damaged file.
        FileNotFoundError: If a path names no file.

    Examples:
        >>> source = arrays(torch.tensor([[0, 255], [51, 102]], dtype=torch.uint8), {"parity": np.array([0, 1])})
        >>> source[1]
        (tensor([0.2000, 0.4000]), {'parity': tensor(1)})
        >>> inputs, targets = source.batch(torch.tensor([1, 0]))
        >>> targets
        {'parity': tensor([1, 0])}
    """
    if not targets:
        raise ValueError("`targets` must hold at least one task. Got `targets = {}`.")
    return Arrays(_numpy("inputs", inputs), {task: _numpy(f"targets[{task!r}]", x) for task, x in targets.items()})


class Arrays:
    """Samples held in arrays; made by [`arrays`][mtl_core.datasets.arrays].

    Args:
        inputs: All inputs, the sample first.
        targets: All targets by task name, the sample first.
        rows: The samples that belong to this source, in its order; all without it.

    Raises:
        ValueError: If the lengths differ, there is no sample, or `inputs` has a single axis.
    """

    def __init__(self, inputs: np.ndarray, targets: Mapping[str, np.ndarray], rows: np.ndarray | None = None) -> None:
        if inputs.ndim < 2:
            raise ValueError(
                "`inputs` must have at least two axes, the sample first (images: `[samples, channels, h, w]`). "
                f"Got `inputs.shape = {inputs.shape}`."
            )
        for task, target in targets.items():
            if target.ndim < 1:
                raise ValueError(f"`targets[{task!r}]` must have an axis of samples. Got a single value.")
        lengths = {"inputs": len(inputs), **{f"targets[{task!r}]": len(target) for task, target in targets.items()}}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"`{name}`: {length}" for name, length in lengths.items())
            raise ValueError(f"`inputs` and `targets` must have the same number of samples. Got {found}.")
        if len(inputs) == 0 or (rows is not None and len(rows) == 0):
            raise ValueError("A source must have at least one sample. Got 0 samples.")
        self._inputs = inputs
        self._targets = dict(targets)
        self._rows = rows

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that this source labels."""
        return tuple(self._targets)

    def __len__(self) -> int:
        return len(self._inputs) if self._rows is None else len(self._rows)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"`index` must be within the {len(self)} samples. Got `index = {index}`.")
        row = range(len(self))[index] if self._rows is None else int(self._rows[index])
        return _input(self._inputs[row]), {task: _target(target[row]) for task, target in self._targets.items()}

    def batch(self, indices: Int[Tensor, " batch"]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the samples at `indices`, stacked, in that order."""
        rows = indices.cpu().numpy()
        rows = rows if self._rows is None else self._rows[rows]
        return _input(self._inputs[rows]), {task: _target(target[rows]) for task, target in self._targets.items()}

    def subset(self, indices: Iterable[int]) -> "Arrays":
        """Return the source of the samples at `indices`, in that order; the arrays are shared, not copied.

        Raises:
            IndexError: If an index is outside the source.
            ValueError: If there is no index.

        Examples:
            >>> source = arrays(torch.zeros(4, 2), {"digit": torch.arange(4)}).subset([3, 1])
            >>> len(source), source[0][1]
            (2, {'digit': tensor(3)})
        """
        rows = np.asarray(list(indices), dtype=np.int64)
        outside = rows[(rows < -len(self)) | (rows >= len(self))]
        if len(outside):
            raise IndexError(f"`indices` must be within the {len(self)} samples. Got `indices` with {outside[0]}.")
        return Arrays(
            self._inputs, self._targets, np.arange(len(self))[rows] if self._rows is None else self._rows[rows]
        )

    def fingerprint(self) -> str:
        """Return a hash of names, shapes, dtypes and content.

        Of a memory map above `WHOLE_BYTES` only `SAMPLED_ROWS` rows, evenly spaced, are read.
        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for name, array in [("", self._inputs), *sorted(self._targets.items())]:
            digest.update(f"{name}|{array.shape}|{array.dtype.str}|".encode())
            for block in _content(array):
                digest.update(np.ascontiguousarray(block).data)
        if self._rows is not None:
            digest.update(self._rows.tobytes())
        return digest.hexdigest()


def _content(array: np.ndarray) -> Iterable[np.ndarray]:
    """Yield the rows that stand for an array, in blocks of a size that fits into memory."""
    if isinstance(array, np.memmap) and array.nbytes > WHOLE_BYTES:
        rows = np.unique(np.linspace(0, len(array) - 1, SAMPLED_ROWS).round().astype(np.int64))
        yield from (array[row] for row in rows)
        return
    step = max(1, 2**24 * len(array) // max(1, array.nbytes))
    yield from (array[start : start + step] for start in range(0, len(array), step))


def _numpy(name: str, array: ArrayLike) -> np.ndarray:
    """Return `array` as numpy without copying; a path becomes a memory map."""
    if isinstance(array, Tensor):
        array = array.detach().cpu()
        array = (array.float() if array.dtype in (torch.bfloat16, torch.float16) else array).numpy()
    elif isinstance(array, str | PathLike):
        array = _mapped(name, fspath(array))
    if not isinstance(array, np.ndarray):
        raise TypeError(
            f"`{name}` must be a tensor, a numpy array or the path of a .npy file. "
            f"Got `{name}` of type {type(array).__name__}."
        )
    if array.dtype.kind not in "biuf":
        raise TypeError(f"`{name}` must hold numbers or booleans. Got `{name}.dtype = {array.dtype}`.")
    return array


def _mapped(name: str, path: str) -> np.ndarray:
    try:
        return np.lib.format.open_memmap(path, mode="r")  # never pickled objects
    except FileNotFoundError:
        raise FileNotFoundError(f"`{name}` must be the path of a .npy file. There is no file {path!r}.") from None
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"`{name}` must be a readable .npy file of numbers. {path!r} is not: {error}") from error


def _input(values: np.ndarray) -> Tensor:
    if values.dtype == np.uint8:
        return torch.from_numpy(np.asarray(values, dtype=np.float32) / np.float32(255))
    return _target(values)


def _target(values: np.ndarray) -> Tensor:
    """Copy `values` (so that no tensor shares memory with a read-only file) in the dtype of the conventions."""
    return torch.from_numpy(np.array(values, dtype=np.int64 if values.dtype.kind in "iu" else np.float32))
