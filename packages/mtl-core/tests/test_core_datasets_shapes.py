from dataclasses import replace

import numpy as np
import pytest
import torch

from mtl_core.datasets import augment, mirror, raycast, shapes
from mtl_core.datasets.raycast import BOX, ELLIPSOID, ROOM_INSTANCES, Scene
from mtl_core.task import Task

SIZE = (24, 32)


def scene(seed: int = 0) -> Scene:
    """A random scene; `shapes` the function hides the module of that name."""
    import sys

    return sys.modules["mtl_core.datasets.shapes"].random_scene(np.random.default_rng(seed))


def points(scene: Scene, maps: dict[str, np.ndarray]) -> np.ndarray:
    """Back-project the depth: `[h, w, 3]` in room coordinates."""
    rays = raycast.camera_rays(scene, *maps["depth"].shape)
    return scene.eye + (rays * maps["depth"][..., None]) @ raycast.camera_axes(scene)


@pytest.mark.parametrize("seed", range(8))
def test_back_projected_depth_lies_on_the_surfaces(seed: int) -> None:
    """Points of the room satisfy the planes' equations; points of things lie on the cube or the ball in their frame."""
    s = scene(seed)
    maps = raycast.render(s, SIZE)
    place = points(s, maps)
    planes = [(0, -s.room[0] / 2), (0, s.room[0] / 2), (1, -s.room[1] / 2), (1, s.room[1] / 2), (2, 0), (2, s.room[2])]
    for face, (axis, offset) in enumerate(planes):
        np.testing.assert_allclose(place[maps["instance"] == face][:, axis], offset, atol=1e-9)
    for index, kind in enumerate(s.kind):
        turn = s.turn[index]
        axes = np.array([[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
        local = (place[maps["instance"] == ROOM_INSTANCES + index] - s.centre[index]) @ axes.T / s.half[index]
        size = np.abs(local).max(1) if kind == BOX else (local**2).sum(1)
        np.testing.assert_allclose(size, 1, atol=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_normals_agree_with_the_gradient_of_depth_on_planes(seed: int) -> None:
    """Between neighbours with one normal on one thing, the way from point to point is at right angles to the normal."""
    s = scene(seed)
    maps = raycast.render(s, SIZE)
    place = points(s, maps)
    normals = maps["normals"] @ raycast.camera_axes(s)
    planar = np.isin(maps["segmentation"], [raycast.FLOOR, raycast.CEILING, raycast.WALL, BOX])
    checked = 0
    for axis in (0, 1):
        a, b = ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:]))[axis]
        same = (maps["instance"][a] == maps["instance"][b]) & planar[a]
        same &= np.abs(normals[a] - normals[b]).max(-1) < 1e-9
        step = (place[a] - place[b])[same]
        np.testing.assert_allclose((step * normals[a][same]).sum(-1), 0, atol=1e-9)
        checked += same.sum()
    assert checked > 300


@pytest.mark.parametrize("seed", range(4))
def test_normals_are_unit_and_face_the_camera(seed: int) -> None:
    """Every surface that is seen looks towards the eye."""
    s = scene(seed)
    maps = raycast.render(s, SIZE)
    np.testing.assert_allclose(np.linalg.norm(maps["normals"], axis=-1), 1, atol=1e-12)
    assert ((maps["normals"] * raycast.camera_rays(s, *SIZE)).sum(-1) < 0).all()


def test_the_camera_frame_has_x_right_y_up_and_z_towards_the_camera() -> None:
    """From a level camera the floor looks up, the far wall towards the camera, the left wall to the right."""
    s = replace(
        scene(),
        yaw=0.0,
        pitch=0.0,
        kind=np.zeros(0, int),
        centre=np.zeros((0, 3)),
        colour=np.zeros((0, 3)),
        tangent=2.0,
    )
    maps = raycast.render(s, SIZE)
    for face, expected in ((0, [1, 0, 0]), (1, [-1, 0, 0]), (3, [0, 0, 1]), (4, [0, 1, 0]), (5, [0, -1, 0])):
        found = maps["normals"][maps["instance"] == face]
        assert len(found), face
        np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=1e-12)


def test_worked_example_a_ball_straight_ahead() -> None:
    """A ball of radius .5, 3 m ahead at eye level: its nearest point is at 2.5 m and looks at the camera."""
    s = replace(
        scene(), room=np.array([6.0, 8.0, 3.0]), kind=np.array([ELLIPSOID]), centre=np.array([[0, 0, 1.5]]),
        half=np.full((1, 3), 0.5), turn=np.zeros(1), colour=np.ones((1, 3)), eye=np.array([0, -3, 1.5]), yaw=0.0, pitch=0.0,
    )  # fmt: skip
    maps = raycast.render(s, (25, 33))
    assert maps["segmentation"][12, 16] == ELLIPSOID
    assert maps["depth"][12, 16] == pytest.approx(2.5)
    np.testing.assert_allclose(maps["normals"][12, 16], [0, 0, 1], atol=1e-12)


def mirrored(s: Scene) -> Scene:
    """The scene with left and right exchanged."""
    flip = np.array([-1.0, 1, 1])
    return replace(s, centre=s.centre * flip, turn=-s.turn, eye=s.eye * flip, yaw=-s.yaw, light=s.light * flip)


@pytest.mark.parametrize("seed", range(6))
def test_the_mirrored_sample_is_the_sample_of_the_mirrored_scene(seed: int) -> None:
    """What `mirror` makes of image and labels is what the camera sees in the mirrored room."""
    as_tensors = lambda maps: (  # noqa: E731
        torch.from_numpy(maps["image"]).permute(2, 0, 1),
        {
            "normals": torch.from_numpy(maps["normals"]).permute(2, 0, 1),
            "depth": torch.from_numpy(maps["depth"]),
            "segmentation": torch.from_numpy(maps["segmentation"]),
            "edges": torch.from_numpy(maps["edges"]),
        },
    )
    s = scene(seed)
    image, targets = mirror(*as_tensors(raycast.render(s, SIZE)))
    expected_image, expected = as_tensors(raycast.render(mirrored(s), SIZE))
    torch.testing.assert_close(image, expected_image, rtol=0, atol=1e-6)
    for task in expected:
        torch.testing.assert_close(targets[task], expected[task], rtol=0, atol=1e-9)


def test_edges_are_the_nearer_side_of_borders() -> None:
    """A near thing before a far wall: its rim is marked, the wall beside it is not."""
    instance = np.zeros((5, 5), int)
    instance[1:4, 1:4] = 1
    expected = instance == 1
    expected[2, 2] = False
    assert (raycast.borders(instance, np.where(instance == 1, 1.0, 2.0)) == expected).all()
    outside = raycast.borders(instance, np.where(instance == 1, 2.0, 1.0))
    assert outside.sum() == 12
    assert not (outside & (instance == 1)).any()


NAMES = (
    "segmentation", "depth", "normals", "edges", "more_ellipsoids", "red_thing", "many_things", "near_thing",
)  # fmt: skip


def test_targets_follow_the_conventions() -> None:
    """Each task's own check accepts its targets, and images lie in [0, 1]."""
    data = shapes(NAMES, size=SIZE, train=16, validation=4, test=4)
    inputs, targets = data.train.sources[0].data.batch(torch.arange(16))
    assert inputs.shape == (16, 3, *SIZE)
    assert 0 <= inputs.min() <= inputs.max() <= 1
    assert tuple(data.tasks) == NAMES == tuple(targets)
    for name, task in data.tasks.items():
        assert isinstance(task, Task)
        assert task.check is not None
        task.check(targets[name])
    assert targets["segmentation"].unique().tolist() == [0, 1, 2, 3, 4]


def test_attributes_are_balanced_enough_to_be_learned() -> None:
    """Each is true of 15 to 85 % of the scenes."""
    data = shapes(NAMES[4:], size=SIZE, train=200, validation=0, test=0)
    _, targets = data.train.sources[0].data.batch(torch.arange(200))
    for name, target in targets.items():
        assert 0.15 < target.mean() < 0.85, name


def test_a_scene_is_a_function_of_seed_part_and_index() -> None:
    """It does not depend on the order of access, on the length, or on the tasks asked for."""
    first, second = shapes(("depth",), size=SIZE, train=8), shapes(("depth", "edges"), size=SIZE, train=20)
    for index in (5, 0, 7):
        assert torch.equal(first.train.sources[0].data[index][0], second.train.sources[0].data[index][0])
    image = first.train.sources[0].data[0][0]
    assert not torch.equal(image, first.validation.sources[0].data[0][0])
    assert not torch.equal(image, shapes(("depth",), size=SIZE, seed=1).train.sources[0].data[0][0])


def test_the_fingerprint_tells_seed_size_and_part() -> None:
    """Equal arguments give equal hashes."""
    base = {"size": SIZE, "train": 4}
    same = [shapes(("depth",), **base).train.fingerprint() for _ in range(2)]
    others = [
        shapes(("depth",), size=SIZE, train=5).train.fingerprint(),
        shapes(("depth",), size=(24, 30), train=4).train.fingerprint(),
        shapes(("depth",), **base, seed=1).train.fingerprint(),
        shapes(("depth",), **base, validation=4).validation.fingerprint(),
    ]
    assert same[0] == same[1]
    assert len({same[0], *others}) == 5


def test_what_is_given_out_may_be_changed() -> None:
    """The kept scene stays as it is."""
    source = shapes(("depth",), size=SIZE, train=2).train.sources[0].data
    before = source[0][1]["depth"].clone()
    source[0][1]["depth"].zero_()
    assert torch.equal(source[0][1]["depth"], before)


def test_augmentation_is_asked_for() -> None:
    """Only with `augment=True`, and it is the one that keeps geometry true."""
    assert shapes(size=SIZE, train=2).augment is None
    assert shapes(size=SIZE, train=2, augment=True).augment is augment


def test_malformed_arguments_are_refused() -> None:
    """Each error names the argument, its rule and its value."""
    with pytest.raises(
        ValueError, match=r"`tasks` must be different names among segmentation, .*Got `tasks = \('deep',\)`"
    ):
        shapes(("deep",))
    with pytest.raises(ValueError, match=r"`tasks` must be different names"):
        shapes(("depth", "depth"))
    with pytest.raises(ValueError, match=r"`tasks` must be different names"):
        shapes(())
    with pytest.raises(ValueError, match=r"`size` must be a height and a width of at least 2. Got `size = \(1, 8\)`"):
        shapes(size=(1, 8))
    with pytest.raises(ValueError, match=r"`train` must be at least 1. Got `train = 0`"):
        shapes(train=0)
    with pytest.raises(ValueError, match=r"`test` must be at least 0. Got `test = -1`"):
        shapes(test=-1)
    with pytest.raises(IndexError, match=r"`index` must be from 0 to 1. Got `index = 2`"):
        shapes(train=2).train.sources[0].data[2]
