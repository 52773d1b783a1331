"""Taskonomy: views of rooms in buildings, five tasks from PNG files, and its tiny split of 35 buildings.

| Task | On disk | `metres` (default) | `adashare` | `dmtg` |
|---|---|---|---|---|
| `segmentation` | 8 bits, 0 unsure | 17 classes, 0 not labelled, `v − 1` | the same | 18 classes, 0 not labelled, `v` |
| `depth` | 16 bits, 1/512 m | `v / 512`, to 126 m | `log(1 + v) / log(2^16)`, v < 64,500 | `(v − 1500) / 1000`, v < 8,192 |
| `normals` | colours | `2 v / 255 − 1`, length 1 | the same | the same |
| `keypoints` | 16 bits | `v / 65535 / 0.005`, at most 1 | the same | `(v − 50) / 100` |
| `edges` | 16 bits | `v / 65535 / 0.08`, at most 1 | the same | `(v − 718) / 1070` |

In `dmtg` depth, keypoints and edges are standardised values: their tasks are regressions with NaN where nothing is known.
"""

from collections.abc import Iterable
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch

from mtl_core import losses
from mtl_core.datasets.readers import decoding
from mtl_core.datasets.readers.decoding import Malformed
from mtl_core.datasets.readers.reader import Files, Layout, Reader, chosen
from mtl_core.metrics import Regression
from mtl_core.task import Task, depth, edge_strength, keypoints, normals, segmentation
from mtl_core.types import Tensor

Norm: TypeAlias = Literal["metres", "adashare", "dmtg"]

LAYOUT = Layout(
    "Taskonomy",
    "rgb/BUILDING/point_0_view_0_domain_rgb.png\ndepth_zbuffer/BUILDING/point_0_view_0_domain_depth_zbuffer.png\n"
    "normal/...  segment_semantic/...  keypoints2d/...  edge_texture/...",
    "https://github.com/StanfordVL/taskonomy/tree/master/data",
)

DOMAINS = {
    "segmentation": "segment_semantic",
    "depth": "depth_zbuffer",
    "normals": "normal",
    "keypoints": "keypoints2d",
    "edges": "edge_texture",
}
"""Folder of each task."""

TINY = {
    "train": (
        "allensville", "beechwood", "benevolence", "coffeen", "cosmos", "forkland", "hanson", "hiteman", "klickitat", "lakeville",
        "leonardo", "lindenwood", "marstons", "merom", "mifflinburg", "newfields", "onaga", "pinesdale", "pomaria", "ranchester",
        "shelbyville", "stockman", "tolstoy", "wainscott", "woodbine",
    ),
    "val": ("collierville", "corozal", "darden", "markleeville", "wiconisco"),
    "test": ("ihlen", "mcdade", "muleshoe", "noxapater", "uvalda"),
}  # fmt: skip
"""Buildings of the tiny split."""

UNKNOWN = 64500
"""Depths from here on say that nothing was hit."""


def taskonomy(
    root: str | PathLike[str],
    part: str = "train",
    *,
    buildings: Iterable[str] | None = None,
    norm: Norm = "metres",
    tasks: Iterable[str] | None = None,
) -> Reader:
    """Read the views of some buildings; default those of a part of the tiny split.

    Buildings of the tiny split that are not there are passed over, unless none is.

    Args:
        root: The data set's folder.
        part: `train`, `val` or `test` of the tiny split.
        buildings: Names of buildings instead of the split's.
        norm: Units of depth, keypoints and edges, see the module's table.
        tasks: Some of `segmentation`, `depth`, `normals`, `keypoints` and `edges`; default all.

    Raises:
        FileNotFoundError: If a folder or every building is missing.
        ValueError: If an argument is not usable.
    """
    folder = Path(root)
    if norm not in ("metres", "adashare", "dmtg"):
        raise ValueError(f"`norm` must be metres, adashare or dmtg. Got `norm = {norm!r}`.")
    if buildings is None and part not in TINY:
        raise ValueError(f"`part` must be among {', '.join(TINY)}. Got `part = {part!r}`.")
    wanted = chosen(_tasks(norm), tasks)
    LAYOUT.require(folder, "rgb", *(DOMAINS[task.name] for task in wanted))
    asked = tuple(TINY[part] if buildings is None else buildings)
    there = [name for name in asked if (folder / "rgb" / name).is_dir()]
    if not there or (buildings is not None and len(there) < len(asked)):
        lacking = next(name for name in asked if name not in there)
        raise LAYOUT.lacks(folder, f"There is no {str(folder / 'rgb' / lacking)!r}.")
    end = "_domain_rgb.png"
    views = [f"{b}/{p.name.removesuffix(end)}" for b in there for p in sorted((folder / "rgb" / b).glob(f"*{end}"))]
    if not views:
        raise LAYOUT.lacks(folder, f"There is no '*{end}' in {', '.join(there)}.")
    targets = {
        t.name: Files(folder / DOMAINS[t.name], views, decoder(t.name, norm), _pattern(folder, t.name, views[0]))
        for t in wanted
    }
    images = Files(folder / "rgb", views, decoding.image, "{}" + end)
    return Reader(f"Taskonomy {part}", views, images, targets, wanted)


def decoder(task: str, norm: Norm) -> "partial[Tensor]":
    """What decodes the files of a task."""
    if task == "segmentation":
        return partial(decoding.label_image, shift=0 if norm == "dmtg" else -1, missing=0)
    if task == "normals":
        return partial(decoding.normals_image)
    if task == "depth":
        return partial(_depth, norm=norm)
    scale, standard = {"keypoints": (0.005, (50.0, 100.0)), "edges": (0.08, (718.0, 1070.0))}[task]
    return partial(_response, scale=scale, standard=standard if norm == "dmtg" else None)


def standardised(name: str, *, weight: float = 1.0) -> Task:
    """A task that estimates a standardised value at each pixel: L1; mean absolute error. NaN where nothing is known."""
    return Task(name, 1, losses.regression_l1, _regression, dense=True, weight=weight, kind="standard deviations")


def _regression() -> tuple[Regression]:
    return (Regression(),)


def _tasks(norm: Norm) -> dict[str, Task]:
    plain = {"depth": depth, "keypoints": keypoints, "edges": edge_strength}
    others = {name: (standardised if norm == "dmtg" else make)(name) for name, make in plain.items()}
    classes = 18 if norm == "dmtg" else 17
    known = {"segmentation": segmentation("segmentation", classes), "normals": normals("normals"), **others}
    return {name: known[name] for name in DOMAINS}


def _pattern(root: Path, task: str, view: str) -> str:
    """Names of the files of a task; some releases write `segmentsemantic` in them."""
    domain = DOMAINS[task]
    spelled = [domain, domain.replace("_", "")]
    there = [name for name in spelled if (root / domain / f"{view}_domain_{name}.png").exists()]
    return f"{{}}_domain_{(there or spelled)[0]}.png"


def _sixteen(path: Path) -> np.ndarray:
    found = decoding.picture(path, "I;16", "I", "I;16B", "L", "RGB", "RGBA", "P")
    if found.ndim != 2 or found.dtype == np.uint8:
        raise Malformed(path, f"must hold 16 bits in one channel. Got {found.dtype}, {list(found.shape)}.")
    return found.astype(np.float32)


def _depth(path: Path, norm: Norm) -> Tensor:
    raw = _sixteen(path)
    if norm == "dmtg":
        return torch.from_numpy(np.where((raw > 0) & (raw < 8192), (raw - 1500) / 1000, np.nan).astype(np.float32))[
            None
        ]
    values = np.log1p(raw) / np.log(2.0**16) if norm == "adashare" else raw / 512
    return torch.from_numpy(np.where(raw < UNKNOWN, values, 0).astype(np.float32))[None]


def _response(path: Path, scale: float, standard: tuple[float, float] | None) -> Tensor:
    raw = _sixteen(path)
    values = (raw - standard[0]) / standard[1] if standard else np.clip(raw / 65535 / scale, 0, 1)
    return torch.from_numpy(values.astype(np.float32))[None]
