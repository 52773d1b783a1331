"""CelebA and CelebAMask-HQ: faces with 40 attributes; the second has a mask for each part of a face.

Attributes are −1 and 1 on disk, 0 and 1 here. A label map is merged from the masks in the order of `PARTS`: what comes later
lies on top, and a part that a face does not have has no file.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

import numpy as np
import torch

from mtl_core.datasets.readers import decoding
from mtl_core.datasets.readers.decoding import Malformed
from mtl_core.datasets.readers.reader import Column, Files, Layout, Reader, Values, chosen
from mtl_core.task import Task, attribute, segmentation
from mtl_core.types import Tensor

CELEBA = Layout(
    "CelebA",
    "img_align_celeba/000001.jpg\nlist_attr_celeba.txt\nlist_eval_partition.txt",
    "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
)
MASKS = Layout(
    "CelebAMask-HQ",
    "CelebA-HQ-img/0.jpg\nCelebAMask-HQ-mask-anno/0/00000_skin.png\nCelebAMask-HQ-attribute-anno.txt\n"
    "CelebA-HQ-to-CelebA-mapping.txt",
    "https://github.com/switchablenorms/CelebAMask-HQ",
)
LOMT = Layout(
    "CelebAMask-HQ (LOMT)",
    "CelebA-HQ-img/0.jpg\nCelebA-HQ-segmask/00000_mask.npy\nCelebAMask-HQ-attribute-anno.txt\n"
    "a JSON file {part: [numbers of images]}, given as `split`",
    "masks and split are the authors' own, https://github.com/ricupa/Layer-optimized-multi-task-model",
)

NINE = (
    "5_o_Clock_Shadow", "Black_Hair", "Blond_Hair", "Brown_Hair", "Goatee", "Mustache", "No_Beard", "Rosy_Cheeks", "Wearing_Hat",
)  # fmt: skip
"""The attributes of DMTG's nine tasks, in its order."""

SIX = ("Male", "Smiling", "Big_Lips", "High_Cheekbones", "Wearing_Lipstick", "Arched_Eyebrows")
"""The attributes of LOMT's tasks on CelebAMask-HQ ("bushy eyebrows" in the paper is the last in its code)."""

PARTS = (
    "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear", "mouth", "u_lip", "l_lip", "hair", "hat",
    "ear_r", "neck_l", "neck", "cloth",
)  # fmt: skip
"""Class `k + 1` is part `k`; class 0 is the background."""

LOMT_PARTS = {"skin": 2, "hair": 1}
"""Parts and classes of LOMT's three-class map, in the order of merging."""

CODES = {"train": 0, "val": 1, "test": 2}
COUNTS = {"train": 162770, "val": 19867, "test": 19962}
MASK_COUNTS = {"train": 24183, "val": 2993, "test": 2824}
BOUNDS = {"train": (0, 162771), "val": (162771, 182638), "test": (182638, 2**31)}
"""Numbers in CelebA of the images of CelebAMask-HQ's official parts."""

T = TypeVar("T")
Classes: TypeAlias = Literal[3, 19]


def celeba(root: str | PathLike[str], part: str = "train", *, tasks: Iterable[str] | None = None) -> Reader:
    """Read one of the official parts of CelebA (162,770, 19,867 and 19,962 images).

    Args:
        root: The data set's folder.
        part: `train`, `val` or `test`.
        tasks: Some of the 40 attributes, by their names in `list_attr_celeba.txt`; default all.

    Raises:
        FileNotFoundError: If a part of the folder is missing.
        ValueError: If an argument is not usable or a list is malformed.
    """
    folder = Path(root)
    CELEBA.require(folder, "img_align_celeba", "list_attr_celeba.txt", "list_eval_partition.txt")
    code = _known(part, CODES)
    names, rows, table = attributes(folder / "list_attr_celeba.txt")
    listed = folder / "list_eval_partition.txt"
    mine = []
    for line in decoding.lines(listed):
        name, _, number = line.partition(" ")
        if number.strip() not in ("0", "1", "2"):
            raise Malformed(listed, f"must hold a file and 0, 1 or 2 in each line. Got {line[:60]!r}.")
        if int(number) == code:
            mine.append(name)
    places = {name: place for place, name in enumerate(rows)}
    lacking = [name for name in mine if name not in places]
    if lacking:
        raise Malformed(
            folder / "list_attr_celeba.txt", f"must hold every image of the partition. It lacks {lacking[0]!r}."
        )
    wanted, columns = _attributes(folder / "list_attr_celeba.txt", names, table[[places[name] for name in mine]], tasks)
    return Reader(f"CelebA {part}", mine, Files(folder / "img_align_celeba", mine, decoding.image), columns, wanted)


def celebamask(
    root: str | PathLike[str],
    part: str = "train",
    *,
    classes: Classes = 19,
    tasks: Iterable[str] | None = None,
    layout: Literal["official", "lomt"] = "official",
    split: str | PathLike[str] | None = None,
) -> Reader:
    """Read one part of CelebAMask-HQ.

    Args:
        root: The data set's folder.
        part: `train`, `val` or `test`.
        classes: 19 (the background and all parts), or 3: the background, hair and skin, as LOMT has them.
        tasks: Some of `segmentation` and the 40 attributes; default all.
        layout: `official`, or `lomt`: the three-class maps are `.npy` files, made once and not merged from the masks.
        split: A JSON file `{part: [numbers or file names of images]}`; without it the official parts (24,183, 2,993 and
            2,824 images), which the mapping to CelebA decides.

    Raises:
        FileNotFoundError: If a part of the folder is missing.
        ValueError: If an argument is not usable or a list is malformed.
    """
    folder, masks = Path(root), "CelebAMask-HQ-mask-anno" if layout == "official" else "CelebA-HQ-segmask"
    if layout not in ("official", "lomt"):
        raise ValueError(f"`layout` must be official or lomt. Got `layout = {layout!r}`.")
    if classes not in ((3, 19) if layout == "official" else (3,)):
        rule = "3 or 19" if layout == "official" else "3 in the layout `lomt`"
        raise ValueError(f"`classes` must be {rule}. Got `classes = {classes}`.")
    needed = ["CelebA-HQ-img", masks, "CelebAMask-HQ-attribute-anno.txt"]
    (MASKS if layout == "official" else LOMT).require(
        folder, *needed, *([] if split else ["CelebA-HQ-to-CelebA-mapping.txt"])
    )
    numbers = _split(Path(split), part) if split else _mapped(folder / "CelebA-HQ-to-CelebA-mapping.txt", part)
    listed = folder / "CelebAMask-HQ-attribute-anno.txt"
    names, rows, table = attributes(listed)
    places = {name: place for place, name in enumerate(rows)}
    lacking = [number for number in numbers if f"{number}.jpg" not in places]
    if lacking:
        raise Malformed(listed, f"must hold every image of the part. It lacks '{lacking[0]}.jpg'.")
    table = table[[places[f"{number}.jpg"] for number in numbers]]
    wanted, columns = _attributes(listed, names, table, tasks, {"segmentation": segmentation("segmentation", classes)})
    samples = [str(number) for number in numbers]
    if layout == "official":
        stems = [f"{number // 2000}/{number:05d}" for number in numbers]
        merge = partial(merged, classes=({p: k + 1 for k, p in enumerate(PARTS)} if classes == 19 else LOMT_PARTS))
        columns["segmentation"] = Files(folder / masks, stems, merge)
    else:
        stems = [f"{number:05d}" for number in numbers]
        columns["segmentation"] = Files(folder / masks, stems, decoding.label_array, "{}_mask.npy")
    images = Files(folder / "CelebA-HQ-img", samples, face, "{}.jpg")
    return Reader(f"CelebAMask-HQ {part}", samples, images, columns, wanted)


def face(path: Path) -> Tensor:
    """An image of 1024², at the 512² that the masks have."""
    pixels = decoding.picture(path, "RGB")
    if pixels.shape[0] % 2 or pixels.shape[1] % 2:
        raise Malformed(path, f"must have twice the masks' height and width. Got {list(pixels.shape[:2])}.")
    halves = pixels.astype(np.float32).reshape(pixels.shape[0] // 2, 2, pixels.shape[1] // 2, 2, 3).mean((1, 3))
    return decoding.planes(halves)


def merged(stem: Path, classes: dict[str, int]) -> Tensor:
    """A label map from the masks of a face, `STEM_PART.png`; later parts lie on those before.

    Args:
        stem: Path of the masks without the part's name.
        classes: Class of each part, in the order of merging.
    """
    found: np.ndarray | None = None
    for part, number in classes.items():
        path = stem.with_name(f"{stem.name}_{part}.png")
        if not path.exists():
            continue
        mask = decoding.picture(path, "L") > 127
        if found is None:
            found = np.zeros(mask.shape, np.int64)
        if mask.shape != found.shape:
            raise Malformed(path, f"must be as large as the other masks. Got {list(found.shape)}, {list(mask.shape)}.")
        found[mask] = number
    if found is None:
        raise FileNotFoundError(2, "no mask", str(stem) + "_*.png")
    return torch.from_numpy(found)


def attributes(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    """A list of attributes: the number of images, the names, then a file and −1 or 1 for each name in every line.

    Returns:
        Names of the attributes, of the files, and a table of 0 and 1.

    Raises:
        Malformed: If a line is not as it should be.
    """
    found = decoding.lines(path)
    if len(found) < 3 or not found[0].isdigit() or int(found[0]) != len(found) - 2:
        raise Malformed(
            path, f"must begin with the number of its images. Got {found[0][:20]!r} before {len(found) - 2} lines."
        )
    names, files = found[1].split(), []
    table = np.empty((len(found) - 2, len(names)), np.float32)
    for row, line in enumerate(found[2:]):
        file, *values = line.split()
        if len(values) != len(names) or not set(values) <= {"-1", "1"}:
            raise Malformed(path, f"must hold a file and {len(names)} times −1 or 1 in each line. Got {line[:40]!r}.")
        files.append(file)
        table[row] = [value == "1" for value in values]
    return names, files, table


def _attributes(
    path: Path,
    names: Sequence[str],
    table: np.ndarray,
    tasks: Iterable[str] | None,
    others: dict[str, Task] | None = None,
) -> tuple[list[Task], dict[str, Column]]:
    known = (others or {}) | {name: attribute(name) for name in names}
    wanted = chosen(known, tasks)
    columns: dict[str, Column] = {}
    for task in wanted:
        if task.name in names:
            columns[task.name] = Values(path, np.ascontiguousarray(table[:, names.index(task.name)]))
    return wanted, columns


def _mapped(path: Path, part: str) -> list[int]:
    """Numbers of the images whose number in CelebA lies in the official part."""
    low, high = _known(part, BOUNDS)
    found = []
    for line in decoding.lines(path)[1:]:  # the first names the columns
        words = line.split()
        if len(words) != 3 or not (words[0].isdigit() and words[1].isdigit()):
            raise Malformed(path, f"must hold two numbers and a file in each line. Got {line[:60]!r}.")
        if low <= int(words[1]) < high:
            found.append(int(words[0]))
    return found


def _split(path: Path, part: str) -> list[int]:
    try:
        table = decoding.table(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"`split` must be a JSON file. There is no {str(path)!r}.") from None
    names = _known(part, table)
    stems = [str(name).rpartition("/")[2].partition(".")[0] for name in names] if isinstance(names, list) else []
    if not stems or not all(stem.isdigit() for stem in stems):
        raise Malformed(path, f"must hold a list of images' numbers under {part!r}. Got {json.dumps(names)[:40]}.")
    return [int(stem) for stem in stems]


def _known(part: str, table: Mapping[str, T]) -> T:
    if part not in table:
        raise ValueError(f"`part` must be among {', '.join(table)}. Got `part = {part!r}`.")
    return table[part]
