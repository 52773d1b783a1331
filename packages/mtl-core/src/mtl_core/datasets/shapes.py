"""`shapes`: as many scenes of boxes, ellipsoids and walls as one wants, with exact labels, made when they are asked for.

A scene is a pure function of (seed, part, index), so nothing is stored and nothing downloaded. What is random, and the
labels, are made here; `raycast` makes the image.
"""

import hashlib
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import torch

from mtl_core.data import MultiTaskData
from mtl_core.datasets import raycast
from mtl_core.datasets.augmentation import augment as mirror_and_jitter
from mtl_core.datasets.raycast import BOX, CLASSES, ELLIPSOID, Scene
from mtl_core.task import Task, attribute, depth, edges, normals, segmentation
from mtl_core.types import Int, Tensor

TASKS: dict[str, Callable[[str], Task]] = {
    "segmentation": partial(segmentation, classes=len(CLASSES)),
    "depth": depth,
    "normals": normals,
    "edges": edges,
    "more_ellipsoids": attribute,
    "red_thing": attribute,
    "many_things": attribute,
    "near_thing": attribute,
}
"""What can be asked for: four maps, and four facts about what is seen (see `facts`)."""

VISIBLE = 0.004
"""A thing is seen where it covers this part of the image: 12 pixels of 48x64."""

MANY = 5
NEAR = 2.0  # metres
RED = np.array([0.85, 0.15, 0.12])


def shapes(
    tasks: Iterable[str] = ("segmentation", "depth", "normals"),
    *,
    size: tuple[int, int] = (48, 64),
    train: int = 256,
    validation: int = 64,
    test: int = 64,
    seed: int = 0,
    augment: bool = False,
) -> MultiTaskData:
    """Scenes of boxes, ellipsoids and walls with exact labels.

    Args:
        tasks: Names among `segmentation` (floor, ceiling, wall, box, ellipsoid), `depth`, `normals`, `edges` and the
            attributes `more_ellipsoids`, `red_thing`, `many_things` and `near_thing`.
        size: Height and width of the images.
        train: Scenes to train with.
        validation: Scenes to validate with; 0 for no such part.
        test: Scenes to test with; 0 for no such part.
        seed: Other seeds give other scenes.
        augment: Whether training samples are mirrored at random and vary in colour.

    Raises:
        ValueError: If a task is unknown or named twice, or a size or number is not usable.

    Examples:
        >>> data = shapes(("depth", "red_thing"), size=(6, 8), train=4, validation=0, test=2)
        >>> view = data.train.batch(seed=0, epoch=0, step=0, batch_size=4)[0]
        >>> view.inputs.shape, view.targets["depth"].shape, view.targets["red_thing"].shape
        (torch.Size([4, 3, 6, 8]), torch.Size([4, 1, 6, 8]), torch.Size([4]))
    """
    names = tuple(tasks)
    unknown = [name for name in names if name not in TASKS]
    if not names or unknown or len(set(names)) < len(names):
        raise ValueError(f"`tasks` must be different names among {', '.join(TASKS)}. Got `tasks = {names}`.")
    if len(size) != 2 or min(size) < 2:
        raise ValueError(f"`size` must be a height and a width of at least 2. Got `size = {size}`.")
    for name, value, least in (("train", train, 1), ("validation", validation, 0), ("test", test, 0)):
        if value < least:
            raise ValueError(f"`{name}` must be at least {least}. Got `{name} = {value}`.")
    parts = [Shapes(names, part, count, size, seed) for part, count in enumerate((train, validation, test))]
    return MultiTaskData(
        [TASKS[name](name) for name in names],
        parts[0],
        parts[1] if validation else None,
        parts[2] if test else None,
        mirror_and_jitter if augment else None,
    )


class Shapes:
    """One part of `shapes`; a scene is rendered when it is first asked for, and kept.

    Args:
        tasks: Names of the tasks that are labelled.
        part: 0, 1 or 2: parts with the same seed have different scenes.
        length: Number of scenes.
        size: Height and width.
        seed: Decides all scenes.
    """

    def __init__(self, tasks: tuple[str, ...], part: int, length: int, size: tuple[int, int], seed: int) -> None:
        self.tasks = tasks
        self._part, self._length, self._size, self._seed = part, length, size, seed
        self._made: dict[int, tuple[Tensor, dict[str, Tensor]]] = {}

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        if not 0 <= index < self._length:
            raise IndexError(f"`index` must be from 0 to {self._length - 1}. Got `index = {index}`.")
        if index not in self._made:
            rng = np.random.default_rng([self._seed, self._part, index])
            maps = raycast.render(scene := random_scene(rng), self._size)
            maps["image"] = np.clip(maps["image"] + rng.normal(0, 0.01, maps["image"].shape), 0, 1)
            self._made[index] = _tensors(maps, facts(scene, maps), self.tasks)
        image, targets = self._made[index]
        return image.clone(), {task: target.clone() for task, target in targets.items()}

    def batch(self, indices: Int[Tensor, " batch"]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the scenes at `indices`, stacked, in that order."""
        samples = [self[index] for index in indices.tolist()]
        inputs = torch.stack([image for image, _ in samples])
        return inputs, {task: torch.stack([targets[task] for _, targets in samples]) for task in self.tasks}

    def fingerprint(self) -> str:
        """Return a hash of what decides the scenes, and of the first one."""
        facts = f"{self.tasks}|{self._part}|{self._length}|{self._size}|{self._seed}|"
        digest = hashlib.blake2b(facts.encode(), digest_size=16)
        digest.update(self[0][0].numpy().tobytes())
        return digest.hexdigest()


def random_scene(rng: np.random.Generator) -> Scene:
    """Draw a room with three to nine things on its floor, and a camera that looks at them."""
    room = np.array([rng.uniform(4, 6.5), rng.uniform(5, 7.5), rng.uniform(2.4, 3.2)])
    things = int(rng.integers(3, 10))
    half = rng.uniform(0.18, 0.6, (things, 3))
    place = rng.uniform([-0.4, -0.2], [0.4, 0.4], (things, 2)) * room[:2]
    colour = rng.uniform(0.1, 0.95, (things, 3))
    red = rng.random(things) < 0.12
    colour[red] = RED + rng.uniform(-0.08, 0.08, (int(red.sum()), 3))
    return Scene(
        room=room,
        kind=rng.choice([BOX, ELLIPSOID], things),
        centre=np.column_stack([place, half[:, 2]]),
        half=half,
        turn=rng.uniform(0, np.pi, things),
        colour=colour,
        paint=np.clip(rng.uniform(0.45, 0.85, (3, 1)) + rng.uniform(-0.1, 0.1, (3, 3)), 0, 1),
        eye=np.array([rng.uniform(-0.2, 0.2) * room[0], -0.45 * room[1], rng.uniform(1.1, 1.8)]),
        yaw=rng.uniform(-0.3, 0.3),
        pitch=rng.uniform(-0.35, 0.0),
        light=np.array([*(rng.uniform(-0.3, 0.3, 2) * room[:2]), room[2] - 0.1]),
        tangent=rng.uniform(0.6, 0.8),
    )


def facts(scene: Scene, maps: dict[str, np.ndarray]) -> dict[str, bool]:
    """Tell what is true of an image; only things that are seen count.

    Returns:
        `more_ellipsoids`: more ellipsoids than boxes; `red_thing`: one is red; `many_things`: at least `MANY`;
        `near_thing`: one is nearer than `NEAR` metres.
    """
    pixels = np.bincount(maps["instance"].ravel(), minlength=raycast.ROOM_INSTANCES + len(scene.kind))
    seen = pixels[raycast.ROOM_INSTANCES :] >= VISIBLE * maps["instance"].size
    # The colours are drawn so that what is not meant to be red is rarely this close to it.
    red = np.abs(scene.colour - RED).max(1) < 0.1
    thing = np.isin(maps["instance"], raycast.ROOM_INSTANCES + np.flatnonzero(seen))
    return {
        "more_ellipsoids": (scene.kind[seen] == ELLIPSOID).sum() > (scene.kind[seen] == BOX).sum(),
        "red_thing": (red & seen).any(),
        "many_things": seen.sum() >= MANY,
        "near_thing": maps["depth"][thing].min(initial=np.inf) < NEAR,
    }


def _tensors(
    maps: dict[str, np.ndarray], known: dict[str, bool], tasks: tuple[str, ...]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Turn maps and facts into an input and targets in the project's conventions."""
    image = torch.from_numpy(maps["image"]).permute(2, 0, 1).float()
    made = {
        "segmentation": torch.from_numpy(maps["segmentation"]).long(),
        "depth": torch.from_numpy(maps["depth"]).unsqueeze(0).float(),
        "normals": torch.from_numpy(maps["normals"]).permute(2, 0, 1).float(),
        "edges": torch.from_numpy(maps["edges"]).unsqueeze(0).float(),
        **{name: torch.tensor(float(value)) for name, value in known.items()},
    }
    return image.contiguous(), {task: made[task].contiguous() for task in tasks}
