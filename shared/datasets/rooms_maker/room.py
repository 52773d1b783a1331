"""A room: floor, ceiling, walls, lamp, and furniture that suits what the room is for."""

from collections.abc import Sequence

import numpy as np

from rooms_maker import surfaces
from rooms_maker.catalogue import CLASS, Material, Mesh, Model
from rooms_maker.scene import Light, Scene
from rooms_maker.wall import Wall

THEMES: dict[str, dict[str, tuple[int, int]]] = {
    "bedroom": {"bed": (1, 2), "furniture": (1, 3), "table": (0, 1), "chair": (0, 2), "objects": (2, 4)},
    "living": {"sofa": (1, 3), "table": (0, 1), "furniture": (1, 3), "chair": (0, 2), "objects": (2, 4)},
    "dining": {"group": (1, 1), "sofa": (0, 1), "furniture": (1, 3), "chair": (0, 3), "objects": (1, 3)},
    "study": {"table": (1, 2), "chair": (1, 3), "sofa": (0, 1), "furniture": (1, 3), "objects": (2, 4)},
    "mixed": {"bed": (0, 1), "sofa": (0, 1), "group": (0, 1), "chair": (1, 3), "furniture": (1, 3), "objects": (2, 3)},
}
"""What a room for each purpose holds: the least and the most of each; a `group` is a table with chairs around it."""

AT_A_WALL = {"bed": 0.9, "sofa": 0.75, "furniture": 1.0, "table": 0.45, "chair": 0.25, "objects": 0.5, "screen": 1.0}
"""How often each stands with its back to a wall."""


class Room:
    """A furnished room.

    Args:
        models: The furniture to choose from.
        rng: Decides everything.
    """

    def __init__(self, models: Sequence[Model], rng: np.random.Generator) -> None:
        self.rng = rng
        self.size = np.array([rng.uniform(3.2, 6.2), rng.uniform(3.2, 6.2), rng.uniform(2.4, 3.0)])
        self.theme = str(rng.choice(list(THEMES), p=[0.24, 0.22, 0.26, 0.08, 0.2]))
        self.scene = Scene()
        self.taken: list[np.ndarray] = []  # [low x, low y, high x, high y] of what stands on the floor
        self._models: dict[str, list[Model]] = {}
        for model in models:
            kind = next(name for name, number in CLASS.items() if number == model.label)
            self._models.setdefault(kind, []).append(model)
        self._shell()
        for wall in self.walls:
            wall.dress(self.scene, rng)
        self._furnish()
        self._lamp()
        self.scene.build()

    @property
    def walls(self) -> list[Wall]:
        """The four walls, anticlockwise from above; `turn` lets a model's back stand to the wall."""
        x, y, z = self.size
        corners = [(0.0, 0.0, 0.0), (x, 0.0, 0.0), (x, y, 0.0), (0.0, y, 0.0)]
        ahead, left = np.array([1.0, 0, 0]), np.array([0, 1.0, 0])
        walls = []
        for corner, length, turn in zip(corners, (x, y, x, y), (np.pi, -np.pi / 2, 0.0, np.pi / 2), strict=True):
            walls.append(Wall(np.array(corner), ahead, left, length, z, turn))
            ahead, left = left, -ahead
        return walls

    def _shell(self) -> None:
        """Floor, ceiling and walls."""
        x, y, z = self.size
        self.floor = str(self.rng.choice(surfaces.FLOORS, p=[0.45, 0.2, 0.15, 0.2]))
        tile = self.rng.uniform(0.7, 1.5)
        ground = surfaces.floor(self.floor, self.rng)
        ex, ey, ez = np.eye(3)
        self.scene.add(surfaces.quad(np.zeros(3), ex * x, ey * y, ground, (x / tile, y / tile)), CLASS["floor"])
        white = surfaces.plain(self.rng.uniform(0.75, 0.95))
        self.scene.add(surfaces.quad(ez * z, ex * x, ey * y, white), CLASS["ceiling"])
        common = surfaces.wall(self.rng)
        for wall in self.walls:
            paper = common if self.rng.random() < 0.8 else surfaces.wall(self.rng)
            along = wall.along * wall.length
            self.scene.add(
                surfaces.quad(wall.corner, along, ez * z, paper, (wall.length / 1.5, z / 1.5)), CLASS["wall"]
            )

    def _furnish(self) -> None:
        """Put in what the room is for, the largest first."""
        wanted = THEMES[self.theme]
        if self.rng.random() < 0.4:
            self._bookcase()
        for kind in ("bed", "sofa", "group", "furniture", "table", "chair", "objects"):
            for _ in range(self.rng.integers(wanted.get(kind, (0, 0))[0], wanted.get(kind, (0, 0))[1] + 1)):
                if kind == "group":
                    self._group()
                else:
                    self._stand(kind)

    def _pick(self, kind: str, most: float = 4.0, least: float = 0.0) -> Model | None:
        fitting = [model for model in self._models.get(kind, []) if least <= model.size.max() < most]
        return fitting[self.rng.integers(len(fitting))] if fitting else None

    def _stand(self, kind: str) -> None:
        """Stand one thing somewhere free, some of them with their back to a wall, and small things on top."""
        model = self._pick(kind, least=0.45)
        for _ in range(12 if model is not None else 0):
            at_wall = self.rng.random() < AT_A_WALL[kind] or model.elevation > 0.2
            wall = self.walls[self.rng.integers(4)] if at_wall else None
            turn = wall.turn if wall is not None else self.rng.uniform(0, 2 * np.pi)
            extent = footprint(model.size, turn)
            if (extent > self.size[:2] - 0.3).any() or model.size[2] > self.size[2] - 0.1:
                return
            place = self.rng.uniform(extent / 2 + 0.02, self.size[:2] - extent / 2 - 0.02)
            if wall is not None:  # move it along the wall's normal until its back is 2 cm from the wall
                at = np.where(wall.inward[:2] > 0, extent / 2 + 0.02, self.size[:2] - extent / 2 - 0.02)
                place = np.where(wall.inward[:2] != 0, at, place)
            if self._free(place, extent):
                self._put(model, place, turn)
                self._decorate(model, place, extent, wall)
                return

    def _group(self) -> None:
        """A table with chairs at three or four of its sides."""
        table = self._pick("table", least=0.6)
        for _ in range(12 if table is not None else 0):
            turn = self.rng.choice([0, np.pi / 2])
            extent = footprint(table.size, turn)
            if (extent > self.size[:2] - 1.8).any():
                continue
            place = self.rng.uniform(extent / 2 + 0.7, self.size[:2] - extent / 2 - 0.7)
            if not self._free(place, extent + 0.9):
                continue
            chair = self._pick("chair", most=1.3, least=0.45)
            sides = self.rng.permutation(4)[: self.rng.integers(3, 5)]
            for side in sides if chair is not None else []:
                out = np.array([np.cos(side * np.pi / 2), np.sin(side * np.pi / 2)])
                reach = np.abs(extent @ np.abs(out)) / 2 + chair.size[1] / 2 * self.rng.uniform(0.6, 1.3)
                aside = np.array([-out[1], out[0]]) * self.rng.uniform(-0.15, 0.15)
                # A chair's front looks to -y: turned by the side's angle - 90 degrees it looks at the table.
                self._put(
                    chair,
                    place + out * reach + aside,
                    side * np.pi / 2 - np.pi / 2 + self.rng.normal(0, 0.2),
                    claim=False,
                )
            self._put(table, place, turn)
            self._decorate(table, place, extent, None)
            self.taken.append(np.concatenate([place - extent / 2 - 0.6, place + extent / 2 + 0.6]))
            return

    def _decorate(self, model: Model, place: np.ndarray, extent: np.ndarray, wall: Wall | None) -> None:
        """Put small things, books or a screen on tables and low furniture."""
        top = model.size[2] + max(model.elevation, 0.0)
        if model.label not in (CLASS["table"], CLASS["furniture"]) or not 0.35 < top < 1.2:
            return
        if wall is not None and top < 0.95 and model.size[0] > 0.8 and self.rng.random() < 0.6:
            middle = float((place - wall.corner[:2]) @ wall.along[:2])
            wall.screen(self.scene, self.rng, middle, top + 0.02, depth=0.15)
            return
        for _ in range(self.rng.integers(0, 4)):
            spot = place + self.rng.uniform(-0.3, 0.3, 2) * extent
            if self.rng.random() < 0.35:
                self._books(spot, top)
            else:
                small = self._pick(str(self.rng.choice(["objects", "objects", "screen"])), most=0.5)
                if small is not None:
                    self._put(small, spot, self.rng.uniform(-0.6, 0.6), top, self.rng.uniform(1, 1.5), claim=False)

    def _books(self, spot: np.ndarray, bottom: float) -> None:
        """A pile of books."""
        instance = self.scene.instance()
        for _ in range(self.rng.integers(2, 6)):
            half = np.append(self.rng.uniform([0.08, 0.1], [0.12, 0.15]), self.rng.uniform(0.01, 0.025))
            centre = np.append(spot + self.rng.normal(0, 0.01, 2), bottom + half[2])
            cover = surfaces.plain(self.rng.uniform(0.1, 0.8, 3))
            self.scene.add(surfaces.box(centre - half, centre + half, cover), CLASS["books"], instance)
            bottom += 2 * half[2]

    def _bookcase(self) -> None:
        """Shelves at a wall, where there is room for them."""
        rng = self.rng
        wall = self.walls[rng.integers(4)]
        width, height, depth = rng.uniform(0.7, min(2.0, wall.length - 0.4)), rng.uniform(0.9, 2.1), 0.3
        left = rng.uniform(0.1, wall.length - width - 0.1)
        middle = wall.point(left + width / 2, depth / 2, 0)[:2]
        extent = np.abs(wall.along[:2]) * width + np.abs(wall.inward[:2]) * depth
        if self._free(middle, extent):
            self.taken.append(np.concatenate([middle - extent / 2, middle + extent / 2]))
            wall.shelves(self.scene, rng, left, width, height, depth)

    def _lamp(self) -> None:
        """A flat lamp under the ceiling, and the light it gives."""
        middle = np.append(self.size[:2] * self.rng.uniform(0.35, 0.65, 2), self.size[2])
        half = self.rng.uniform(0.12, 0.25)
        shade = surfaces.plain(0.9, glow=0.8)
        self.scene.add(
            surfaces.box(middle - np.array([half, half, 0.06]), middle + np.array([half, half, 0]), shade),
            CLASS["objects"],
        )
        warm = np.array([1, self.rng.uniform(0.8, 1), self.rng.uniform(0.6, 0.95)])
        edges = np.array([[0.3, 0, 0], [0, 0.3, 0]])
        colour = warm * self.rng.uniform(3, 8)
        self.scene.lights.append(Light(middle - np.array([0, 0, 0.08]), edges, np.array([0, 0, -1.0]), colour))

    def _free(self, place: np.ndarray, extent: np.ndarray) -> bool:
        low, high = place - extent / 2, place + extent / 2
        return all((high < other[:2]).any() or (low > other[2:]).any() for other in self.taken)

    def _put(
        self,
        model: Model,
        place: np.ndarray,
        turn: float,
        bottom: float | None = None,
        scale: float = 1.0,
        claim: bool = True,
    ) -> None:
        """Add a model, turned and in a slightly other colour."""
        cosine, sine = np.cos(turn), np.sin(turn)
        rotation = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
        height = min(model.elevation, self.size[2] - model.size[2]) if bottom is None else bottom
        corners = model.mesh.corners * scale @ rotation + np.append(place, height)
        tint = self.rng.uniform(0.75, 1.15, 3) if self.rng.random() < 0.6 else np.ones(3)
        materials = [
            Material(
                np.clip(m.colour * tint, 0, 1), None if m.texture is None else np.clip(m.texture * tint, 0, 1), m.glow
            )
            for m in model.mesh.materials
        ]
        self.scene.add(Mesh(corners, model.mesh.uv, model.mesh.material, materials), model.label)
        self.scene.models.append(model.identity)
        if claim:
            extent = footprint(model.size, turn)
            self.taken.append(np.concatenate([place - extent / 2, place + extent / 2]))


def footprint(size: np.ndarray, turn: float) -> np.ndarray:
    """Give the width and depth of the upright box around a turned model."""
    cosine, sine = abs(np.cos(turn)), abs(np.sin(turn))
    return np.array([size[0] * cosine + size[1] * sine, size[0] * sine + size[1] * cosine])
