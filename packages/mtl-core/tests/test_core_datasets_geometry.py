"""Geometry stays true: what a sample's targets say of a scene is still so after it was cut, scaled or turned."""

import math
from functools import partial

import pytest
import torch
from torch import Generator, Tensor

from mtl_core.datasets import augmentation, geometry
from mtl_core.datasets.fitted import Fitted
from mtl_core.testing import layouts


def sample(index: int = 0, size: tuple[int, int] = (12, 16)) -> tuple[Tensor, dict[str, Tensor]]:
    """A scene in the conventions; `disparity` is an inverse depth, `kind` is no map."""
    known = layouts.scene(index, size=size)
    depth = torch.from_numpy(known["depth"])[None]
    targets = {
        "segmentation": torch.from_numpy(known["segmentation"]),
        "depth": depth,
        "normals": torch.from_numpy(known["normals"]).permute(2, 0, 1),
        "edges": torch.from_numpy(known["edges"])[None],
        "disparity": torch.where(depth > 0, 1 / depth.clamp(min=0.1), 0.0),
        "kind": torch.tensor(3),
    }
    return torch.from_numpy(known["image"]).permute(2, 0, 1) / 255, targets


ZOOM = partial(augmentation.zoom, inverse=("disparity",))
TURN = partial(augmentation.turn, degrees=180.0)
SHIFT = partial(augmentation.shift, padding=3, zero=("depth", "normals", "disparity"))


@pytest.mark.parametrize("size", [(12, 16), (5, 7), (24, 32), (13, 31)])
def test_resizing_invents_no_label(size: tuple[int, int]) -> None:
    """Each pixel of a map is one that was there, whole vectors included; depth stays, and the kind too."""
    image, targets = sample()
    small, found = geometry.resized(image, targets, size)
    assert small.shape == (3, *size)
    for name, target in found.items():
        if target.ndim < 2:
            assert torch.equal(target, targets[name])
            continue
        assert target.shape[-2:] == size
        old, new = (t.reshape(-1, t.shape[-2] * t.shape[-1]).T.tolist() for t in (targets[name], target))
        assert {tuple(pixel) for pixel in new} <= {tuple(pixel) for pixel in old}


def test_doubling_and_halving_gives_the_same_maps() -> None:
    """The nearest pixel is the one in which the middle lies: no shift by half a pixel."""
    image, targets = sample()
    _, large = geometry.resized(image, targets, (24, 32))
    assert torch.equal(large["segmentation"][::2, ::2], targets["segmentation"])
    assert torch.equal(large["segmentation"][1::2, 1::2], targets["segmentation"])
    _, back = geometry.resized(*geometry.resized(image, targets, (24, 32)), (12, 16))
    assert all(torch.equal(back[name], targets[name]) for name in targets)


def test_a_window_beyond_the_sample_is_black_and_not_labelled() -> None:
    """Each kind of map by its own value; the inside is untouched."""
    image, targets = sample()
    window, found = geometry.cropped(image, targets, (-2, 4), (18, 16), zero=("depth", "normals", "disparity"))
    inside = slice(2, 14), slice(0, 12)
    assert torch.equal(window[:, inside[0], inside[1]], image[:, :, 4:])
    outside = torch.ones(18, 16, dtype=torch.bool)
    outside[inside] = False
    assert (window[:, outside] == 0).all()
    assert (found["segmentation"][outside] == 255).all()
    assert (found["depth"][:, outside] == 0).all()
    assert (found["normals"][:, outside] == 0).all()
    assert (found["disparity"][:, outside] == 0).all()
    assert found["edges"][:, outside].isnan().all()
    assert torch.equal(found["depth"][:, inside[0], inside[1]], targets["depth"][:, :, 4:])


def test_a_zoom_divides_depth_and_multiplies_disparity() -> None:
    """With the factor 2 every depth is half of one that was there; depth · disparity stays 1 where both are known."""
    image, targets = sample()
    zoomed, found = ZOOM(image, targets, Generator().manual_seed(0), choices=(2.0,), mirrored=False)
    assert zoomed.shape == image.shape
    known = found["depth"] > 0
    assert set(found["depth"][known].tolist()) <= set((targets["depth"] / 2).flatten().tolist())
    torch.testing.assert_close((found["depth"] * found["disparity"])[known], torch.ones(int(known.sum())))
    _, same = ZOOM(image, targets, Generator().manual_seed(0), choices=(1.0,), mirrored=False)
    assert all(torch.equal(same[name], targets[name]) for name in targets)


@pytest.mark.parametrize("size", [(8, 8), (12, 16), (20, 20)])
def test_a_zoomed_sample_has_the_size_asked_for(size: tuple[int, int]) -> None:
    """Smaller than the window, it is placed in it: the image black around it, nothing labelled there."""
    image, targets = sample()
    for seed in range(20):
        zoomed, found = ZOOM(image + 0.01, targets, Generator().manual_seed(seed), size=size)
        assert zoomed.shape == (3, *size)
        black = (zoomed == 0).all(0)
        assert (found["segmentation"][black] == 255).all()
        assert (found["depth"][0][black] == 0).all()
        assert found["edges"][0][black].isnan().all()


def test_a_quarter_turn_moves_pixels_and_turns_normals() -> None:
    """Counter-clockwise by 90° on a square: what was right is up; x becomes y; by −90° it is as before."""
    image, targets = sample(size=(12, 12))
    new, found = geometry.turned(image, targets, 90.0)
    torch.testing.assert_close(new, image.rot90(1, (-2, -1)), atol=1e-4, rtol=0)
    assert torch.equal(found["segmentation"], targets["segmentation"].rot90(1, (-2, -1)))
    x, y, z = targets["normals"].rot90(1, (-2, -1))
    torch.testing.assert_close(found["normals"], torch.stack([-y, x, z]), atol=1e-6, rtol=0)
    _, down = geometry.turned(image, targets, 90.0, y_up=False)
    torch.testing.assert_close(down["normals"], torch.stack([y, -x, z]), atol=1e-6, rtol=0)
    _, back = geometry.turned(new, found, -90.0)
    torch.testing.assert_close(back["normals"], targets["normals"], atol=1e-5, rtol=0)


def test_a_turned_slope_is_the_slope_of_the_turned_surface() -> None:
    """A plane whose depth grows to the right: after any turn its normals are those of the turned depth map."""
    h, w, angle = 41, 61, 33.0
    rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    depth = 50 + 0.3 * columns.float() + 0.0 * rows  # far enough from 0 that nothing is "not labelled"
    # Surface z = −depth: its normal is (d depth / dx, d depth / dy, 1), y up, as if seen without perspective.
    normal = torch.tensor([0.3, 0.0, 1.0]) / math.hypot(0.3, 1.0)
    maps = {"depth": depth[None], "normals": normal.view(3, 1, 1).expand(3, h, w)}
    _, found = geometry.turned(torch.zeros(1, h, w), maps, angle)
    middle = found["depth"][0, 15:26, 20:41]
    slope_x = float((middle[:, 20] - middle[:, 0]).mean()) / 20
    slope_up = float((middle[0] - middle[10]).mean()) / 10
    expected = torch.tensor([slope_x, slope_up, 1.0]) / math.sqrt(slope_x**2 + slope_up**2 + 1)
    torch.testing.assert_close(found["normals"][:, 20, 30], expected, atol=0.03, rtol=0)


def test_turning_by_nothing_changes_nothing() -> None:
    """Angle 0 and factor 1; factor 2 shows the middle twice as large."""
    image, targets = sample()
    new, found = geometry.turned(image, targets, 0.0)
    torch.testing.assert_close(new, image, atol=1e-5, rtol=0)
    assert all(torch.equal(found[name], targets[name]) for name in targets)
    _, twice = geometry.turned(image, targets, 0.0, 2.0)
    assert torch.equal(twice["segmentation"][::2, ::2], targets["segmentation"][3:9, 4:12])


@pytest.mark.parametrize("augment", [ZOOM, TURN, SHIFT], ids=["zoom", "turn", "shift"])
def test_targets_stay_in_their_conventions_and_in_place(augment: partial) -> None:
    """Unit or zero normals, 0/1/NaN edges, known classes; a function of the generator; the sample itself is untouched."""
    image, targets = sample()
    before = image.clone(), {name: target.clone() for name, target in targets.items()}
    for seed in range(20):
        new, found = augment(image, targets, Generator().manual_seed(seed))
        again, _ = augment(image, targets, Generator().manual_seed(seed))
        assert torch.equal(new, again)
        assert new.shape == image.shape
        length = found["normals"].norm(dim=0)
        assert (((length - 1).abs() < 1e-5) | (length == 0)).all()
        assert set(found["segmentation"].unique().tolist()) <= {*range(13), 255}
        assert set(found["edges"].nan_to_num(nan=2).unique().tolist()) <= {0, 1, 2}
        assert (found["depth"] >= 0).all()
        assert 0 <= new.min() <= new.max() <= 1
        assert torch.equal(found["kind"], targets["kind"])
    assert torch.equal(image, before[0])
    assert all(torch.equal(targets[name], before[1][name]) for name in targets)


@pytest.mark.parametrize("augment", [ZOOM, TURN, SHIFT], ids=["zoom", "turn", "shift"])
def test_every_second_sample_is_mirrored_with_its_normals(augment: partial) -> None:
    """The image is brighter to the right; where it is mirrored, the mean of x has the other sign."""
    image = torch.linspace(0, 1, 16).expand(3, 12, 16)
    normals = torch.tensor([0.6, 0.0, 0.8]).view(3, 1, 1).expand(3, 12, 16).clone()
    still = {"zoom": {"scales": (1.0, 1.0)}, "turn": {"scales": (1.0, 1.0), "degrees": 0.0}, "shift": {"padding": 0}}
    settings = next(value for name, value in still.items() if augment.func is getattr(augmentation, name))
    mirrored = 0
    for seed in range(40):
        new, found = augment(image, {"normals": normals}, Generator().manual_seed(seed), **settings)
        darker = bool(new[0, 0, 0] > new[0, 0, -1])
        mirrored += darker
        assert torch.allclose(found["normals"][0], torch.tensor(-0.6 if darker else 0.6))
    assert 10 <= mirrored <= 30


def test_a_shift_reaches_every_place() -> None:
    """With a padding of 3, all 7 × 7 places occur, and none beyond."""
    image = torch.zeros(1, 4, 4)
    image[0, 1, 1] = 1
    seen = set()
    for seed in range(600):
        new, _ = augmentation.shift(image, {}, Generator().manual_seed(seed), padding=1, mirrored=False)
        seen.add(tuple(new[0].nonzero()[0].tolist()))
    assert seen == {(row, column) for row in range(3) for column in range(3)}


def test_by_task_takes_the_first_task_of_the_table() -> None:
    """A data set per task has its own augmentation; what is not in the table stays."""
    table = {"a": lambda x, t, g: (x + 1, t), "b": lambda x, t, g: (x + 2, t)}
    augment = partial(augmentation.by_task, table=table)
    image = torch.zeros(1, 2, 2)
    for name, expected in (("a", 1), ("b", 2), ("c", 0)):
        assert augment(image, {name: torch.tensor(0)}, Generator())[0].unique().tolist() == [expected]


# A source at one size --------------------------------------------------------------------------------------------------


class One(list):  # type: ignore[type-arg]
    tasks = ("segmentation",)


@pytest.mark.parametrize(
    ("keep", "channels"), [("stretch", 1), ("stretch", 3), ("pad", None), ("crop", 3), ("middle", None)]
)
def test_samples_are_fitted(keep: str, channels: int | None) -> None:
    """Size and channels as asked for, from grey and from colour; labels are among those that were there."""
    image, targets = sample(size=(9, 14))
    for given in (image, image[:1]):
        source = Fitted(One([(given, targets)]), (16, 16), channels=channels, keep=keep)
        fitted, found = source[0]
        assert fitted.shape == (channels or len(given), 16, 16)
        assert found["segmentation"].shape == (16, 16)
        assert set(found["segmentation"].unique().tolist()) <= {*targets["segmentation"].unique().tolist(), 255}
        assert (len(source), source.tasks) == (1, ("segmentation",))
    if keep == "pad":
        assert torch.equal(found["depth"][:, :9, :14], targets["depth"])
        assert (found["segmentation"][9:] == 255).all()
    if keep == "middle":  # of 9 x 14 in 16 x 16: four black rows above, three below; one column beside
        assert torch.equal(found["depth"][:, 4:13, 1:15], targets["depth"])
    if keep == "crop":  # the middle of 16 x 25
        whole = geometry.resized(image[:1], targets, (16, 25))[1]["segmentation"]
        assert torch.equal(found["segmentation"], whole[:, 4:20])


def test_the_fingerprint_of_a_fitted_source_tells_its_size() -> None:
    """And its content, with and without a fingerprint of the source's own."""
    made = [sample(index) for index in range(3)]
    prints = {Fitted(One(made), size).fingerprint() for size in ((8, 8), (9, 8))}
    prints |= {Fitted(One(made), (8, 8), channels=1).fingerprint(), Fitted(One(made[::-1]), (8, 8)).fingerprint()}
    assert len(prints) == 4
    assert Fitted(One(made), (8, 8)).fingerprint() in prints


def test_bad_sizes_are_refused() -> None:
    """Size, channels, keep, and a sample that cannot be padded."""
    source = One([sample()])
    with pytest.raises(ValueError, match=r"`size` must be a positive height and width. Got `size = \(0, 4\)`"):
        Fitted(source, (0, 4))
    with pytest.raises(ValueError, match=r"`channels` must be 1 or 3. Got `channels = 2`"):
        Fitted(source, (4, 4), channels=2)
    with pytest.raises(ValueError, match=r"`keep` must be stretch, pad, crop or middle. Got `keep = 'fill'`"):
        Fitted(source, (4, 4), keep="fill")
    with pytest.raises(ValueError, match=r"`size` must hold every sample to be padded. Got \[12, 16\] in sample 0"):
        Fitted(source, (8, 20), keep="pad")[0]
