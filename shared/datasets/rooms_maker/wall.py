"""A wall, and what hangs on it or stands flat against it: windows, pictures, screens, shelves of books."""

from dataclasses import dataclass, replace

import numpy as np

from rooms_maker import surfaces
from rooms_maker.catalogue import CLASS, Material
from rooms_maker.scene import Light, Scene


@dataclass(frozen=True)
class Wall:
    """A wall of a room.

    Places on it are (along, inward, up): metres from its lower corner.

    Attributes:
        corner: Its lower corner on the left, seen from inside.
        along: Direction along it.
        inward: Direction into the room.
        length: Metres.
        height: Metres.
        turn: The angle that lets a model's back stand to it.
    """

    corner: np.ndarray
    along: np.ndarray
    inward: np.ndarray
    length: float
    height: float
    turn: float

    def point(self, along: float, inward: float, up: float) -> np.ndarray:
        """Give a place in room coordinates."""
        return self.corner + self.along * along + self.inward * inward + np.array([0, 0, up])

    def dress(self, scene: Scene, rng: np.random.Generator) -> None:
        """Put a window, pictures, a screen or nothing on it."""
        choice = rng.random()
        if choice < 0.38:
            self.window(scene, rng)
        elif choice < 0.78:
            self.pictures(scene, rng)
        elif choice < 0.93:
            self.screen(scene, rng, rng.uniform(0.7, self.length - 0.7), rng.uniform(0.9, 1.2))

    def window(self, scene: Scene, rng: np.random.Generator) -> None:
        """Put in a window, and the daylight it gives."""
        bottom = rng.uniform(0.7, 1.0)
        width, height = rng.uniform(0.8, 1.6), min(rng.uniform(0.8, 1.4), self.height - bottom - 0.15)
        middle = rng.uniform(0.2 + width / 2, self.length - 0.2 - width / 2)
        glass, frame = surfaces.sky(rng), surfaces.plain(0.85)
        instance = scene.instance()
        left, right, top = middle - width / 2, middle + width / 2, bottom + height
        self._panel(scene, (left, 0.015, bottom), (width, height), glass, "window", instance)
        for side in (left, middle, right):
            ends = (side - 0.03, 0, bottom - 0.03), (side + 0.03, 0.05, top + 0.03)
            self._box(scene, *ends, frame, "window", instance)
        for level in (bottom, top):
            self._box(scene, (left, 0, level - 0.03), (right, 0.05, level + 0.03), frame, "window", instance)
        edges = np.array([self.along * width / 2, [0, 0, height / 2]])
        colour = np.array([0.85, 0.93, 1.0]) * glass.glow * 3.5
        scene.lights.append(Light(self.point(middle, 0.1, bottom + height / 2), edges, self.inward, colour))

    def pictures(self, scene: Scene, rng: np.random.Generator) -> None:
        """Hang up one to three pictures."""
        middles = np.sort(rng.uniform(0.5, self.length - 0.5, rng.integers(1, 4)))
        for middle, gap in zip(middles, np.diff(middles, prepend=-1), strict=True):
            if gap > 0.8:
                width, height = rng.uniform([0.35, 0.35], [0.8, 0.7])
                place = (middle - width / 2, 0.03, rng.uniform(1.1, 1.5))
                canvas = surfaces.painting(rng)
                self._panel(scene, place, (width, height), canvas, "picture", scene.instance())

    def screen(self, scene: Scene, rng: np.random.Generator, middle: float, bottom: float, depth: float = 0.05) -> None:
        """Hang up a flat screen, dark or showing something."""
        width = rng.uniform(0.8, 1.3)
        height = width * 0.58
        if rng.random() < 0.5:
            show = Material(colour=np.full(3, rng.uniform(0.02, 0.08)))
        else:
            show = replace(surfaces.painting(rng), glow=0.5)
        instance = scene.instance()
        left, right, black = middle - width / 2, middle + width / 2, surfaces.plain(0.04)
        self._box(scene, (left, 0, bottom), (right, depth, bottom + height), black, "screen", instance)
        inside = (left + 0.03, depth + 0.005, bottom + 0.03)
        self._panel(scene, inside, (width - 0.06, height - 0.06), show, "screen", instance)

    def shelves(
        self, scene: Scene, rng: np.random.Generator, left: float, width: float, height: float, depth: float
    ) -> None:
        """Put up boards, `furniture`, with rows of `books`; open to the front."""
        wood = surfaces.plain(rng.uniform(0.2, 0.8) * np.array([1, 0.8, 0.6]))
        case, books = scene.instance(), scene.instance()
        right = left + width
        self._box(scene, (left, 0, 0), (right, 0.02, height), wood, "furniture", case)
        for side in (left, right - 0.03):
            self._box(scene, (side, 0.02, 0), (side + 0.03, depth, height), wood, "furniture", case)
        count = round(height / 0.36)
        room = (height - 0.03) / count
        for level in range(count + 1):
            base = level * room + 0.03
            board = (left + 0.03, 0.02, base - 0.03), (right - 0.03, depth, base)
            self._box(scene, *board, wood, "furniture", case)
            at = left + 0.04
            while level < count and at < right - 0.1:
                thick = rng.uniform(0.025, 0.07)
                if rng.random() < 0.85:
                    cover = surfaces.plain(rng.uniform(0.08, 0.85, 3))
                    top, front = base + (room - 0.05) * rng.uniform(0.65, 0.98), depth - rng.uniform(0.03, 0.09)
                    book = (at, 0.02, base), (min(at + thick, right - 0.04), front, top)
                    self._box(scene, *book, cover, "books", books)
                at += thick

    def _panel(
        self, scene: Scene, place: tuple[float, float, float], size: tuple[float, float], material: Material, kind: str,
        instance: int,
    ) -> None:  # fmt: skip
        """Hang up something flat; it ends below the ceiling."""
        up = np.array([0, 0, min(size[1], self.height - place[2] - 0.05)])
        scene.add(surfaces.quad(self.point(*place), self.along * size[0], up, material), CLASS[kind], instance)

    def _box(
        self, scene: Scene, low: tuple[float, float, float], high: tuple[float, float, float], material: Material,
        kind: str, instance: int,
    ) -> None:  # fmt: skip
        scene.add(surfaces.box(self.point(*low), self.point(*high), material), CLASS[kind], instance)
