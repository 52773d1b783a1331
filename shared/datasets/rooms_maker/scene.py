"""A scene: triangles with a class, an instance and a material, and the rays that meet them."""

from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from rooms_maker.catalogue import Material, Mesh


@dataclass(frozen=True)
class Light:
    """A rectangle that shines to one side: middle, half edges `[2, xyz]`, direction and colour."""

    middle: np.ndarray
    edges: np.ndarray
    direction: np.ndarray
    colour: np.ndarray


@dataclass(frozen=True)
class Hits:
    """What rays met: triangle (-1: nothing), distance, and barycentric coordinates `[rays, 2]`."""

    triangle: np.ndarray
    distance: np.ndarray
    inside: np.ndarray


class Scene:
    """Collects meshes; `build` makes it ready for rays."""

    def __init__(self) -> None:
        self.lights: list[Light] = []
        self.models: list[str] = []
        self._meshes: list[tuple[Mesh, int, int]] = []
        self._instances = 0

    def instance(self) -> int:
        """Begin a new thing; meshes added with its number belong together."""
        self._instances += 1
        return self._instances

    def add(self, mesh: Mesh, label: int, instance: int | None = None) -> None:
        """Add triangles of one class."""
        self._meshes.append((mesh, label, self.instance() if instance is None else instance))

    def build(self) -> "Scene":
        """Join all meshes and build the tree that finds the first triangle on a ray."""
        self.corners = np.concatenate([mesh.corners for mesh, _, _ in self._meshes]).astype(np.float32)
        self.uv = np.concatenate([mesh.uv for mesh, _, _ in self._meshes]).astype(np.float32)
        counts = [len(mesh.corners) for mesh, _, _ in self._meshes]
        self.label = np.repeat([label for _, label, _ in self._meshes], counts)
        self.instances = np.repeat([instance for _, _, instance in self._meshes], counts)
        offsets = np.cumsum([0] + [len(mesh.materials) for mesh, _, _ in self._meshes])
        self.material = np.concatenate(
            [mesh.material + start for (mesh, _, _), start in zip(self._meshes, offsets[:-1], strict=True)]
        )
        self._paint([material for mesh, _, _ in self._meshes for material in mesh.materials])
        cross = np.cross(self.corners[:, 1] - self.corners[:, 0], self.corners[:, 2] - self.corners[:, 0])
        self.normal = cross / np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-12)
        self._tree = EmbreeScene()
        self._mesh = TriangleMesh(self._tree, np.ascontiguousarray(self.corners))
        return self

    def _paint(self, materials: list[Material]) -> None:
        """Put all textures into one table of colours; a plain colour is a texture of one pixel."""
        textures = [np.ones((1, 1, 3)) * m.colour if m.texture is None else m.texture for m in materials]
        self._texture_size = np.array([texture.shape[0] for texture in textures])
        self._texture_start = np.cumsum([0] + [texture.shape[0] ** 2 for texture in textures])[:-1]
        self._colours = np.concatenate([texture.reshape(-1, 3) for texture in textures])
        self.glow = np.array([m.glow for m in materials])

    def cast(self, origins: np.ndarray, directions: np.ndarray) -> Hits:
        """Find the first triangle on each ray."""
        found = self._tree.run(origins.astype(np.float32), directions.astype(np.float32), output=1)
        return Hits(found["primID"], found["tfar"].copy(), np.stack([found["u"], found["v"]], -1))

    def blocked(self, origins: np.ndarray, directions: np.ndarray, distances: np.ndarray) -> np.ndarray:
        """Tell whether something is on each ray before `distances`."""
        rays = origins.astype(np.float32), directions.astype(np.float32)
        return self._tree.run(*rays, dists=distances.astype(np.float32), query="OCCLUDED") >= 0

    def colour(self, triangle: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """Look up the surface's colour where rays met it."""
        u, v = inside[:, :1], inside[:, 1:]
        uv = self.uv[triangle]
        place = np.nan_to_num(uv[:, 0] * (1 - u - v) + uv[:, 1] * u + uv[:, 2] * v)
        place -= np.floor(place)
        material = self.material[triangle]
        size = self._texture_size[material]
        column = np.minimum((place[:, 0] * size).astype(int), size - 1)
        row = np.minimum(((1 - place[:, 1]) * size).astype(int), size - 1)
        return self._colours[self._texture_start[material] + row * size + column]
