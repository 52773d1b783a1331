"""Writers of indoor and street scenes: NYU-v2 and Cityscapes in their layouts."""

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

import numpy as np

from mtl_core.testing.layouts.truth import SIZE, colours_of, save, scene, write


def nyuv2(
    root: str | PathLike[str],
    layout: str = "npy",
    parts: Mapping[str, int] | None = None,
    *,
    size: tuple[int, int] = SIZE,
) -> Path:
    """Write NYU-v2 in one of its layouts.

    Args:
        root: The folder.
        layout: `npy`, `adashare` or `nyud_mt`.
        parts: Samples of each part; default 3 to train, 2 to validate. Scene `100 * p + i` is sample `i` of part `p`.
        size: Height and width.
    """
    folder = Path(root)
    wanted = dict(parts or {"train": 3, "val": 2})
    listed: dict[str, list[list[str]]] = {part: [] for part in wanted}
    for number, (part, count) in enumerate(wanted.items()):
        for index in range(count):
            truth = scene(100 * number + index, classes=13 if layout == "npy" else 40, size=size)
            if layout == "npy":
                _npy(folder / part, str(index), truth, "label")
                save(folder / part / "normal" / f"{index}.npy", truth["normals"])
            elif layout == "adashare":
                name = f"{part}{index}"
                save(folder / "img" / f"{name}.png", truth["image"])
                save(folder / "seg" / f"{name}.png", truth["segmentation"].astype(np.uint8))
                save(folder / "normal_mask" / f"{name}.png", colours_of(truth["normals"]))
                save(folder / "depth" / f"{name}.npy", truth["depth"])
                names = [f"img/{name}.png", f"seg/{name}.png", f"normal_mask/{name}.png", f"depth/{name}.npy"]
                listed[part].append(names)
            else:
                name = f"{part}_{index:04d}"
                _nyud_mt(folder, name, truth)
                listed[part].append([name])
    if layout == "adashare":
        write(folder / "nyu_v2_3task.json", json.dumps(listed))
    elif layout == "nyud_mt":
        for part, names_of in listed.items():
            write(folder / "gt_sets" / f"{part}.txt", "".join(f"{name}\n" for (name,) in names_of))
    return folder


def cityscapes(
    root: str | PathLike[str],
    layout: str = "npy",
    parts: Mapping[str, int] | None = None,
    classes: int = 7,
    *,
    size: tuple[int, int] = SIZE,
) -> Path:
    """Write Cityscapes in one of its layouts; what `scene` calls depth is stored as disparity.

    Args:
        root: The folder.
        layout: `npy` or `adashare`.
        parts: Samples of each part; default 3 to train, 2 to validate.
        classes: Classes of `label` (`npy`); `adashare` has maps of 2, 7 and 19 classes.
        size: Height and width.
    """
    folder = Path(root)
    listed: dict[str, list[list[str]]] = {}
    for number, (part, count) in enumerate((parts or {"train": 3, "val": 2}).items()):
        listed[part] = []
        for index in range(count):
            if layout == "npy":
                _npy(folder / part, str(index), scene(100 * number + index, classes=classes, size=size), "label")
                continue
            names = [f"{kind}/{part}{index}.npy" for kind in ("img", "depth", "label_2", "label_7", "label_19")]
            truth = scene(100 * number + index, classes=19, size=size)
            save(folder / names[0], truth["image"] / 255)
            save(folder / names[1], truth["depth"])
            for name, several in zip(names[2:], (2, 7, 19), strict=True):
                known = truth["segmentation"]
                save(folder / name, np.where(known == 255, -1, known % several))
            listed[part].append(names)
    if layout != "npy":
        write(folder / "cityscape.json", json.dumps(listed))
    return folder


def _npy(folder: Path, name: str, truth: Mapping[str, np.ndarray], label: str) -> None:
    known = truth["segmentation"]
    save(folder / "image" / f"{name}.npy", truth["image"] / 255)
    save(folder / label / f"{name}.npy", np.where(known == 255, -1, known).astype(np.float64))
    save(folder / "depth" / f"{name}.npy", truth["depth"][..., None])


def _nyud_mt(folder: Path, name: str, truth: Mapping[str, np.ndarray]) -> None:
    known = truth["segmentation"]
    save(folder / "images" / f"{name}.jpg", truth["image"])
    save(folder / "segmentation" / f"{name}.png", np.where(known == 255, 0, known + 1).astype(np.uint8))
    save(folder / "depth" / f"{name}.npy", truth["depth"])
    save(folder / "normals" / f"{name}.npy", truth["normals"])
    save(folder / "edge" / f"{name}.npy", truth["edges"])
