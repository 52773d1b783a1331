"""A room: walls, windows, pictures and screens, and furniture that suits what the room is for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from rooms_maker import surfaces
from rooms_maker.catalogue import CLASS, Material, Mesh, Model
from rooms_maker.scene import Light, Scene

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


@dataclass(frozen=True)
class Wall:
    """A wall: a lower corner, the direction along it, its length, and the direction into the room."""

    corner: np.ndarray
    along: np.ndarray
    length: float
    inward: np.ndarray
    turn: float


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
            self._dress(wall)
        self._furnish()
        self._lamp()
        self.scene.build()

    @property
    def walls(self) -> list[Wall]:
        """The four walls, anticlockwise from above; `turn` lets a model's back stand to the wall."""
        x, y = self.size[:2]
        return [
            Wall(np.array([0, 0, 0]), np.array([1, 0, 0]), x, np.array([0, 1, 0]), np.pi),
            Wall(np.array([x, 0, 0]), np.array([0, 1, 0]), y, np.array([-1, 0, 0]), -np.pi / 2),
            Wall(np.array([x, y, 0]), np.array([-1, 0, 0]), x, np.array([0, -1, 0]), 0.0),
            Wall(np.array([0, y, 0]), np.array([0, -1, 0]), y, np.array([1, 0, 0]), np.pi / 2),
        ]

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

    def _dress(self, wall: Wall) -> None:
        """Put a window, pictures, a screen or nothing on a wall."""
        choice = self.rng.random()
        if choice < 0.38:
            self._window(wall)
        elif choice < 0.78:
            middles = np.sort(self.rng.uniform(0.5, wall.length - 0.5, self.rng.integers(1, 4)))
            for middle, gap in zip(middles, np.diff(middles, prepend=-1), strict=True):
                if gap > 0.8:
                    size = self.rng.uniform([0.35, 0.35], [0.8, 0.7])
                    self._panel(wall, middle, self.rng.uniform(1.1, 1.5), size, surfaces.painting(self.rng), "picture")
        elif choice < 0.93:
            self._screen(wall, self.rng.uniform(0.7, wall.length - 0.7), self.rng.uniform(0.9, 1.2))

    def _window(self, wall: Wall) -> None:
        rng = self.rng
        bottom = rng.uniform(0.7, 1.0)
        width, height = rng.uniform(0.8, 1.6), min(rng.uniform(0.8, 1.4), self.size[2] - bottom - 0.15)
        middle = rng.uniform(0.2 + width / 2, wall.length - 0.2 - width / 2)
        glass = surfaces.sky(rng)
        instance = self._panel(wall, middle, bottom, np.array([width, height]), glass, "window", depth=0.015)
        frame = surfaces.plain(0.85)
        for side in (-0.5, 0.0, 0.5):
            centre = middle + side * width
            self._slab(
                wall, centre - 0.03, centre + 0.03, bottom - 0.03, bottom + height + 0.03, frame, "window", instance
            )
        for level in (bottom, bottom + height):
            low, high = middle - width / 2, middle + width / 2
            self._slab(wall, low, high, level - 0.03, level + 0.03, frame, "window", instance)
        centre = wall.corner + wall.along * middle + wall.inward * 0.1 + np.array([0, 0, bottom + height / 2])
        edges = np.array([wall.along * width / 2, [0, 0, height / 2]])
        colour = np.array([0.85, 0.93, 1.0]) * glass.glow * 3.5
        self.scene.lights.append(Light(centre, edges, wall.inward.astype(float), colour))

    def _screen(self, wall: Wall, middle: float, bottom: float, depth: float = 0.05) -> None:
        """A flat screen, dark or showing something."""
        width = self.rng.uniform(0.8, 1.3)
        size = np.array([width, width * 0.58])
        if self.rng.random() < 0.5:
            show = Material(colour=np.full(3, self.rng.uniform(0.02, 0.08)))
        else:
            show = replace(surfaces.painting(self.rng), glow=0.5)
        dark = surfaces.plain(0.04)
        instance = self.scene.instance()
        self._slab(
            wall, middle - width / 2, middle + width / 2, bottom, bottom + size[1], dark, "screen", instance, depth
        )
        self._panel(wall, middle, bottom + 0.03, size - 0.06, show, "screen", depth + 0.005, instance)

    def _panel(
        self, wall: Wall, middle: float, bottom: float, size: np.ndarray, material: Material, kind: str,
        depth: float = 0.03, instance: int | None = None,
    ) -> int:  # fmt: skip
        """Hang a flat thing on a wall."""
        instance = self.scene.instance() if instance is None else instance
        corner = wall.corner + wall.along * (middle - size[0] / 2) + wall.inward * depth + np.array([0, 0, bottom])
        height = min(size[1], self.size[2] - bottom - 0.05)
        self.scene.add(
            surfaces.quad(corner, wall.along * size[0], np.array([0, 0, height]), material), CLASS[kind], instance
        )
        return instance

    def _slab(
        self, wall: Wall, left: float, right: float, bottom: float, top: float, material: Material, kind: str,
        instance: int, depth: float = 0.05,
    ) -> None:  # fmt: skip
        """Hang a box on a wall."""
        low = wall.corner + wall.along * left + np.array([0, 0, bottom])
        high = wall.corner + wall.along * right + wall.inward * depth + np.array([0, 0, top])
        self.scene.add(surfaces.box(low, high, material), CLASS[kind], instance)

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
            self._screen(wall, middle, top + 0.02, depth=0.15)
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
        """Shelves at a wall, `furniture`, with rows of `books`; four boards wide open to the front."""
        rng = self.rng
        wall = self.walls[rng.integers(4)]
        width, height, depth = rng.uniform(0.7, min(2.0, wall.length - 0.4)), rng.uniform(0.9, 2.1), 0.3
        left = rng.uniform(0.1, wall.length - width - 0.1)
        middle = wall.corner + wall.along * (left + width / 2) + wall.inward * depth / 2
        extent = np.abs(wall.along[:2]) * width + np.abs(wall.inward[:2]) * depth
        if not self._free(middle[:2], extent):
            return
        self.taken.append(np.concatenate([middle[:2] - extent / 2, middle[:2] + extent / 2]))
        wood = surfaces.plain(rng.uniform(0.2, 0.8) * np.array([1, 0.8, 0.6]))
        case, books = self.scene.instance(), self.scene.instance()

        def part(low: Sequence[float], high: Sequence[float], material: Material, kind: str, instance: int) -> None:
            ends = [
                wall.corner + wall.along * (left + p[0]) + wall.inward * p[1] + np.array([0, 0, p[2]])
                for p in (low, high)
            ]
            self.scene.add(surfaces.box(*ends, material), CLASS[kind], instance)

        part([0, 0, 0], [width, 0.02, height], wood, "furniture", case)
        for side in (0, width - 0.03):
            part([side, 0.02, 0], [side + 0.03, depth, height], wood, "furniture", case)
        shelves = round(height / 0.36)
        for level in range(shelves + 1):
            base = level * (height - 0.03) / shelves
            part([0.03, 0.02, base], [width - 0.03, depth, base + 0.03], wood, "furniture", case)
            at, room = 0.04, (height - 0.03) / shelves - 0.05
            while level < shelves and at < width - 0.1:
                thick = rng.uniform(0.025, 0.07)
                if rng.random() < 0.85:
                    cover = surfaces.plain(rng.uniform(0.08, 0.85, 3))
                    top, front = base + 0.03 + room * rng.uniform(0.65, 0.98), depth - rng.uniform(0.03, 0.09)
                    part([at, 0.02, base + 0.03], [min(at + thick, width - 0.04), front, top], cover, "books", books)
                at += thick

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
