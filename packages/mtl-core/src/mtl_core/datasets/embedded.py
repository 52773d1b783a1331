"""Reading the data sets that lie in core's own folder `files`; a text beside each says what it is and whose."""

from collections.abc import Collection
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent / "files"


def load(name: str) -> dict[str, np.ndarray]:
    """Read all arrays of an embedded data set.

    Args:
        name: The file's name without its suffix.

    Raises:
        FileNotFoundError: If the package was installed without its data.
        ValueError: If the file is damaged.

    Examples:
        >>> {key: array.shape for key, array in load("digits").items()}
        {'images': (1797, 8, 8), 'labels': (1797,)}
    """
    return read(FOLDER / f"{name}.npz")


def read(path: Path, keys: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Read arrays of a file made by one of the scripts in `shared/datasets`.

    Args:
        path: The file.
        keys: Read only these, as far as they are there: each is unpacked by itself.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged.
    """
    again = "install mtl-core again" if path.parent == FOLDER else "make it again (shared/datasets)"
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files if keys is None or key in keys}
    except FileNotFoundError:
        raise FileNotFoundError(
            f"The data set `{path.stem}` must lie in {str(path)!r}. It does not: {again}."
        ) from None
    except Exception as error:  # zipfile, zlib and lzma each have errors of their own for damaged files
        raise ValueError(f"The data set `{path.stem}` in {str(path)!r} is damaged: {again}. ({error})") from error
