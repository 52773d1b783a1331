from pathlib import Path

import numpy as np
import pytest
import torch

from mtl_core.data import MultiTaskData
from mtl_core.datasets import augment, embedded, mirror, rooms
from mtl_core.datasets.rooms import ATTRIBUTES, CLASSES, TASKS

PARTS = {"train": 260, "validation": 40, "test": 100}
FILE = embedded.FOLDER / "rooms.npz"


@pytest.fixture(scope="module")
def data() -> MultiTaskData:
    return rooms(tuple(TASKS))


@pytest.fixture(scope="module")
def stored() -> dict[str, np.ndarray]:
    return embedded.load("rooms")


@pytest.fixture(scope="module", params=PARTS)
def part(request: pytest.FixtureRequest, data: MultiTaskData) -> tuple[str, torch.Tensor, dict[str, torch.Tensor]]:
    """A part's name, all its images and all its targets."""
    (source,) = getattr(data, request.param).sources
    return request.param, *source.data.batch(torch.arange(len(source)))


def test_sizes(part) -> None:
    """260 scenes to train, 40 to validate, 100 to test, of 48x64 pixels."""
    name, images, targets = part
    assert images.shape == (PARTS[name], 3, 48, 64)
    assert all(len(target) == PARTS[name] for target in targets.values())


def test_targets_follow_the_conventions(part, data) -> None:
    """Each task's own check accepts its targets, and images lie in [0, 1]."""
    _, images, targets = part
    assert 0 <= images.min() <= images.max() <= 1
    for name, task in data.tasks.items():
        assert task.check is not None
        task.check(targets[name])


def test_all_pixels_are_labelled(part) -> None:
    """No 255, no depth of 0, no zero vector, no NaN; depths are those of a room."""
    _, _, targets = part
    assert targets["segmentation"].max() < len(CLASSES)
    assert 0.2 < targets["depth"].min() < targets["depth"].max() < 9
    assert not targets["edges"].isnan().any()
    assert 0 <= targets["keypoints"].min() <= targets["keypoints"].max() <= 1


def test_normals_are_unit_vectors_that_face_the_camera(part, stored) -> None:
    """Their length is 1 after the rounding of storage, and none looks away from the eye."""
    name, images, targets = part
    normals = targets["normals"].double()
    torch.testing.assert_close(normals.norm(dim=1), torch.ones(len(images), 48, 64).double(), atol=1e-6, rtol=0)
    facing = (normals * -rays(stored[f"{name}_camera"])).sum(1)
    assert facing.min() > -0.02  # rounding to 1/127


def rays(camera: np.ndarray) -> torch.Tensor:
    """Rays through the pixels' middles in the camera frame, z = -1: `[scenes, 3, h, w]`."""
    tangent = torch.from_numpy(camera[:, 0]).double().deg2rad().div(2).tan().view(-1, 1, 1)
    x = ((torch.arange(64).double() + 0.5) / 64 * 2 - 1).view(1, 1, 64) * tangent
    y = (1 - (torch.arange(48).double() + 0.5) / 48 * 2).view(1, 48, 1) * tangent * 48 / 64
    x, y = torch.broadcast_tensors(x, y)
    return torch.stack([x, y, -torch.ones_like(x)], dim=1)


def test_the_floor_is_a_plane_and_its_normal_is_the_cameras_up(part, stored) -> None:
    """Back-projected points of the floor have one height below the eye, 0.9 to 1.8 m, and their normal is vertical."""
    name, images, targets = part
    camera = stored[f"{name}_camera"]
    pitch = torch.from_numpy(camera[:, 1]).double().deg2rad()
    up = torch.stack([torch.zeros_like(pitch), pitch.cos(), -pitch.sin()], dim=1)  # of the room, in the camera frame
    points = targets["depth"].double() * rays(camera)
    for scene in range(len(images)):
        floor = targets["segmentation"][scene] == CLASSES.index("floor")
        if floor.sum() < 50:
            continue
        heights = (points[scene] * up[scene].view(3, 1, 1)).sum(0)[floor]
        assert -1.8 < heights.mean() < -0.9
        assert heights.std() < 2e-3
        angle = (targets["normals"][scene].double() * up[scene].view(3, 1, 1)).sum(0)[floor]
        assert angle.min() > 0.999


def test_depth_and_normals_agree_on_walls(part, stored) -> None:
    """Between neighbours of one wall the way from point to point is at right angles to the normal."""
    name, _, targets = part
    points = targets["depth"].double() * rays(stored[f"{name}_camera"])
    normals, wall = targets["normals"].double(), targets["segmentation"] == CLASSES.index("wall")
    same = wall[..., 1:] & wall[..., :-1] & ((normals[..., 1:] - normals[..., :-1]).abs().amax(1) < 1e-6)
    step = points[..., 1:] - points[..., :-1]
    sine = (step * normals[..., 1:]).sum(1).abs() / step.norm(dim=1)
    # Two walls, or a wall and the frame beside a niche, may share a normal: the bound holds for nearly all.
    assert sine[same].quantile(0.98) < 0.03
    assert same.sum() > 10_000


def test_edges_lie_between_things(part) -> None:
    """Where the class changes there is an edge on one of the two sides; edges are thin and few."""
    _, _, targets = part
    edges, label = targets["edges"][:, 0] == 1, targets["segmentation"]
    for axis in (1, 2):
        a, b = label.narrow(axis, 0, label.shape[axis] - 1), label.narrow(axis, 1, label.shape[axis] - 1)
        either = edges.narrow(axis, 0, a.shape[axis]) | edges.narrow(axis, 1, a.shape[axis])
        assert either[a != b].all()
    assert 0.05 < edges.float().mean() < 0.2


def test_every_class_occurs_and_attributes_are_balanced(part) -> None:
    """All 13 classes are in every part; each attribute is true of 15 to 85 % of the scenes to train and test with."""
    name, _, targets = part
    share = targets["segmentation"].flatten().bincount(minlength=len(CLASSES)) / targets["segmentation"].numel()
    assert (share > 0.002).all(), share
    assert len(ATTRIBUTES) >= 9
    for attribute in ATTRIBUTES:
        mean = float(targets[attribute].mean())
        assert (0.15 if name != "validation" else 0.05) <= mean <= 0.85, (attribute, mean)


def test_attributes_agree_with_the_segmentation(part) -> None:
    """`has_bed` says that more than 1 % of the pixels are bed, and so on."""
    _, _, targets = part
    for attribute in ATTRIBUTES:
        kind = {"sees_ceiling": "ceiling"}.get(attribute, attribute.removeprefix("has_"))
        if kind in CLASSES:
            share = (targets["segmentation"] == CLASSES.index(kind)).float().mean((1, 2))
            assert torch.equal(targets[attribute], (share > 0.01).float())


def test_the_test_part_has_furniture_of_its_own(stored) -> None:
    """No model of the test part occurs in another part, and every model is named with its author and licence."""
    train, validation, test = (set(stored[f"{part}_models"].tolist()) for part in PARTS)
    assert not test & (train | validation)
    assert min(len(train), len(test)) > 40
    text = (embedded.FOLDER / "rooms.txt").read_text(encoding="utf-8")
    lines = [line.split(" | ") for line in text.splitlines() if line.count(" | ") == 3][1:]
    assert {line[3] for line in lines} >= train | validation | test
    assert all(author and licence in ("CC0 1.0", "CC BY 3.0") for _, author, licence, _ in lines)


def test_no_image_occurs_twice(data) -> None:
    """All 400 differ."""
    images = [data.train, data.validation, data.test]
    seen = {split.sources[0].data[i][0].numpy().tobytes() for split in images for i in range(len(split.sources[0]))}
    assert len(seen) == 400


def test_names_in_the_file_are_those_of_the_module(stored) -> None:
    """The columns of the attributes have the order of `ATTRIBUTES`."""
    assert tuple(stored["attributes"].tolist()) == ATTRIBUTES


def test_tasks_are_selected_by_name() -> None:
    """Only what is asked for is read, in that order."""
    data = rooms(("has_bed", "depth"))
    assert tuple(data.tasks) == ("has_bed", "depth")
    assert tuple(data.train.sources[0].data.tasks) == ("has_bed", "depth")
    assert tuple(rooms().tasks) == ("segmentation", "depth", "normals")


def test_the_fingerprint_is_stable() -> None:
    """Two readings have the same hash, parts another."""
    assert rooms().train.fingerprint() == rooms().train.fingerprint()
    assert rooms().train.fingerprint() != rooms().test.fingerprint()


def test_augmented_normals_still_face_the_camera(stored) -> None:
    """A mirrored scene is a scene: seen along the mirrored rays, no surface looks away. Without the sign some would."""
    data = rooms(augment=True)
    assert data.augment is augment
    assert rooms().augment is None
    image, targets = data.train.sources[0].data[0]
    _, mirrored = mirror(image, targets)
    ray = -rays(stored["train_camera"][:1])[0]
    assert (mirrored["normals"] * ray).sum(0).min() > -0.02
    assert (targets["normals"].flip(-1) * ray).sum(0).min() < -0.02


def test_another_file_of_the_same_script_is_read(tmp_path: Path, stored) -> None:
    """`path` takes more or larger scenes; a part without scenes is none."""
    few = {key: value[:8] for key, value in stored.items() if key.startswith("train_") and not key.endswith("edges")}
    few["train_edges"] = stored["train_edges"][: 8 * 48 * 64 // 8]
    np.savez(tmp_path / "few.npz", **few)
    data = rooms(tuple(TASKS), path=tmp_path / "few.npz")
    assert len(data.train.sources[0]) == 8
    assert data.validation is None
    assert data.test is None
    for task, target in rooms(tuple(TASKS)).train.sources[0].data[7][1].items():
        assert torch.equal(target, data.train.sources[0].data[7][1][task])


def test_malformed_arguments_are_refused(tmp_path: Path) -> None:
    """Unknown tasks are named with those there are; a missing or damaged file is named, too."""
    with pytest.raises(
        ValueError, match=r"`tasks` must be different names among segmentation, .*Got `tasks = \('deep',\)"
    ):
        rooms(("deep",))
    with pytest.raises(ValueError, match="`tasks` must be different names"):
        rooms(("depth", "depth"))
    with pytest.raises(
        FileNotFoundError, match=r"The data set `none` must lie in .*none.npz'. It does not: make it again"
    ):
        rooms(path=tmp_path / "none.npz")
    (tmp_path / "half.npz").write_bytes(FILE.read_bytes()[: FILE.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"The data set `half` in .*half.npz' is damaged: make it again"):
        rooms(path=tmp_path / "half.npz")
