"""`rooms`: indoor scenes with true labels for twelve attributes and five maps. Rendered; not photographs, not NYU-v2.

400 images of 48×64 pixels, ray-cast from furniture models of real size: 260 to train, 40 to validate, 100 to test. The
furniture models of the test part occur in no other part.

| Task | What | Not labelled |
|---|---|---|
| `segmentation` | 13 classes, `CLASSES` | 255 |
| `depth` | metres along the axis of view | 0 |
| `normals` | unit vectors in the camera frame: x right, y up, z towards the camera | 0-vector |
| `edges` | 1 on the nearer side of a border between two things, one pixel wide | NaN |
| `keypoints` | how much like a corner, 0 to 1 (of the image without noise) | NaN |
| `ATTRIBUTES` | 0 or 1: a thing of that kind covers 1 % of the image, and the like | NaN |

All pixels are labelled. The models' authors and licences (CC0, CC BY 3.0) are in `files/rooms.txt`.
"""

from collections.abc import Callable, Iterable
from functools import partial
from os import PathLike
from pathlib import Path

import numpy as np

from mtl_core.data import MultiTaskData
from mtl_core.datasets import embedded
from mtl_core.datasets.arrays import Arrays, arrays
from mtl_core.datasets.augmentation import augment as mirror_and_jitter
from mtl_core.task import Task, attribute, depth, edges, keypoints, normals, segmentation

CLASSES = (
    "wall", "floor", "ceiling", "bed", "chair", "sofa", "table", "furniture", "books", "screen", "picture", "window", "objects",
)  # fmt: skip

ATTRIBUTES = (
    "has_bed", "has_sofa", "has_table", "has_window", "has_picture", "has_screen", "has_books", "sees_ceiling",
    "three_chairs", "large_room", "wooden_floor", "near_object",
)  # fmt: skip
"""`large_room`: more than 22 m²; `near_object`: furniture nearer than 1.5 m covers 5 % of the image."""

TASKS: dict[str, Callable[[str], Task]] = {
    "segmentation": partial(segmentation, classes=len(CLASSES)),
    "depth": depth,
    "normals": normals,
    "edges": edges,
    "keypoints": keypoints,
    **dict.fromkeys(ATTRIBUTES, attribute),
}


def rooms(
    tasks: Iterable[str] = ("segmentation", "depth", "normals"),
    *,
    augment: bool = False,
    path: str | PathLike[str] | None = None,
) -> MultiTaskData:
    """Indoor scenes with true labels, rendered from furniture models of real size.

    Args:
        tasks: Names among `segmentation`, `depth`, `normals`, `edges`, `keypoints` and `ATTRIBUTES`.
        augment: Whether training samples are mirrored at random (normals change the sign of x) and vary in colour.
        path: Another file made by `shared/datasets/make_rooms.py` (more or larger scenes) instead of the one inside.

    Raises:
        ValueError: If a task is unknown or named twice, or the file is damaged.
        FileNotFoundError: If there is no such file.

    Examples:
        >>> data = rooms(("depth", "has_bed"))
        >>> view = data.train.batch(seed=0, epoch=0, step=0, batch_size=4)[0]
        >>> view.inputs.shape, view.targets["depth"].shape, view.targets["has_bed"].shape
        (torch.Size([4, 3, 48, 64]), torch.Size([4, 1, 48, 64]), torch.Size([4]))
    """
    names = tuple(tasks)
    unknown = [name for name in names if name not in TASKS]
    if not names or unknown or len(set(names)) < len(names):
        raise ValueError(f"`tasks` must be different names among {', '.join(TASKS)}. Got `tasks = {names}`.")
    file = embedded.FOLDER / "rooms.npz" if path is None else Path(path)
    return MultiTaskData(
        [TASKS[name](name) for name in names],
        _part("train", names, file),
        _part("validation", names, file),
        _part("test", names, file),
        mirror_and_jitter if augment else None,
    )


def _part(part: str, names: tuple[str, ...], file: Path) -> Arrays | None:
    """Read one part; None where the file has no scene of it."""
    wanted = {f"{part}_{name}" for name in ("rgb", "attributes", *names)}
    stored = {key.removeprefix(f"{part}_"): array for key, array in embedded.read(file, wanted).items()}
    if "rgb" not in stored:
        return None
    images = stored["rgb"].transpose(0, 3, 1, 2)
    return arrays(np.ascontiguousarray(images), {name: _target(name, stored) for name in names})


def _target(name: str, stored: dict[str, np.ndarray]) -> np.ndarray:
    """Turn what is stored into the conventions' targets."""
    if name in ATTRIBUTES:
        return stored["attributes"][:, ATTRIBUTES.index(name)].astype(np.float32)
    if name == "segmentation":
        return stored[name]
    if name == "depth":
        return stored[name][:, None].astype(np.float32) / np.float32(1000)
    if name == "keypoints":
        return stored[name][:, None].astype(np.float32) / np.float32(255)
    if name == "edges":
        shape = stored["rgb"].shape[:3]
        return np.unpackbits(stored[name], count=np.prod(shape)).reshape(shape)[:, None].astype(bool)
    vectors = stored[name].transpose(0, 3, 1, 2).astype(np.float32)
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    # Stored as whole numbers up to 127, they are unit vectors only to one part in a hundred.
    return np.ascontiguousarray(vectors / np.maximum(length, 1))
