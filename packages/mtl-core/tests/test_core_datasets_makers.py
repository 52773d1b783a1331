import importlib
from pathlib import Path

import numpy as np
import pytest

from mtl_core.datasets import embedded

MAKERS = Path(__file__).parents[3] / "shared/datasets"


@pytest.fixture
def makers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scripts be imported; they are in the repository, not in the wheel."""
    if not MAKERS.is_dir():
        pytest.skip("the scripts that make the data sets are not here")
    monkeypatch.syspath_prepend(MAKERS)


@pytest.mark.usefixtures("makers")
def test_digits_are_made_again() -> None:
    """The script gives the arrays that core carries."""
    pytest.importorskip("sklearn")
    made = importlib.import_module("make_digits").make()
    stored = embedded.load("digits")
    assert made.keys() == stored.keys()
    assert all(np.array_equal(made[key], stored[key]) for key in made)


@pytest.mark.usefixtures("makers")
def test_equal_arrays_give_equal_bytes(tmp_path: Path) -> None:
    """No time and no order of the keys enters the file, and what was written is read."""
    write = importlib.import_module("embedded_file").write
    arrays = {"b": np.arange(3), "a": np.array(["x", "yz"])}
    write("one", arrays, "Text", tmp_path)
    write("two", dict(reversed(arrays.items())), "Text", tmp_path)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert embedded.read(tmp_path / "one.npz")["a"].tolist() == ["x", "yz"]
    assert (tmp_path / "one.txt").read_text(encoding="utf-8") == "Text\n"


@pytest.mark.usefixtures("makers")
def test_the_rooms_camera_has_x_right_y_up_and_sees_a_wall_at_its_distance() -> None:
    """Rays of a level camera that looks along y: a wall 3 m ahead has depth 3 everywhere and the normal (0, 0, 1)."""
    pytest.importorskip("embreex")
    camera = importlib.import_module("rooms_maker.camera")
    surfaces = importlib.import_module("rooms_maker.surfaces")
    scene = importlib.import_module("rooms_maker.scene").Scene()
    wall = surfaces.quad(np.array([-50, 3, -50]), np.array([100, 0, 0]), np.array([0, 0, 100]), surfaces.plain(0.5))
    scene.add(wall, 0)
    ball = surfaces.box(np.array([0.5, 2, 0.3]), np.array([0.7, 2.5, 0.5]), surfaces.plain(0.5))
    scene.add(ball, 12)
    eye = camera.Camera(np.zeros(3), np.pi / 2, 0.0, 60)
    view = camera.photograph(scene.build(), eye, 24, 32, np.random.default_rng(0), light_rays=1, dark_rays=1)
    on_wall = view.label == 0
    np.testing.assert_allclose(view.depth[on_wall], 3, atol=1e-5)
    np.testing.assert_allclose(view.normals[on_wall], np.broadcast_to([0, 0, 1.0], (on_wall.sum(), 3)), atol=1e-6)
    rows, columns = np.nonzero(view.label == 12)
    assert rows.max() < 12  # above the middle
    assert columns.min() >= 16  # to the right
