"""Furniture of the Sweet Home 3D libraries (Debian package sweethome3d-furniture): OBJ and MTL files in zip archives."""

import io
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from mtl_core.datasets.rooms import CLASSES

CLASS = {name: number for number, name in enumerate(CLASSES)}

LIBRARIES = {"BlendSwap-CC-0": "CC0 1.0", "BlendSwap-CC-BY": "CC BY 3.0"}

RULES = [
    (r"lamp|light|fan\b|tennis|bench$|deck", "objects"),
    (r"\bbed\b", "bed"),
    (r"tv stand|television cabinet|bedside|football table|pool table", "furniture"),
    (r"\btv\b|laptop", "screen"),
    (r"sofa|couch", "sofa"),
    (r"chair|stool|seat", "chair"),
    (r"table\b|\bdesk\b", "table"),
    (r"book\b", "books"),
    (
        r"bookcase|wardrobe|cupboard|cabinet|shelves|dresser|drawers|fridge|refrigerator|oven|stove|washing|chest\b|vanity"
        r"|locker|piano|island",
        "furniture",
    ),
]
"""The first pattern found in a model's name gives its class; without one it is among the `objects`."""

NOT_INDOORS = {"Exterior", "Vehicles", "Staircases", "Characters", "Bathroom"}
NOT_IN_A_ROOM = r"container|fence|railing|pallet|tatami|staircase|workbench|range hood|^hood|cooktop|^stove"
MOST_TRIANGLES = 40_000
TEXTURE_SIZE = 64


@dataclass(frozen=True)
class Material:
    """A colour or a texture (`[n, n, 3]`, 0 to 1), and how much light it gives by itself."""

    colour: np.ndarray = field(default_factory=lambda: np.full(3, 0.7))
    texture: np.ndarray | None = None
    glow: float = 0.0


@dataclass(frozen=True)
class Mesh:
    """Triangles `[t, corner, xyz]`, texture coordinates `[t, corner, uv]`, and each triangle's material."""

    corners: np.ndarray
    uv: np.ndarray
    material: np.ndarray
    materials: list[Material]


@dataclass(frozen=True)
class Model:
    """A piece of furniture: its front looks to -y, it stands on z = 0, its middle is at x = y = 0."""

    name: str
    label: int
    mesh: Mesh
    size: np.ndarray
    elevation: float
    identity: str
    author: str
    licence: str


def load(folder: Path) -> list[Model]:
    """Read all usable models of the two libraries."""
    models = []
    for library, licence in LIBRARIES.items():
        with zipfile.ZipFile(folder / f"{library}.sh3f") as archive:
            for entry in entries(archive):
                if entry["category"] in NOT_INDOORS or re.search(NOT_IN_A_ROOM, entry["name"].lower()):
                    continue
                model = read_model(archive, entry, licence)
                if model is not None:
                    models.append(model)
    return models


def entries(archive: zipfile.ZipFile) -> list[dict[str, str]]:
    """Read the catalogue's `key#number=value` lines, one dict per model."""
    found: dict[int, dict[str, str]] = {}
    for line in archive.read("PluginFurnitureCatalog.properties").decode("latin1").splitlines():
        match = re.match(r"(\w+)#(\d+)=(.*)", line.strip())
        if match:
            found.setdefault(int(match[2]), {})[match[1]] = match[3]
    return [found[number] for number in sorted(found)]


def label(name: str) -> int:
    """Give the class of a model's name."""
    return next((CLASS[kind] for pattern, kind in RULES if re.search(pattern, name.lower())), CLASS["objects"])


def read_model(archive: zipfile.ZipFile, entry: dict[str, str], licence: str) -> Model | None:
    """Read one model in its real size; None where it has too many triangles or none."""
    path = entry["model"].lstrip("/")
    mesh = read_obj(archive, path)
    if not 0 < len(mesh.corners) <= MOST_TRIANGLES:
        return None
    corners = mesh.corners
    if entry.get("modelRotation"):
        corners = corners @ np.array(entry["modelRotation"].split(), dtype=float).reshape(3, 3).T
    low, high = corners.min((0, 1)), corners.max((0, 1))
    size = np.array([float(entry[axis]) for axis in ("width", "height", "depth")]) / 100
    corners = (corners - (low + high) / 2) / np.maximum(high - low, 1e-9) * size
    corners[..., 1] += size[1] / 2
    corners = corners[..., [0, 2, 1]] * [1, -1, 1]  # the files have y up and the front towards +z
    return Model(
        name=entry["name"],
        label=label(entry["name"]),
        mesh=Mesh(corners, mesh.uv, mesh.material, mesh.materials),
        size=size[[0, 2, 1]],
        elevation=float(entry.get("elevation", 0)) / 100,
        identity=path,
        author=entry.get("creator", "unknown"),
        licence=licence,
    )


def read_obj(archive: zipfile.ZipFile, path: str) -> Mesh:
    """Read an OBJ file; polygons become fans of triangles, and see-through triangles are left out."""
    points: list[list[str]] = []
    coordinates: list[list[str]] = [["0", "0"]]
    triangles: list[tuple[int, int, int]] = []
    uvs: list[tuple[int, int, int]] = []
    owners: list[int] = []
    known: dict[str, tuple[Material, float]] = {}
    names: list[str] = ["", ""]
    current = 0
    for line in archive.read(path).decode("latin1").splitlines():
        kind, _, rest = line.strip().partition(" ")
        if kind == "v":
            points.append(rest.split()[:3])
        elif kind == "vt":
            coordinates.append(rest.split()[:2])
        elif kind == "f":
            corners = [corner.split("/") for corner in rest.split()]
            place = [position(int(corner[0]), len(points)) - 1 for corner in corners]
            paint = [position(int(c[1]), len(coordinates) - 1) if len(c) > 1 and c[1] else 0 for c in corners]
            for second in range(1, len(corners) - 1):
                triangles.append((place[0], place[second], place[second + 1]))
                uvs.append((paint[0], paint[second], paint[second + 1]))
                owners.append(current)
        elif kind == "usemtl":
            if rest.strip() not in names[1:]:
                names.append(rest.strip())
            current = names.index(rest.strip(), 1)
        elif kind == "mtllib":
            known.update(read_mtl(archive, str(Path(path).parent / rest.strip())))
    if not triangles:
        return Mesh(np.zeros((0, 3, 3)), np.zeros((0, 3, 2)), np.zeros(0, int), [])
    materials = [known.get(name, (Material(), 1.0)) for name in names]
    owner = np.array(owners)
    opaque = np.array([opacity > 0.3 for _, opacity in materials])[owner]
    if opaque.mean() < 0.3:  # some files say `d 0.0` for what is opaque
        opaque[:] = True
    return Mesh(
        np.array(points, dtype=float)[np.array(triangles)[opaque]],
        np.array(coordinates, dtype=float)[np.array(uvs)[opaque]],
        owner[opaque],
        [material for material, _ in materials],
    )


def position(index: int, count: int) -> int:
    """Give an OBJ index counted from 1; a negative one counts from the end."""
    return index if index > 0 else count + index + 1


def read_mtl(archive: zipfile.ZipFile, path: str) -> dict[str, tuple[Material, float]]:
    """Read the materials of an MTL file with their opacity."""
    members = {name.lower(): name for name in archive.namelist()}
    found: dict[str, tuple[Material, float]] = {}
    name = None
    for line in archive.read(path).decode("latin1").splitlines() if path in members.values() else []:
        kind, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        if kind == "newmtl":
            name = rest
            found[name] = (Material(), 1.0)
        elif name is None or not rest:
            continue
        elif kind == "Kd":
            found[name] = (Material(np.array(rest.split()[:3], dtype=float), found[name][0].texture), found[name][1])
        elif kind in ("d", "Tr"):
            opacity = float(rest.split()[-1])
            found[name] = (found[name][0], opacity if kind == "d" else 1 - opacity)
        elif kind == "map_Kd":
            member = members.get(str(Path(path).parent / rest.split()[-1]).lower())
            if member is not None:
                found[name] = (Material(found[name][0].colour, read_texture(archive.read(member))), found[name][1])
    return found


def read_texture(content: bytes) -> np.ndarray:
    """Decode a texture and make it `TEXTURE_SIZE` square."""
    with Image.open(io.BytesIO(content)) as image:
        small = image.convert("RGB").resize((TEXTURE_SIZE, TEXTURE_SIZE), Image.Resampling.LANCZOS)
    return np.asarray(small, dtype=np.float32) / 255
