"""Textures drawn by formulas, and simple shapes: what a room has besides furniture."""

import numpy as np
from scipy.ndimage import zoom

from rooms_maker.catalogue import Material, Mesh

SIZE = 64
FLOORS = ("planks", "tiles", "stone", "carpet")


def noise(rng: np.random.Generator, size: int = SIZE, octaves: int = 5) -> np.ndarray:
    """Sum random fields of doubling frequency and halving strength; 0 to 1, and its edges fit together."""
    total = np.zeros((size, size))
    for octave in range(octaves):
        cells = 2 ** (octave + 1)
        field = np.pad(rng.random((cells, cells)), ((0, 1), (0, 1)), mode="wrap")
        total += zoom(field, size / cells + 1e-6, order=1)[:size, :size] / 2**octave
    return (total - total.min()) / np.ptp(total)


def floor(kind: str, rng: np.random.Generator) -> Material:
    """Draw planks, tiles, stone or carpet."""
    row = np.arange(SIZE)
    tint = [1, rng.uniform(0.55, 0.75), rng.uniform(0.3, 0.5)] if kind == "planks" else rng.uniform(0.85, 1, 3)
    texture = np.full((SIZE, SIZE, 3), rng.uniform(0.3, 0.75)) * tint
    if kind == "planks":
        texture *= rng.uniform(0.75, 1.1, SIZE // 8)[row // 8, None, None]
        texture *= 0.85 + 0.3 * noise(rng)[..., None]
        texture[::8] *= 0.6
    elif kind == "tiles":
        other = ((row[:, None] // 16 + row // 16) % 2)[..., None]
        texture *= np.where(other, 1, rng.uniform(0.4, 1))
        texture[::16] *= 0.6
        texture[:, ::16] *= 0.6
    elif kind == "stone":
        texture *= 0.6 + 0.6 * noise(rng)[..., None]
    else:
        texture *= 0.85 + 0.3 * rng.random((SIZE, SIZE, 1))
    return Material(texture=np.clip(texture, 0, 1))


def wall(rng: np.random.Generator) -> Material:
    """Draw plain, striped, clouded or brick walls."""
    colour = np.clip(rng.normal(0.72, 0.12) + rng.normal(0, 0.07, 3), 0.2, 0.95)
    texture = np.ones((SIZE, SIZE, 3)) * colour
    row = np.arange(SIZE)
    kind = rng.integers(4)
    if kind == 1:
        stripe = (row // rng.integers(3, 9)) % 2
        texture *= np.where(stripe, 1, rng.uniform(0.75, 0.95))[None, :, None]
    elif kind == 2:
        texture *= 0.85 + 0.2 * noise(rng)[..., None]
    elif kind == 3:
        texture *= 0.9 + 0.1 * rng.random((SIZE, SIZE, 1))
        texture[::8] *= 0.75
        for course in range(SIZE // 8):
            joints = (row % 16) == 8 * (course % 2)
            texture[course * 8 : course * 8 + 8, joints] *= 0.75
    return Material(texture=np.clip(texture, 0, 1))


def painting(rng: np.random.Generator) -> Material:
    """Draw clouds of colour in a frame."""
    canvas = np.stack([noise(rng, 32) for _ in range(3)], -1) * rng.uniform(0.5, 1.1) + rng.uniform(-0.1, 0.2, 3)
    frame = rng.uniform(0.05, 0.5) * np.array([1, 0.8, 0.6])
    canvas[:3] = canvas[-3:] = canvas[:, :3] = canvas[:, -3:] = frame
    return Material(texture=np.clip(canvas, 0, 1))


def sky(rng: np.random.Generator) -> Material:
    """Draw a pale sky, brighter above."""
    texture = np.ones((8, 8, 3)) * np.array([0.75, 0.87, 1.0]) * np.linspace(1, 0.75, 8)[:, None, None]
    return Material(texture=texture, glow=rng.uniform(0.6, 1.4))


def plain(colour: np.ndarray | float, glow: float = 0.0) -> Material:
    """One colour."""
    return Material(colour=np.ones(3) * colour, glow=glow)


def quad(
    corner: np.ndarray, along: np.ndarray, up: np.ndarray, material: Material, repeat: tuple[float, float] = (1, 1)
) -> Mesh:
    """A parallelogram that its texture covers `repeat` times."""
    points = np.array([corner, corner + along, corner + along + up, corner + up], dtype=float)
    uv = np.array([[0, 0], [repeat[0], 0], repeat, [0, repeat[1]]], dtype=float)
    order = np.array([[0, 1, 2], [0, 2, 3]])
    return Mesh(points[order], uv[order], np.zeros(2, int), [material])


def box(low: np.ndarray, high: np.ndarray, material: Material) -> Mesh:
    """A box along the axes."""
    low, high = np.minimum(low, high), np.maximum(low, high)
    sides = []
    for axis in range(3):
        first, second = np.eye(3)[(axis + 1) % 3], np.eye(3)[(axis + 2) % 3]
        size = high - low
        for corner in (low, low + np.eye(3)[axis] * size):
            sides.append(quad(corner, first * size, second * size, material))
    return Mesh(
        np.concatenate([side.corners for side in sides]),
        np.concatenate([side.uv for side in sides]),
        np.zeros(12, int),
        [material],
    )
