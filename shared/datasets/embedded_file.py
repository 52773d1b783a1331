"""Write an embedded data set: a `.npz` of plain arrays and, beside it, a text that says what it is and whose.

Equal content gives equal bytes: names are sorted and no time is stored.
"""

import io
import lzma  # noqa: F401  (zipfile needs it for ZIP_LZMA; fail here, not in the middle of the file)
import zipfile
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parents[2] / "packages/mtl-core/src/mtl_core/datasets/files"
"""Where core keeps its data sets; all of them together stay below 10 MB."""


def write(
    name: str, arrays: dict[str, np.ndarray], text: str, folder: Path = FOLDER, packing: int = zipfile.ZIP_DEFLATED
) -> None:
    """Write `NAME.npz` and `NAME.txt`."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / f"{name}.npz", "w") as archive:
        for key, array in sorted(arrays.items()):
            member = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.compress_type = packing
            stream = io.BytesIO()
            np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(member, stream.getvalue(), compresslevel=9)
    (folder / f"{name}.txt").write_text(text.strip() + "\n", encoding="utf-8")
    print(f"{name}: {(folder / f'{name}.npz').stat().st_size / 1e6:.2f} MB in {len(arrays)} arrays")
