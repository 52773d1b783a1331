"""PASCAL-Context with five tasks, in the layout PASCAL_MT of ASTMT: 4,998 images to train, 5,105 to validate.

| Task | On disk | Not labelled |
|---|---|---|
| `segmentation` | 21 classes, `semseg/VOC12` before `semseg/pascal-context` | 255 |
| `human_parts` | 6 parts and the background; an image without people is all background, and counts | – |
| `normals` | colours, `2 v / 255 − 1`, predicted by another network; y points down | white, or not a unit vector |
| `saliency` | above one half, predicted likewise | – |
| `edges` | where the label map of 459 classes changes | – |

`.mat` files need scipy (`pip install mtl-core[datasets]`).
"""

from collections.abc import Collection, Iterable
from functools import partial
from os import PathLike
from pathlib import Path

import numpy as np
import torch

from mtl_core.datasets.readers import decoding
from mtl_core.datasets.readers.decoding import Malformed
from mtl_core.datasets.readers.reader import Column, Files, Layout, Reader, chosen
from mtl_core.task import edges, normals, saliency, segmentation
from mtl_core.types import Tensor

LAYOUT = Layout(
    "PASCAL-Context (PASCAL_MT)",
    "ImageSets/Context/train.txt  val.txt\nJPEGImages/ID.jpg\nsemseg/VOC12/ID.png or semseg/pascal-context/ID.png\n"
    "human_parts/ID.mat\nnormals_distill/ID.png\nsal_distill/ID.png\npascal-context/trainval/ID.mat",
    "the authors of ASTMT, https://github.com/facebookresearch/astmt",
)
COUNTS = {"train": 4998, "val": 5105}

FOLDERS = {
    "segmentation": "semseg",
    "human_parts": "human_parts",
    "normals": "normals_distill",
    "saliency": "sal_distill",
    "edges": "pascal-context/trainval",
}
"""Folder of each task."""

PERSON = 15
"""Number of the class whose parts count."""

BODY = {
    **dict.fromkeys(("hair", "head", "lear", "lebrow", "leye", "mouth", "nose", "rear", "rebrow", "reye"), 1),
    **dict.fromkeys(("neck", "torso"), 2),
    **dict.fromkeys(("luarm", "ruarm"), 3),
    **dict.fromkeys(("lhand", "llarm", "rhand", "rlarm"), 4),
    **dict.fromkeys(("luleg", "ruleg"), 5),
    **dict.fromkeys(("lfoot", "llleg", "rfoot", "rlleg"), 6),
}
"""Class of each annotated part: head, torso, upper arms, lower arms, upper legs, lower legs."""


def pascal_context(
    root: str | PathLike[str],
    part: str = "train",
    *,
    tasks: Iterable[str] | None = None,
    normal_classes: Collection[int] | None = None,
) -> Reader:
    """Read one part of PASCAL-Context.

    Args:
        root: The folder `PASCAL_MT`.
        part: `train` or `val`, a list in `ImageSets/Context`.
        tasks: Some of `segmentation`, `human_parts`, `normals`, `saliency` and `edges`; default all.
        normal_classes: Normals count only where the label map of 459 classes has one of these; default everywhere.

    Raises:
        FileNotFoundError: If a folder or the list is missing.
        ValueError: If an argument is not usable or the list is empty.
    """
    folder = Path(root)
    known = {
        "segmentation": segmentation("segmentation", 21),
        "human_parts": segmentation("human_parts", 7),
        "normals": normals("normals"),
        "saliency": saliency("saliency"),
        "edges": edges("edges", pos_weight=0.95),
    }
    wanted = chosen(known, tasks)
    maps = FOLDERS["edges"]
    needed = [FOLDERS[task.name] for task in wanted] + ([maps] if normal_classes is not None else [])
    LAYOUT.require(folder, f"ImageSets/Context/{part}.txt", "JPEGImages", *needed)
    names = decoding.lines(folder / "ImageSets" / "Context" / f"{part}.txt")
    directions = (
        partial(trusted, maps=folder / maps, classes=frozenset(normal_classes or ()))
        if normal_classes
        else decoding.normals_image
    )
    targets: dict[str, Column] = {
        "segmentation": Either(
            Files(folder / "semseg/VOC12", names, decoding.label_image, "{}.png"), folder / "semseg/pascal-context"
        ),
        "human_parts": Files(folder / "human_parts", names, partial(body, images=folder / "JPEGImages"), "{}.mat"),
        "normals": Files(folder / "normals_distill", names, directions, "{}.png"),
        "saliency": Files(folder / "sal_distill", names, decoding.binary, "{}.png"),
        "edges": Files(folder / maps, names, borders, "{}.mat"),
    }
    images = Files(folder / "JPEGImages", names, decoding.image, "{}.jpg")
    return Reader(f"PASCAL-Context {part}", names, images, {t.name: targets[t.name] for t in wanted}, wanted)


class Either:
    """Files that lie in one folder or, where they do not, in another.

    Args:
        first: Looked at first.
        second: The other folder.
    """

    def __init__(self, first: Files, second: Path) -> None:
        self._first, self._second = first, Files(second, first.names, first.decode, first.pattern)

    def place(self, row: int) -> Path:
        """The file that is there."""
        first = self._first.place(row)
        return first if first.exists() else self._second.place(row)

    def read(self, row: int) -> Tensor | None:
        """The decoded file."""
        return self._first.decode(self.place(row))

    def described(self) -> bytes:
        """Pattern and names."""
        return self._first.described()


def body(path: Path, images: Path) -> Tensor:
    """The parts of all people in an image; all 0 where there are none.

    A file holds `anno` with the objects of an image: class, its number, the mask, and the parts with their names and masks.

    Args:
        path: The file.
        images: Folder of the images: one without any object says nowhere else how large it is.
    """
    found: np.ndarray | None = None
    anno = decoding.mat(path, "anno")
    try:
        objects = np.ravel(anno["objects"][0, 0]) if anno.dtype.names else np.ravel(anno[0, 0][1])
        for thing in objects:
            _, number, mask, parts = (thing[k] for k in range(4))
            if found is None:
                rows, columns = np.shape(mask)
                found = np.zeros((rows, columns), np.int64)
            if int(np.ravel(number)[0]) != PERSON:
                continue
            for piece in np.ravel(parts):
                name, shape = str(np.ravel(piece[0])[0]), np.asarray(piece[1]).astype(bool)
                found[shape] = BODY[name]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise Malformed(
            path, f"must hold objects with parts as PASCAL-Part has them. It does not: {error!r}"
        ) from error
    if found is None:
        found = np.zeros(decoding.picture(images / f"{path.stem}.jpg", "RGB").shape[:2], np.int64)
    return torch.from_numpy(found)


def borders(path: Path) -> Tensor:
    """1 where a pixel of the label map differs from the mean of its four neighbours, else 0; not thinned."""
    labels = _label_map(path).astype(np.float64)
    wide = np.pad(labels, 1, mode="edge")
    laplacian = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:] - 4 * labels
    return torch.from_numpy((laplacian != 0).astype(np.float32))[None]


def trusted(path: Path, maps: Path, classes: Collection[int]) -> Tensor:
    """Normals where the label map has one of the classes."""
    labels = _label_map(maps / f"{path.stem}.mat")
    normals_there = decoding.normals_image(path)
    if labels.shape != normals_there.shape[-2:]:
        raise Malformed(
            path, f"must be as large as its label map. Got {list(labels.shape)}, {list(normals_there.shape[-2:])}."
        )
    return normals_there * torch.from_numpy(np.isin(labels, list(classes)))


def _label_map(path: Path) -> np.ndarray:
    return decoding.checked(path, np.asarray(decoding.mat(path, "LabelMap")), "iuf", "[h, w]")
