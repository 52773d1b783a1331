"""Cityscapes: street scenes, 2,975 to train and 500 to validate, segmentation and disparity, in two layouts.

| Layout | Classes | Size |
|---|---|---|
| `npy` (MTAN, LibMTL) | 7 (or what `label` holds) | 128×256 |
| `adashare` | 2, 7 or 19 | 256×512 |

What both call depth is a disparity, an inverse depth: a zoom multiplies it (`augmentation.zoom(inverse=("depth",))`).
"""

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Literal, TypeAlias

from mtl_core.datasets.readers import decoding
from mtl_core.datasets.readers.listing import listed, numbered
from mtl_core.datasets.readers.reader import Files, Layout, Reader, chosen
from mtl_core.task import depth, segmentation

Kind: TypeAlias = Literal["npy", "adashare"]

NPY = Layout(
    "Cityscapes (npy)",
    "train/image/0.npy  label/0.npy  depth/0.npy\nval/image/0.npy  ...",
    "the authors of MTAN, https://github.com/lorenmt/mtan",
)
ADASHARE = Layout(
    "Cityscapes (AdaShare)",
    "cityscape.json  {part: [[image, depth, label of 2, of 7, of 19 classes], ...]}\nthe files that it names",
    "the authors of AdaShare, https://github.com/sunxm2357/AdaShare",
)

COUNTS = {"train": 2975, "val": 500, "test": 500}


def cityscapes(
    root: str | PathLike[str],
    part: str = "train",
    *,
    layout: Kind | None = None,
    classes: int | None = None,
    tasks: Iterable[str] | None = None,
) -> Reader:
    """Read one part of Cityscapes.

    Args:
        root: The data set's folder.
        part: `train`, `val` or (where the layout has it) `test`.
        layout: `npy` or `adashare`; default: the one that is there.
        classes: Classes of the segmentation; default 7 for `npy`, 19 for `adashare`.
        tasks: Some of `segmentation` and `depth`; default both.

    Raises:
        FileNotFoundError: If the folder or a part of it is missing.
        ValueError: If an argument is not usable or the list is malformed.
    """
    folder = Path(root)
    kind = layout or ("adashare" if (folder / "cityscape.json").exists() else "npy")
    if kind not in ("npy", "adashare"):
        raise ValueError(f"`layout` must be npy or adashare. Got `layout = {layout!r}`.")
    several = classes or (7 if kind == "npy" else 19)
    wanted = chosen({"segmentation": segmentation("segmentation", several), "depth": depth("depth")}, tasks)
    if kind == "npy":
        names = numbered(NPY, folder, part, "image", "label", "depth")
        images, label, distance = (
            Files(folder / part / kind, names, decode, "{}.npy") for kind, decode in DECODED.items()
        )
    else:
        if several not in (2, 7, 19):
            raise ValueError(f"`classes` must be 2, 7 or 19 in the layout `adashare`. Got `classes = {several}`.")
        ADASHARE.require(folder, "cityscape.json")
        names, distances, *labels = listed(folder / "cityscape.json", part, 5)
        images = Files(folder, names, decoding.image_array)
        label = Files(folder, labels[(2, 7, 19).index(several)], decoding.label_array)
        distance = Files(folder, distances, decoding.map_array)
    return Reader(f"Cityscapes {part}", names, images, {"segmentation": label, "depth": distance}, wanted)


DECODED = {"image": decoding.image_array, "label": decoding.label_array, "depth": decoding.map_array}
"""Folders of a part in the layout `npy`."""
