"""Reading the data sets that lie in core's own folder `files`; a text beside each says what it is and whose."""

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
    path = FOLDER / f"{name}.npz"
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except FileNotFoundError:
        raise FileNotFoundError(
            f"The data set `{name}` must lie in {str(path)!r}, where mtl-core's wheel puts it. There is no such file: "
            "install mtl-core again."
        ) from None
    except Exception as error:  # zipfile, zlib and lzma each have errors of their own for damaged files
        raise ValueError(
            f"The data set `{name}` in {str(path)!r} is damaged: install mtl-core again. ({error})"
        ) from error
