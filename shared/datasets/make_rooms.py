"""Make `rooms`: indoor scenes with true labels, ray-cast from furniture models of real size.

    apt-get install sweethome3d-furniture
    pip install packages/mtl-core embreex pillow scipy
    python shared/datasets/make_rooms.py                                              what core carries: 260 40 100, 48 x 64
    python shared/datasets/make_rooms.py --scenes 900 0 100 --size 96 128 --out FOLDER          larger, for benchmarks

The furniture models of the test part occur in no other part. One process; about a second for each scene.
"""

import argparse
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from embedded_file import FOLDER, write
from rooms_maker import catalogue
from rooms_maker.camera import MISS, Camera, View, glance, photograph
from rooms_maker.catalogue import CLASS, Model
from rooms_maker.labels import attributes, keypoints
from rooms_maker.room import Room

from mtl_core.datasets.raycast import borders
from mtl_core.datasets.rooms import ATTRIBUTES, CLASSES

PARTS = ("train", "validation", "test")
TEST_SHARE = 0.3  # of the models of each class

TEXT = """
rooms: {total} images of indoor scenes, {height} x {width} pixels, with true labels. Rendered; not photographs, and not NYU-v2.

Made by: shared/datasets/make_rooms.py, which furnishes random rooms and casts rays into them.
Source:  furniture models of Sweet Home 3D's libraries BlendSwap-CC-0 and BlendSwap-CC-BY (Debian package
         sweethome3d-furniture), converted and arranged by Emmanuel Puybaret / eTeks from models at www.blendswap.com.
Licence: each model's is below: CC0 1.0 (https://creativecommons.org/publicdomain/zero/1.0/) or CC BY 3.0
         (https://creativecommons.org/licenses/by/3.0/). The images are under CC BY 4.0
         (https://creativecommons.org/licenses/by/4.0/), with the attribution of the models below.
Changes: the models were scaled to their real size, textures made 64 x 64, colours varied, see-through parts left out.

PART_rgb           uint8 [scenes, h, w, 3]
PART_segmentation  uint8 [scenes, h, w]: {classes}; 255 not labelled
PART_depth         uint16 [scenes, h, w]: millimetres along the axis of view; 0 not labelled
PART_normals       int8 [scenes, h, w, 3]: 127 times the unit vector in the camera's frame: x right, y up, z towards the camera
PART_edges         uint8, packed bits of [scenes, h, w]: 1 on the nearer side of a border between two things
PART_keypoints     uint8 [scenes, h, w]: 255 times a corner response between 0 and 1
PART_attributes    uint8 [scenes, {count}]: 0 or 1
PART_camera        float32 [scenes, 2]: horizontal angle of view, and angle above the horizontal, degrees
PART_models        text: the furniture models that occur in the part
attributes         text: names of the attributes
PART is train, validation or test; no model of the test part occurs in another part.

Models (name | author | licence | file)

{models}
"""


def split(models: Sequence[Model]) -> tuple[list[Model], list[Model]]:
    """Split the models of each class in those to train with and those to test with."""
    rng = np.random.default_rng(0)
    train: list[Model] = []
    test: list[Model] = []
    for label in sorted({model.label for model in models}):
        mine = sorted((model for model in models if model.label == label), key=lambda model: model.identity)
        order = rng.permutation(len(mine))
        cut = round(TEST_SHARE * len(mine))
        test += [mine[index] for index in order[:cut]]
        train += [mine[index] for index in order[cut:]]
    return train, test


def look(room: Room, rng: np.random.Generator) -> Camera | None:
    """Find a camera that stands free and sees enough: several classes, some furniture, no wall in front of it."""
    for _ in range(8):
        eye = np.append(rng.uniform(0.3, room.size[:2] - 0.3), rng.uniform(1.0, 1.7))
        if any((eye[:2] > other[:2] - 0.3).all() and (eye[:2] < other[2:] + 0.3).all() for other in room.taken):
            continue
        towards = room.size[:2] * rng.uniform(0.25, 0.75, 2) - eye[:2]
        if np.linalg.norm(towards) < 0.8:
            continue
        pitch = np.radians(rng.uniform(-23, 13))
        camera = Camera(eye, np.arctan2(towards[1], towards[0]), pitch, rng.uniform(58, 74))
        label, depth = glance(room.scene, camera, 24, 32)
        share = np.bincount(label, minlength=256) / label.size
        inside = share[MISS] == 0 and np.median(depth) > 1.4 and depth.min() > 0.3
        if inside and (share > 0.01).sum() >= 5 and share[CLASS["bed"] : MISS].sum() > 0.2 and share.max() < 0.6:
            return camera
    return None


def scene(models: Sequence[Model], part: int, index: int, size: tuple[int, int]) -> tuple[Room, Camera, View] | None:
    """Make the scene that (part, index) decides; None where no camera sees enough."""
    rng = np.random.default_rng([part, index])
    room = Room(models, rng)
    camera = look(room, rng)
    return None if camera is None else (room, camera, photograph(room.scene, camera, *size, rng))


def render(models: Sequence[Model], part: int, count: int, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Render `count` scenes of a part."""
    maps: dict[str, list[np.ndarray]] = {
        key: [] for key in ("rgb", "segmentation", "depth", "normals", "edges", "keypoints", "attributes", "camera")
    }
    used: set[str] = set()
    index, start = 0, time.time()
    while len(maps["rgb"]) < count:
        made = scene(models, part, index, size)
        index += 1
        if made is None:
            continue
        room, camera, view = made
        used.update(room.scene.models)
        maps["rgb"].append(np.round(view.image * 255).astype(np.uint8))
        maps["segmentation"].append(view.label.astype(np.uint8))
        maps["depth"].append(np.round(view.depth * 1000).astype(np.uint16))
        maps["normals"].append(np.round(view.normals * 127).astype(np.int8))
        maps["edges"].append(borders(view.instance, view.depth))
        maps["keypoints"].append(np.round(keypoints(view.clean) * 255).astype(np.uint8))
        maps["camera"].append(np.array([camera.angle, np.degrees(camera.pitch)], dtype=np.float32))
        maps["attributes"].append(attributes(room, view))
        if len(maps["rgb"]) % 20 == 0:
            print(f"{PARTS[part]}: {len(maps['rgb'])} of {index} tried, {time.time() - start:.0f} s", flush=True)
    stacked = {f"{PARTS[part]}_{key}": np.stack(values) for key, values in maps.items() if values}
    if stacked:
        stacked[f"{PARTS[part]}_edges"] = np.packbits(stacked[f"{PARTS[part]}_edges"])
        stacked[f"{PARTS[part]}_models"] = np.array(sorted(used))
    return stacked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--furniture", type=Path, default=Path("/usr/share/sweethome3d/furniture"))
    parser.add_argument("--scenes", type=int, nargs=3, default=(260, 40, 100), metavar=("TRAIN", "VALIDATION", "TEST"))
    parser.add_argument("--size", type=int, nargs=2, default=(48, 64), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    models = catalogue.load(options.furniture)
    train, test = split(models)
    print(len(train), "models to train,", len(test), "to test", flush=True)
    arrays = {"attributes": np.array(ATTRIBUTES)}
    for part, count in enumerate(options.scenes):
        arrays |= render(test if part == 2 else train, part, count, tuple(options.size))
    used = {identity for key in arrays if key.endswith("_models") for identity in arrays[key].tolist()}
    text = TEXT.format(
        total=sum(options.scenes),
        height=options.size[0],
        width=options.size[1],
        classes=", ".join(f"{number} {name}" for number, name in enumerate(CLASSES)),
        count=len(ATTRIBUTES),
        models="\n".join(f"{m.name} | {m.author} | {m.licence} | {m.identity}" for m in models if m.identity in used),
    )
    write("rooms", arrays, text, options.out, zipfile.ZIP_LZMA)


if __name__ == "__main__":
    main()
