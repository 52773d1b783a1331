"""NYU-v2: indoor scenes, 795 to train and 654 to test, in the three layouts that are in use.

| Layout | Classes | Normals | Depth | Edges | Size |
|---|---|---|---|---|---|
| `npy` (MTAN, LibMTL) | 13 | floats | metres | – | 288×384 |
| `adashare` | 40 | colours, `v / 127.5 − 1` | metres | – | 480×640 |
| `nyud_mt` (ASTMT) | 40 (0 on disk is not labelled) | floats | metres | 0 or 1 | 480×640 |

The released loader of AdaShare normalises the colours of normals without making them signed, so that all angles are small;
`normal_encoding="raw_uint8"` does the same, only to compare with tables made that way.
"""

from collections.abc import Iterable
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch

from mtl_core.datasets.readers import decoding
from mtl_core.datasets.readers.listing import listed, numbered
from mtl_core.datasets.readers.reader import Files, Layout, Reader, chosen
from mtl_core.task import depth, edges, normals, segmentation
from mtl_core.types import Tensor

Kind: TypeAlias = Literal["npy", "adashare", "nyud_mt"]

NPY = Layout(
    "NYU-v2 (npy)",
    "train/image/0.npy  label/0.npy  depth/0.npy  normal/0.npy\nval/image/0.npy  ...",
    "the authors of MTAN, https://github.com/lorenmt/mtan",
)
ADASHARE = Layout(
    "NYU-v2 (AdaShare)",
    "nyu_v2_3task.json  {part: [[image, segmentation, normals, depth], ...]}\nthe files that it names",
    "the authors of AdaShare, https://github.com/sunxm2357/AdaShare",
)
NYUD_MT = Layout(
    "NYUD-MT",
    "gt_sets/train.txt  val.txt\nimages/ID.jpg\nsegmentation/ID.png\ndepth/ID.npy\nnormals/ID.npy\nedge/ID.npy or .png",
    "the authors of MTI-Net, https://github.com/SimonVandenhende/Multi-Task-Learning-PyTorch",
)

COUNTS = {"train": 795, "val": 654, "test": 654}


def nyuv2(
    root: str | PathLike[str],
    part: str = "train",
    *,
    layout: Kind | None = None,
    classes: int | None = None,
    tasks: Iterable[str] | None = None,
    normal_encoding: Literal["signed", "raw_uint8"] = "signed",
) -> Reader:
    """Read one part of NYU-v2.

    Args:
        root: The data set's folder.
        part: `train`, `val` or (where the layout has it) `test`.
        layout: `npy`, `adashare` or `nyud_mt`; default: the one that is there.
        classes: Classes of the segmentation; default 13 for `npy`, else 40.
        tasks: Some of `segmentation`, `depth`, `normals` and (`nyud_mt`) `edges`; default all.
        normal_encoding: `raw_uint8` leaves normals in one octant, as AdaShare's loader does (`adashare` only).

    Raises:
        FileNotFoundError: If the folder or a part of it is missing.
        ValueError: If an argument is not usable or a list is malformed.
    """
    folder = Path(root)
    kind = layout or _found(folder)
    if kind not in ("npy", "adashare", "nyud_mt"):
        raise ValueError(f"`layout` must be npy, adashare or nyud_mt. Got `layout = {layout!r}`.")
    if normal_encoding not in ("signed", "raw_uint8"):
        raise ValueError(f"`normal_encoding` must be signed or raw_uint8. Got `normal_encoding = {normal_encoding!r}`.")
    known = {
        "segmentation": segmentation("segmentation", classes or (13 if kind == "npy" else 40)),
        "depth": depth("depth"),
        "normals": normals("normals"),
    } | ({"edges": edges("edges")} if kind == "nyud_mt" else {})
    wanted = chosen(known, tasks)
    names, image, targets = {"npy": _npy, "adashare": _adashare, "nyud_mt": _nyud_mt}[kind](folder, part)
    if normal_encoding == "raw_uint8":
        if kind != "adashare":
            raise ValueError(f"`normal_encoding` must be signed in the layout `{kind}`. Got `raw_uint8`.")
        targets["normals"] = Files(folder, targets["normals"].names, raw_normals)
    return Reader(f"NYU-v2 {part}", names, image, targets, wanted)


def raw_normals(path: Path) -> Tensor:
    """Colours of normals made one long as they are, in one octant; white is not labelled."""
    pixels = decoding.picture(path, "RGB").astype(np.float32)
    length = np.sqrt(np.square(pixels).sum(-1, keepdims=True))
    known = (length > 0) & (pixels != 255).any(-1, keepdims=True)
    return torch.from_numpy(np.where(known, pixels / np.where(known, length, 1), 0)).permute(2, 0, 1).contiguous()


def _found(root: Path) -> Kind:
    if (root / "nyu_v2_3task.json").exists():
        return "adashare"
    return "nyud_mt" if (root / "gt_sets").exists() else "npy"


def _npy(root: Path, part: str) -> Any:
    names = numbered(NPY, root, part, "image", "label", "depth", "normal")
    folder = root / part

    def files(name: str, decode: Any) -> Files:
        return Files(folder / name, names, decode, "{}.npy")

    targets = {
        "segmentation": files("label", decoding.label_array),
        "depth": files("depth", decoding.map_array),
        "normals": files("normal", decoding.normals_array),
    }
    return names, files("image", decoding.image_array), targets


def _adashare(root: Path, part: str) -> Any:
    ADASHARE.require(root, "nyu_v2_3task.json")
    images, labels, directions, distances = listed(root / "nyu_v2_3task.json", part, 4)
    targets = {
        "segmentation": Files(root, labels, decoding.label_image),
        "depth": Files(root, distances, decoding.map_array),
        "normals": Files(root, directions, decoding.normals_image),
    }
    return images, Files(root, images, decoding.image), targets


def _nyud_mt(root: Path, part: str) -> Any:
    NYUD_MT.require(root, f"gt_sets/{part}.txt", "images", "segmentation", "depth", "normals", "edge")
    names = decoding.lines(root / "gt_sets" / f"{part}.txt")
    suffix = ".npy" if (root / "edge" / f"{names[0]}.npy").exists() else ".png"
    # Original labels are 0 to 40, 0 where nothing is labelled.
    labels = partial(decoding.label_image, shift=-1, missing=0)
    targets = {
        "segmentation": Files(root / "segmentation", names, labels, "{}.png"),
        "depth": Files(root / "depth", names, decoding.map_array, "{}.npy"),
        "normals": Files(root / "normals", names, decoding.normals_array, "{}.npy"),
        "edges": Files(root / "edge", names, decoding.binary, "{}" + suffix),
    }
    return names, Files(root / "images", names, decoding.image, "{}.jpg"), targets
