"""An analytic ray caster: exact images and labels of boxes and ellipsoids in a room, with numpy alone.

A thing is the image of a unit shape, the cube [-1, 1]³ or the ball of radius 1, under p = c + R(φ) diag(s) p'. A ray o + t d
becomes o' + t d' in the thing's frame with o' = diag(1/s) Rᵀ (o - c) and d' = diag(1/s) Rᵀ d, with the same t. There

* the cube's faces are at t = (±1 - o'ᵢ) / d'ᵢ: the ray enters at the largest of the nearer ones and leaves at the smallest
  of the farther ones (the room is a cube seen from inside: what counts is where the ray leaves);
* the ball's surface is where |o' + t d'|² = 1.

Normals come back by n = R diag(1/s) n', to unit length.

Room coordinates: x to the right, y ahead, z up, metres; the floor's middle is the origin.
"""

from dataclasses import dataclass, field

import numpy as np

CLASSES = ("floor", "ceiling", "wall", "box", "ellipsoid")
FLOOR, CEILING, WALL, BOX, ELLIPSOID = range(5)
ROOM_INSTANCES = 6  # the faces of the room; things are counted from here


@dataclass(frozen=True)
class Scene:
    """A room with things in it.

    Attributes:
        room: Width, depth and height in metres.
        kind: `BOX` or `ELLIPSOID` for each thing, `[things]`.
        centre: `[things, 3]`, metres.
        half: Half sizes along the thing's own axes, `[things, 3]`, metres.
        turn: Angle of each around the vertical, radians, anticlockwise from above, `[things]`.
        colour: `[things, 3]`, 0 to 1.
        paint: Colours of floor, ceiling and wall, `[3, 3]`.
        eye: Where the camera is.
        yaw: The camera's angle to the left of straight ahead, radians.
        pitch: Its angle above the horizontal, radians.
        light: Where the lamp is.
        tangent: Half the image's width at a distance of 1.
    """

    room: np.ndarray
    kind: np.ndarray
    centre: np.ndarray
    half: np.ndarray
    turn: np.ndarray
    colour: np.ndarray
    paint: np.ndarray
    eye: np.ndarray
    yaw: float
    pitch: float
    light: np.ndarray
    tangent: float = 0.7


@dataclass(frozen=True)
class Hits:
    """What rays met first: distance, instance (faces of the room, then things), class, and unit normal."""

    distance: np.ndarray
    instance: np.ndarray
    label: np.ndarray
    normal: np.ndarray = field(repr=False)


def camera_axes(scene: Scene) -> np.ndarray:
    """Give the camera's right, up and backward axes in room coordinates, one a row: room to camera frame."""
    forward = np.array(
        [
            -np.sin(scene.yaw) * np.cos(scene.pitch),
            np.cos(scene.yaw) * np.cos(scene.pitch),
            np.sin(scene.pitch),
        ]
    )
    right = np.array([np.cos(scene.yaw), np.sin(scene.yaw), 0.0])
    return np.stack([right, np.cross(right, forward), -forward])


def camera_rays(scene: Scene, height: int, width: int) -> np.ndarray:
    """Give the rays through the pixels' middles in the camera frame, `[h, w, 3]`, with z = -1: t is the depth."""
    x = ((np.arange(width) + 0.5) / width * 2 - 1) * scene.tangent
    y = (1 - (np.arange(height) + 0.5) / height * 2) * scene.tangent * height / width
    return np.stack([*np.broadcast_arrays(x[None, :], y[:, None]), -np.ones((height, width))], axis=-1)


def cast(scene: Scene, origin: np.ndarray, direction: np.ndarray) -> Hits:
    """Find the first surface on each ray.

    Args:
        scene: The scene; every origin is inside the room.
        origin: `[rays, 3]`.
        direction: `[rays, 3]`, of any length: distances are in this unit.
    """
    # Coordinates first, [3, rays]: least and greatest of three rows cost a tenth of those of three columns.
    start, way = np.ascontiguousarray(origin.T), np.ascontiguousarray(direction.T)
    half_room = scene.room[:, None] / 2
    local = (start - [[0], [0], [scene.room[2] / 2]]) / half_room
    distance = _slabs(local, way / half_room)[1].min(0)
    normal = -_cube_normal(local + distance * way / half_room)
    instance = (np.array([[1], [5], [9]]) * np.abs(normal) - normal).sum(0).astype(int) // 2
    label = np.where(instance == 5, CEILING, np.where(instance == 4, FLOOR, WALL))
    for index in range(len(scene.kind)):
        to_local = _rotation(scene.turn[index]).T / scene.half[index][:, None]
        local, local_way = to_local @ (start - scene.centre[index][:, None]), to_local @ way
        is_box = scene.kind[index] == BOX
        t = (_enter_cube if is_box else _enter_ball)(local, local_way)
        nearer = np.flatnonzero((t > 1e-6) & (t < distance))
        point = local[:, nearer] + t[nearer] * local_way[:, nearer]
        outward = to_local.T @ (_cube_normal(point) if is_box else point)
        normal[:, nearer] = outward / np.sqrt((outward**2).sum(0))
        distance[nearer] = t[nearer]
        instance[nearer] = ROOM_INSTANCES + index
        label[nearer] = scene.kind[index]
    return Hits(distance, instance, label, normal.T)


def render(scene: Scene, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """Render the image and its labels; colour and labels of a pixel belong to the same point.

    Returns:
        `image` `[h, w, 3]` in [0, 1]; `depth` `[h, w]`, metres along the axis of view; `normals` `[h, w, 3]` in the camera
        frame (x right, y up, z towards the camera); `segmentation` and `instance` `[h, w]`; `edges` `[h, w]`, boolean.
    """
    axes = camera_axes(scene)
    direction = (camera_rays(scene, *size) @ axes).reshape(-1, 3)
    origin = np.broadcast_to(scene.eye, direction.shape)
    hits = cast(scene, origin, direction)
    point = origin + hits.distance[:, None] * direction
    image = _surface(scene, hits, point) * _light(scene, hits, point)[:, None]
    depth = hits.distance.reshape(size)
    instance = hits.instance.reshape(size)
    return {
        "image": np.clip(image, 0, 1).reshape(*size, 3),
        "depth": depth,
        "normals": (hits.normal @ axes.T).reshape(*size, 3),
        "segmentation": hits.label.reshape(size),
        "instance": instance,
        "edges": borders(instance, depth),
    }


def borders(instance: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Mark where another thing is beside, above or below and not nearer: borders, on the side of the nearer thing.

    They are one pixel wide, and a mirrored image has the mirrored borders.
    """
    found = np.zeros(instance.shape, dtype=bool)
    for a, b in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        border = instance[a] != instance[b]
        found[a] |= border & (depth[a] <= depth[b])
        found[b] |= border & (depth[b] <= depth[a])
    return found


def _surface(scene: Scene, hits: Hits, point: np.ndarray) -> np.ndarray:
    """Give the colour where rays met a surface: a chequered floor, striped walls, plain things."""
    colours = np.concatenate([scene.paint[[WALL] * 4 + [FLOOR, CEILING]], scene.colour])[hits.instance]
    chequer = np.sign(np.cos(2 * np.pi * point[:, 0]) * np.cos(2 * np.pi * point[:, 1]))
    stripes = np.sign(np.cos(5 * np.pi * point[:, 0]) * np.cos(5 * np.pi * point[:, 1]))
    pattern = np.where(hits.label == FLOOR, 0.15 * chequer, np.where(hits.label == WALL, 0.04 * stripes, 0))
    return colours * (1 + pattern[:, None])


def _light(scene: Scene, hits: Hits, point: np.ndarray) -> np.ndarray:
    """Give the light at each point: a constant, and the lamp's where nothing is in its way."""
    to_light = scene.light - point
    distance = np.linalg.norm(to_light, axis=1)
    facing = np.maximum((to_light * hits.normal).sum(1) / distance, 0)
    shadow = cast(scene, point + 1e-6 * hits.normal, to_light).distance < 1 - 1e-6
    return 0.45 + 2.2 * facing * ~shadow / (1 + 0.3 * distance**2)


def _rotation(turn: float) -> np.ndarray:
    return np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])


def _slabs(origin: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give where each ray crosses the nearer and the farther face along each axis, `[3, rays]`."""
    safe = np.where(np.abs(direction) < 1e-12, 1e-12, direction)
    one, other = (-1 - origin) / safe, (1 - origin) / safe
    return np.minimum(one, other), np.maximum(one, other)


def _enter_cube(origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Give where each ray enters the cube; infinite where it does not."""
    near, far = _slabs(origin, direction)
    enter = near.max(0)
    return np.where(enter < far.min(0), enter, np.inf)


def _enter_ball(origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Give where each ray enters the ball; infinite where it does not."""
    a = (direction**2).sum(0)
    b = (origin * direction).sum(0)
    c = (origin**2).sum(0) - 1
    discriminant = b**2 - a * c
    return np.where(discriminant > 0, (-b - np.sqrt(np.maximum(discriminant, 0))) / a, np.inf)


def _cube_normal(point: np.ndarray) -> np.ndarray:
    """Give the outward normal at points of the cube's surface: along the coordinate that is 1 or -1."""
    size = np.abs(point)
    return np.sign(point) * (np.arange(3)[:, None] == size.argmax(0))
