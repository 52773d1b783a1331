"""A camera: rays into the scene, light on what they meet, and the maps that labels are made of."""

from dataclasses import dataclass

import numpy as np

from rooms_maker.scene import Scene

MISS = 255
OVERSAMPLING = 3  # odd, so that one of a pixel's rays goes through its middle: labels are taken there


@dataclass(frozen=True)
class Camera:
    """Where the eye is, where it looks (yaw and pitch, radians), and the horizontal angle of view (degrees)."""

    eye: np.ndarray
    yaw: float
    pitch: float
    angle: float

    def axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Give right, up and forward in room coordinates."""
        forward = np.array(
            [np.cos(self.pitch) * np.cos(self.yaw), np.cos(self.pitch) * np.sin(self.yaw), np.sin(self.pitch)]
        )
        right = np.array([np.sin(self.yaw), -np.cos(self.yaw), 0.0])
        return right, np.cross(right, forward), forward


@dataclass(frozen=True)
class View:
    """What a camera saw, `[h, w]` each.

    `clean` and `image` are `[h, w, 3]`, 0 to 1, without and with the sensor's noise; `depth` is in metres along the axis
    of view; `normals` are in the camera's frame: x to the right, y up, z towards the camera; `label` is `MISS` where a ray
    left the room.
    """

    clean: np.ndarray
    image: np.ndarray
    depth: np.ndarray
    normals: np.ndarray
    label: np.ndarray
    instance: np.ndarray


def rays(camera: Camera, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Give the directions of all rays, unit length, `[h * w, 3]`, and the cosine between each and the axis of view."""
    right, up, forward = camera.axes()
    tangent = np.tan(np.radians(camera.angle) / 2)
    x = ((np.arange(width) + 0.5) / width * 2 - 1) * tangent
    y = (1 - (np.arange(height) + 0.5) / height * 2) * tangent * height / width
    directions = (forward + x[None, :, None] * right + y[:, None, None] * up).reshape(-1, 3)
    length = np.linalg.norm(directions, axis=1)
    return directions / length[:, None], 1 / length


def glance(scene: Scene, camera: Camera, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Give class and depth only, fast: enough to tell whether a view is worth more."""
    directions, cosine = rays(camera, height, width)
    hits = scene.cast(np.repeat(camera.eye[None], len(directions), 0), directions)
    return np.where(hits.triangle < 0, MISS, scene.label[hits.triangle]), hits.distance * cosine


def photograph(
    scene: Scene,
    camera: Camera,
    height: int,
    width: int,
    rng: np.random.Generator,
    light_rays: int = 6,
    dark_rays: int = 8,
) -> View:
    """Render the image and the maps.

    Args:
        scene: A built scene.
        camera: The camera.
        height: Rows.
        width: Columns.
        rng: Draws the rays to the lights and the noise.
        light_rays: Rays to each light: soft shadows.
        dark_rays: Rays into the half-space around the normal: corners are darker.
    """
    rows, columns = height * OVERSAMPLING, width * OVERSAMPLING
    directions, cosine = rays(camera, rows, columns)
    hits = scene.cast(np.repeat(camera.eye[None], len(directions), 0), directions)
    miss = hits.triangle < 0
    triangle = np.where(miss, 0, hits.triangle)
    normal = scene.normal[triangle]
    normal = np.where((normal * directions).sum(1, keepdims=True) > 0, -normal, normal)  # surfaces have two sides
    point = camera.eye + directions * hits.distance[:, None] + normal * 2e-3
    light = direct(scene, point, normal, light_rays, rng) + 0.28 * openness(scene, point, normal, dark_rays, rng) + 0.04
    colour = scene.colour(triangle, hits.inside) * (light + scene.glow[scene.material[triangle]][:, None])
    colour[miss] = 0
    clean = develop(colour.reshape(height, OVERSAMPLING, width, OVERSAMPLING, 3).mean((1, 3)))

    def middle(values: np.ndarray) -> np.ndarray:
        half = OVERSAMPLING // 2
        return values.reshape(rows, columns, *values.shape[1:])[half::OVERSAMPLING, half::OVERSAMPLING]

    right, up, forward = camera.axes()
    return View(
        clean=clean,
        image=np.clip(clean + rng.normal(0, 0.008, clean.shape), 0, 1),
        depth=middle(np.where(miss, 0, hits.distance * cosine)),
        normals=middle(np.stack([normal @ right, normal @ up, -(normal @ forward)], -1) * ~miss[:, None]),
        label=middle(np.where(miss, MISS, scene.label[triangle])),
        instance=middle(np.where(miss, 0, scene.instances[triangle])),
    )


def direct(scene: Scene, point: np.ndarray, normal: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Sum the light that comes straight from the lights, `[points, 3]`."""
    total = np.zeros_like(point)
    for light in scene.lights:
        for _ in range(count):
            on_light = light.middle + rng.uniform(-1, 1, (len(point), 2)) @ light.edges
            way = on_light - point
            distance = np.linalg.norm(way, axis=1)
            way /= distance[:, None]
            strength = np.maximum((way * normal).sum(1), 0) * np.maximum(-(way @ light.direction), 0)
            lit = np.flatnonzero(strength > 1e-3)
            if len(lit):
                lit = lit[~scene.blocked(point[lit], way[lit], distance[lit] - 0.03)]
                total[lit] += (strength[lit] / (0.3 + distance[lit] ** 2))[:, None] * light.colour / count
    return total


def openness(scene: Scene, point: np.ndarray, normal: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Give the part of the half-space around the normal that is free for 80 cm, `[points, 1]`."""
    free = np.zeros(len(point))
    for _ in range(count):
        way = rng.normal(size=point.shape)
        way = way / np.linalg.norm(way, axis=1, keepdims=True) + normal
        way /= np.linalg.norm(way, axis=1, keepdims=True) + 1e-9
        free += ~scene.blocked(point, way, np.full(len(point), 0.8)) / count
    return free[:, None]


def develop(linear: np.ndarray) -> np.ndarray:
    """Expose for the mean, bend the highlights, and encode with gamma 2.2."""
    exposed = linear * np.clip(0.3 / linear.mean(), 0.5, 2.0)
    return np.clip(exposed / (1 + 0.3 * exposed) * 1.15, 0, 1) ** (1 / 2.2)
