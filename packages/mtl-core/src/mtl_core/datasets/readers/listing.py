"""Names of the samples of a part, as layouts give them: by the numbers of files, or in a JSON file of paths."""

from pathlib import Path

from mtl_core.datasets.readers import decoding
from mtl_core.datasets.readers.decoding import Malformed
from mtl_core.datasets.readers.reader import Layout


def numbered(layout: Layout, root: Path, part: str, *folders: str) -> list[str]:
    """Names of the samples of a part: the numbers of the files, which must be the same in all folders.

    Args:
        layout: For messages.
        root: The data set's folder.
        part: Folder of the part.
        folders: Folders in it; the first is that of the images.

    Raises:
        FileNotFoundError: If a folder or a file is missing.
    """
    layout.require(root, *(f"{part}/{folder}" for folder in folders))
    found = [{path.stem for path in (root / part / folder).glob("*.npy")} for folder in folders]
    for folder, names in zip(folders, found, strict=True):
        lacking = sorted(set().union(*found) - names)
        if lacking or not names:
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            path = root / part / folder / f"{lacking[0] if lacking else '0'}.npy"
            raise layout.lacks(root, f"There is no {str(path)!r}{more}.")
    return sorted(found[0], key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))


def listed(path: Path, part: str, width: int) -> list[list[str]]:
    """Columns of a JSON file `{part: [[path, ...], ...]}`.

    Args:
        path: The file.
        part: The part.
        width: Paths of a sample.

    Raises:
        ValueError: If there is no such part, or the file is malformed.
    """
    found = decoding.table(path)
    if part not in found:
        raise ValueError(f"`part` must be among {', '.join(found)}. Got `part = {part!r}`.")
    rows = found[part]
    right = isinstance(rows, list) and all(
        isinstance(row, list) and len(row) == width and all(isinstance(name, str) for name in row) for row in rows
    )
    if not right or not rows:
        raise Malformed(path, f"must hold lists of {width} paths under {part!r}. It does not.")
    return [list(column) for column in zip(*rows, strict=True)]
