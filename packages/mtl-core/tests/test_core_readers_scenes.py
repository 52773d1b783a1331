"""NYU-v2 and Cityscapes in their layouts: what is decoded is what was written, and what is wrong is named."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mtl_core import MultiTaskData
from mtl_core.datasets import readers
from mtl_core.testing import layouts

NYU = ("npy", "adashare", "nyud_mt")


def truth_of(index: int, classes: int) -> dict[str, torch.Tensor]:
    known = layouts.scene(index, classes=classes)
    maps = {
        "image": known["image"].transpose(2, 0, 1).astype(np.float32) / 255,
        "segmentation": known["segmentation"],
        "depth": known["depth"][None],
        "normals": known["normals"].transpose(2, 0, 1),
        "edges": known["edges"][None],
    }
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in maps.items()}


@pytest.mark.parametrize("layout", NYU)
@pytest.mark.parametrize(("part", "first", "count"), [("train", 0, 3), ("val", 100, 2)])
def test_nyu_decodes_to_what_was_written(tmp_path: Path, layout: str, part: str, first: int, count: int) -> None:
    """Counts, shapes, types, units, ignore values: 255, 0 metres, the zero vector; labels begin at 0 in all layouts."""
    reader = readers.nyuv2(layouts.nyuv2(tmp_path, layout), part)
    assert len(reader) == count
    tolerance = {"image": 2e-2 if layout == "nyud_mt" else 1e-6, "normals": 1e-2 if layout == "adashare" else 1e-6}
    for index in range(count):
        image, targets = reader[index]
        truth = truth_of(first + index, 13 if layout == "npy" else 40)
        torch.testing.assert_close(image, truth["image"], atol=tolerance["image"], rtol=0)
        assert targets["segmentation"].dtype == torch.int64
        assert torch.equal(targets["segmentation"], truth["segmentation"])
        assert torch.equal(targets["depth"], truth["depth"])
        torch.testing.assert_close(targets["normals"], truth["normals"], atol=tolerance["normals"], rtol=0)
        assert ("edges" in targets) == (layout == "nyud_mt")
        if "edges" in targets:
            assert torch.equal(targets["edges"], truth["edges"])


@pytest.mark.parametrize("layout", NYU)
def test_normals_are_signed_and_of_length_one(tmp_path: Path, layout: str) -> None:
    """Both signs of x occur; a vector has length 1 to float precision, also from eight bits, or is zero."""
    _, targets = readers.nyuv2(layouts.nyuv2(tmp_path, layout))[0]
    length = targets["normals"].norm(dim=0)
    assert targets["normals"][0].min() < -0.3
    assert targets["normals"][0].max() > 0.3
    assert ((length - 1).abs() < 1e-6)[length > 0].all()
    assert (length == 0).sum() == (truth_of(0, 13)["normals"].norm(dim=0) == 0).sum()


def test_raw_normals_stay_in_one_octant(tmp_path: Path) -> None:
    """As AdaShare's released loader has them: no sign, length 1; only in its layout."""
    root = layouts.nyuv2(tmp_path, "adashare")
    _, targets = readers.nyuv2(root, normal_encoding="raw_uint8")[0]
    normals = targets["normals"]
    assert normals.min() >= 0
    colour = torch.from_numpy(np.array(Image.open(root / "normal_mask/train0.png"))).float().permute(2, 0, 1)
    known = (colour != 255).any(0)
    torch.testing.assert_close(normals[:, known], (colour / colour.norm(dim=0))[:, known])
    assert (normals[:, ~known] == 0).all()
    with pytest.raises(ValueError, match=r"`normal_encoding` must be signed in the layout `npy`"):
        readers.nyuv2(layouts.nyuv2(tmp_path / "npy"), normal_encoding="raw_uint8")


@pytest.mark.parametrize("layout", ["npy", "adashare"])
def test_cityscapes_decodes_to_what_was_written(tmp_path: Path, layout: str) -> None:
    """7 or 19 classes, −1 on disk is 255 here, disparity unchanged with 0 where nothing is known."""
    root = layouts.cityscapes(tmp_path, layout)
    for classes in (7,) if layout == "npy" else (2, 7, 19):
        reader = readers.cityscapes(root, "val", classes=classes)
        assert len(reader) == 2
        image, targets = reader[1]
        truth = truth_of(101, 7 if layout == "npy" else 19)
        labels = torch.where(truth["segmentation"] == 255, 255, truth["segmentation"] % classes)
        torch.testing.assert_close(image, truth["image"])
        assert torch.equal(targets["segmentation"], labels)
        assert torch.equal(targets["depth"], truth["depth"])
        assert reader.tasks["segmentation"].channels == classes


def test_numbers_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    """2 comes before 10."""
    reader = readers.nyuv2(layouts.nyuv2(tmp_path, parts={"train": 11}))
    assert reader.samples == [str(number) for number in range(11)]


def test_some_tasks_are_chosen_and_train(tmp_path: Path) -> None:
    """Only they are decoded: a file of another task may be missing; and the reader is a source of core's data."""
    root = layouts.nyuv2(tmp_path, "nyud_mt")
    (root / "depth" / "train_0000.npy").unlink()
    reader = readers.nyuv2(root, tasks=("normals", "edges"))
    assert list(reader.tasks) == ["normals", "edges"]
    (view,) = MultiTaskData(reader.tasks, reader).train.batch(0, 0, 0, 3)
    assert {name: list(target.shape) for name, target in view.targets.items()} == {
        "normals": [3, 3, 12, 16],
        "edges": [3, 1, 12, 16],
    }


def test_the_fingerprint_follows_names_and_content(tmp_path: Path) -> None:
    """Equal for equal folders; another pixel, part or task changes it."""
    root = layouts.nyuv2(tmp_path)
    first = readers.nyuv2(root).fingerprint()
    assert first == readers.nyuv2(root).fingerprint()
    assert first != readers.nyuv2(root, "val").fingerprint()
    assert first != readers.nyuv2(root, tasks=["depth"]).fingerprint()
    np.save(root / "train/depth/1.npy", np.load(root / "train/depth/1.npy") + 1)
    assert first != readers.nyuv2(root).fingerprint()


# What is wrong, is named -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [*NYU, None])
def test_a_missing_root_shows_the_layout_and_where_it_is_from(tmp_path: Path, layout: str | None) -> None:
    """What was looked for, where, the tree, the origin; nothing is downloaded."""
    with pytest.raises(
        FileNotFoundError, match=r"(?s)NYU.*looked for in .*nothing.*There is no.*Expected:.*From: .*https"
    ):
        readers.nyuv2(tmp_path / "nothing", layout=layout)  # type: ignore[arg-type]


def test_half_a_layout_is_named(tmp_path: Path) -> None:
    """A missing folder, and a missing file among many."""
    root = layouts.nyuv2(tmp_path / "a")
    (root / "train/normal/1.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"There is no '.*train/normal/1.npy'. Expected"):
        readers.nyuv2(root)
    (root / "val/label").rename(root / "val/lable")
    with pytest.raises(FileNotFoundError, match=r"There is no '.*val/label'. Expected"):
        readers.nyuv2(root, "val")
    other = layouts.nyuv2(tmp_path / "b", "nyud_mt")
    (other / "edge/train_0001.npy").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"NYU-v2 train, sample `train_0001`, task `edges`: '.*train_0001.npy' is missing"
    ):
        readers.nyuv2(other)[1]


def damaged(tmp_path: Path, name: str, content: object, layout: str = "npy") -> readers.Reader:
    """A folder with one file replaced by other content."""
    root = layouts.nyuv2(tmp_path, layout)
    assert (root / name).exists()
    if isinstance(content, bytes):
        (root / name).write_bytes(content)
    elif name.endswith(".npy"):
        np.save(root / name, content)  # type: ignore[arg-type]
    else:
        Image.fromarray(content).save(root / name)  # type: ignore[arg-type]
    return readers.nyuv2(root)


ONES = np.ones((12, 16))
BAD = {
    "no array": ("npy", "train/depth/1.npy", b"no array", r"task `depth`: '.*1.npy' cannot be read as a .npy file"),
    "empty": ("npy", "train/depth/1.npy", b"", r"task `depth`: '.*1.npy' cannot be read as a .npy file"),
    "objects": ("npy", "train/label/1.npy", np.array([{}]), r"task `segmentation`: '.*1.npy' cannot be read"),
    "words": (
        "npy",
        "train/label/1.npy",
        np.array(["a"]),
        r"task `segmentation`: .* must hold whole numbers, \[h, w\] or",
    ),
    "bytes for an image": (
        "npy",
        "train/image/1.npy",
        np.ones((12, 16, 3), np.uint8),
        r"image: .*must hold floats, \[h, w, 3\]. Got uint8",
    ),
    "an image of 0 to 255": (
        "npy",
        "train/image/1.npy",
        np.full((12, 16, 3), 255.0),
        r"image: .* must hold values in \[0, 1\]. Got 255",
    ),
    "NaN in an image": (
        "npy",
        "train/image/1.npy",
        np.full((12, 16, 3), np.nan),
        r"image: .* must hold values in \[0, 1\]. Got nan",
    ),
    "a grey image": (
        "npy",
        "train/image/1.npy",
        ONES,
        r"image: .*must hold floats, \[h, w, 3\]. Got float64, \[12, 16\]",
    ),
    "class 13 of 13": (
        "npy",
        "train/label/1.npy",
        13 * ONES,
        r"task `segmentation`: '.*1.npy' cannot.*a class from 0 to 12.*`target = 13`",
    ),
    "class -2": ("npy", "train/label/1.npy", -2 * ONES, r"task `segmentation`: .*`target = -2`"),
    "half a class": ("npy", "train/label/1.npy", ONES / 2, r"task `segmentation`: .* must hold whole numbers. Got 0.5"),
    "another size": (
        "npy",
        "train/label/1.npy",
        np.ones((6, 8)),
        r"task `segmentation`: .*as large as the image. Got \[12, 16\], \[6, 8\]",
    ),
    "negative depth": (
        "npy",
        "train/depth/1.npy",
        -ONES,
        r"task `depth`: .* must be positive and finite.*Got `target = -1",
    ),
    "infinite depth": ("npy", "train/depth/1.npy", np.full((12, 16), np.inf), r"task `depth`: .*positive and finite"),
    "normals as colours": (
        "npy",
        "train/normal/1.npy",
        np.full((12, 16, 3), 200.0),
        r"task `normals`: .* vectors of length 1.*lengths like 346",
    ),
    "colours that are no normals": (
        "adashare",
        "normal_mask/train1.png",
        np.full((12, 16, 3), 128, np.uint8),
        r"task `normals`: .* vectors of length 1",
    ),
    "a truncated PNG": (
        "adashare",
        "seg/train1.png",
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0",
        r"task `segmentation`: '.*train1.png' cannot be decoded",
    ),
    "labels in colour": (
        "adashare",
        "seg/train1.png",
        np.zeros((12, 16, 3), np.uint8),
        r"task `segmentation`: .*in one channel. Got 3 channels",
    ),
    "class 40 of 40": (
        "adashare",
        "seg/train1.png",
        np.full((12, 16), 40, np.uint8),
        r"task `segmentation`: .*class from 0 to 39.*`target = 40`",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_named_with_sample_and_task(tmp_path: Path, case: str) -> None:
    """One message for whatever is wrong with a file; the other samples are as before."""
    layout, name, content, message = BAD[case]
    reader = damaged(tmp_path, name, content, layout)
    with pytest.raises(ValueError, match=r"^NYU-v2 train, sample `\S*1\S*`, " + message):
        reader[1]
    reader[0]


def test_a_bad_list_is_named(tmp_path: Path) -> None:
    """No JSON, no such part, rows of another width, an empty list of samples."""
    root = layouts.nyuv2(tmp_path, "adashare")
    path = root / "nyu_v2_3task.json"
    with pytest.raises(ValueError, match=r"`part` must be among train, val. Got `part = 'test'`"):
        readers.nyuv2(root, "test")
    cases = {
        "{": "must hold JSON",
        "[]": "must hold a JSON object. Got list",
        '{"train": [["a"]]}': "lists of 4 paths",
        '{"train": []}': "lists of 4",
    }
    for text, message in cases.items():
        path.write_text(text)
        with pytest.raises(ValueError, match=rf"nyu_v2_3task.json' .*{message}"):
            readers.nyuv2(root)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"nyu_v2_3task.json' must be a text file"):
        readers.nyuv2(root)
    other = layouts.nyuv2(tmp_path / "b", "nyud_mt")
    (other / "gt_sets/train.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"train.txt' must hold at least one line"):
        readers.nyuv2(other)
    streets = layouts.cityscapes(tmp_path / "c", "adashare")
    (streets / "cityscape.json").write_text(json.dumps({"train": [["a", "b"]]}))
    with pytest.raises(ValueError, match=r"cityscape.json' must hold lists of 5 paths under 'train'"):
        readers.cityscapes(streets)


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    """Layouts, encodings, tasks, classes, an index."""
    root = layouts.nyuv2(tmp_path / "a")
    with pytest.raises(ValueError, match=r"`layout` must be npy, adashare or nyud_mt. Got `layout = 'mat'`"):
        readers.nyuv2(root, layout="mat")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`normal_encoding` must be signed or raw_uint8. Got"):
        readers.nyuv2(root, normal_encoding="bgr")  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"`tasks` must be among segmentation, depth, normals. Got `tasks = \['edges'\]`"
    ):
        readers.nyuv2(root, tasks=["edges"])
    with pytest.raises(IndexError, match=r"`index` must be within the 3 samples. Got `index = 3`"):
        readers.nyuv2(root)[3]
    streets = layouts.cityscapes(tmp_path / "b", "adashare")
    with pytest.raises(ValueError, match=r"`layout` must be npy or adashare. Got `layout = 'png'`"):
        readers.cityscapes(streets, layout="png")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`classes` must be 2, 7 or 19 in the layout `adashare`. Got `classes = 34`"):
        readers.cityscapes(streets, classes=34)
