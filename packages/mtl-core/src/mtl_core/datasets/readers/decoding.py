"""Files decoded to the project's conventions; what cannot be used is refused with the file's name.

Each function takes a path and gives a tensor as `mtl_core.task` wants it, without the axis of the batch: images `[3, h, w]` in
[0, 1], labels int64 `[h, w]` with 255 where nothing is labelled, depth `[1, h, w]` with 0, normals `[3, h, w]` with the zero
vector, other maps `[1, h, w]` with NaN. Nothing is unpickled. PIL and scipy are imported when they are needed.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mtl_core.types import Tensor

UNIT = (0.9, 1.1)
"""Lengths that count as those of a normal. Eight bits a coordinate are off by .014; what was mixed over an edge is shorter."""

MAP = ("[h, w]", "[h, w, 1]")
"""Layouts differ in whether they keep the last axis."""


class Malformed(ValueError):
    """A file that does not hold what its layout says.

    Args:
        path: The file.
        problem: What is wrong, as the rest of a sentence that begins with the file's name.
    """

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{str(path)!r} {problem}")
        self.path = path
        self.problem = problem


# What lies in a file ------------------------------------------------------------------------------------------------


def picture(path: Path, *modes: str) -> np.ndarray:
    """Pixels of an image file, converted to the first of `modes` where it has none of them.

    Raises:
        Malformed: If it cannot be decoded.
        FileNotFoundError: If it is not there.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image if image.mode in modes else image.convert(modes[0]))
    except FileNotFoundError:
        raise
    except Exception as error:  # PIL hands on what its decoders raise: SyntaxError, struct.error, zlib.error, ...
        raise Malformed(path, f"cannot be decoded as an image: {error}") from error


def array(path: Path, kinds: str, *shapes: str) -> np.ndarray:
    """The array of a `.npy` file.

    Args:
        path: The file.
        kinds: Kinds of numpy dtypes that it may hold: `f` floats, `iu` whole numbers, `b` booleans.
        shapes: Those that will do, as in messages, `[h, w, 3]`: a letter is any size.

    Raises:
        Malformed: If it cannot be read or holds something else.
        FileNotFoundError: If it is not there.
    """
    try:
        found = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise Malformed(path, f"cannot be read as a .npy file of numbers: {error}") from error
    if not isinstance(found, np.ndarray):  # a zip of arrays under the wrong name
        raise Malformed(path, "must be a .npy file. Got an archive of several arrays.")
    return checked(path, found, kinds, *shapes)


def checked(path: Path, found: np.ndarray, kinds: str, *shapes: str) -> np.ndarray:
    """Refuse an array of another dtype or shape.

    Raises:
        Malformed: If it is one.
    """
    if found.dtype.kind not in kinds or not any(_fits(found.shape, shape) for shape in shapes):
        words = {"f": "floats", "iuf": "whole numbers", "iu": "whole numbers"}.get(kinds, "numbers")
        raise Malformed(path, f"must hold {words}, {' or '.join(shapes)}. Got {found.dtype}, {list(found.shape)}.")
    return found


def _fits(sizes: tuple[int, ...], shape: str) -> bool:
    axes = shape.strip("[]").split(", ")
    return len(sizes) == len(axes) and all(
        size == int(axis) if axis.isdigit() else size > 0 for size, axis in zip(sizes, axes, strict=True)
    )


def mat(path: Path, key: str) -> Any:
    """One variable of a MATLAB file (before 7.3).

    Raises:
        ImportError: If scipy is missing.
        Malformed: If it cannot be read or lacks the variable.
        FileNotFoundError: If it is not there.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError(
            f"scipy must be installed to read {path.name!r}: `pip install mtl-core[datasets]`. It was not found."
        ) from error
    try:
        return loadmat(path, variable_names=[key])[key]
    except FileNotFoundError:
        raise
    except KeyError:
        raise Malformed(path, f"must hold the variable `{key}`. It does not.") from None
    except Exception as error:
        raise Malformed(path, f"cannot be read as a MATLAB file: {error}") from error


def text(path: Path) -> str:
    """A text file in UTF-8.

    Raises:
        Malformed: If it is none.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(path, f"must be a text file. {error}") from error


def lines(path: Path) -> list[str]:
    """The lines of a text file that hold something, without white space at both ends.

    Raises:
        Malformed: If it is no text, or holds nothing.
    """
    found = [line.strip() for line in text(path).splitlines() if line.strip()]
    if not found:
        raise Malformed(path, "must hold at least one line. It is empty.")
    return found


def table(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    Raises:
        Malformed: If it does not.
    """
    try:
        found = json.loads(text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise Malformed(path, f"must hold JSON. {error}") from error
    if not isinstance(found, dict):
        raise Malformed(path, f"must hold a JSON object. Got {type(found).__name__}.")
    return found


# Images -------------------------------------------------------------------------------------------------------------


def image(path: Path, channels: int = 3) -> Tensor:
    """An image file in [0, 1], `[channels, h, w]`."""
    return planes(picture(path, "RGB" if channels == 3 else "L"))


def image_array(path: Path) -> Tensor:
    """A `.npy` image, floats `[h, w, 3]` in [0, 1]."""
    found = array(path, "f", "[h, w, 3]").astype(np.float32)
    low, high = float(found.min()), float(found.max())
    if not (low >= -1e-3 and high <= 1 + 1e-3):  # also NaN
        raise Malformed(path, f"must hold values in [0, 1]. Got {low:g} to {high:g}.")
    return _channels_first(found).clamp(0, 1)


def planes(pixels: np.ndarray) -> Tensor:
    """Pixels `[h, w]` or `[h, w, channels]` of eight bits as floats in [0, 1], channels first."""
    values = np.asarray(pixels, dtype=np.float32) / np.float32(255)
    return torch.from_numpy(values)[None] if values.ndim == 2 else _channels_first(values)


# Targets ------------------------------------------------------------------------------------------------------------


def label_image(path: Path, *, shift: int = 0, missing: int = 255) -> Tensor:
    """A label map in an image file of one channel: `missing` becomes 255, `shift` is added to the rest."""
    found = picture(path, "L", "P", "1", "I;16", "I", "RGB", "RGBA", "LA")
    if found.ndim != 2:
        raise Malformed(path, f"must hold class indices in one channel. Got {found.shape[2]} channels.")
    return labels(path, found, shift=shift, missing=missing)


def label_array(path: Path, *, missing: int = -1) -> Tensor:
    """A label map in a `.npy` file, whole numbers or floats `[h, w]`; `missing` becomes 255."""
    found = array(path, "iuf", *MAP)
    return labels(path, found.reshape(found.shape[:2]), missing=missing)


def labels(path: Path, found: np.ndarray, *, shift: int = 0, missing: int = 255) -> Tensor:
    """Class indices as int64; `missing` and 255 become 255, `shift` is added to the rest.

    Raises:
        Malformed: If a value is not a whole number.
    """
    if found.dtype.kind == "f":
        odd = ~(np.isfinite(found) & (found == np.round(found)))
        if odd.any():
            raise Malformed(path, f"must hold whole numbers. Got {found[odd].flat[0]:g}.")
    whole = found.astype(np.int64)
    return torch.from_numpy(np.where((whole == missing) | (whole == 255), 255, whole + shift))


def map_array(path: Path) -> Tensor:
    """A map in a `.npy` file, numbers `[h, w]` or `[h, w, 1]`, as `[1, h, w]`."""
    found = array(path, "biuf", *MAP)
    return torch.from_numpy(found.reshape(1, *found.shape[:2]).astype(np.float32))


def binary(path: Path) -> Tensor:
    """A map of yes and no, `.npy` or image file: 1 where the value is above half of the largest possible."""
    if path.suffix == ".npy":
        found = map_array(path)
        return torch.where(found.isnan(), found, (found > (127 if found.nan_to_num().max() > 1 else 0.5)).float())
    return torch.from_numpy((picture(path, "L") > 127).astype(np.float32))[None]


def normals_array(path: Path) -> Tensor:
    """Normals in a `.npy` file, floats `[h, w, 3]` in [−1, 1]."""
    return unit(path, _planes(array(path, "f", "[h, w, 3]")))


def normals_image(path: Path) -> Tensor:
    """Normals coded as colours, `v / 127.5 − 1`; white is not labelled."""
    colours = _planes(picture(path, "RGB"))
    red, green, blue = colours
    white = (red == 255) & (green == 255) & (blue == 255)
    return unit(path, (colours / np.float32(127.5) - 1) * ~white)


def unit(path: Path, vectors: np.ndarray) -> Tensor:
    """Vectors `[3, h, w]` as normals: length 1, or zero where a vector is none.

    A file of which most vectors are not of length 1 is coded in another way.

    Raises:
        Malformed: If it is one.
    """
    x, y, z = vectors
    length = np.sqrt(x * x + y * y + z * z)  # far faster than a sum over an axis of three
    with np.errstate(invalid="ignore"):  # NaN is no length
        right = (length >= UNIT[0]) & (length <= UNIT[1])
    given = length != 0
    if given.sum() > 2 * right.sum():
        odd = float(np.median(length[given & ~right]))
        raise Malformed(path, f"must hold vectors of length 1, or 0 where not labelled. Got lengths like {odd:.3g}.")
    return torch.from_numpy(np.where(right, vectors / np.where(right, length, 1), 0).astype(np.float32))


def _planes(values: np.ndarray) -> np.ndarray:
    """`[h, w, 3]` as floats `[3, h, w]`."""
    return np.ascontiguousarray(values.transpose(2, 0, 1), dtype=np.float32)


def _channels_first(values: np.ndarray) -> Tensor:
    return torch.from_numpy(_planes(values))
