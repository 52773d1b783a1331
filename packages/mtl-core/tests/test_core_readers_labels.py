"""Taskonomy, PASCAL-Context and the faces: what is decoded is what was written, and what is wrong is named."""

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mtl_core import MultiTaskData
from mtl_core.datasets import readers
from mtl_core.datasets.readers.celeba import NINE, PARTS
from mtl_core.datasets.readers.taskonomy import TINY
from mtl_core.testing import layouts
from mtl_core.testing.layouts.faces import has, masks
from mtl_core.testing.layouts.rooms import body


def image_of(index: int, **rest: Any) -> torch.Tensor:
    return torch.from_numpy(layouts.scene(index, **rest)["image"]).permute(2, 0, 1) / 255


# Taskonomy -------------------------------------------------------------------------------------------------------------


def test_taskonomy_in_metres(tmp_path: Path) -> None:
    """Depth in metres with 0 where nothing was hit, labels from 0, signed unit normals, responses in [0, 1]."""
    reader = readers.taskonomy(layouts.taskonomy(tmp_path))
    assert reader.samples == [f"hanson/point_{index}_view_0" for index in range(3)]
    for index in range(3):
        image, targets = reader[index]
        truth = layouts.scene(index, classes=17)
        torch.testing.assert_close(image, image_of(index, classes=17))
        assert np.array_equal(targets["segmentation"], truth["segmentation"])
        np.testing.assert_allclose(targets["depth"][0], truth["depth"], atol=1 / 1023)
        np.testing.assert_allclose(targets["normals"], truth["normals"].transpose(2, 0, 1), atol=0.01)
        assert ((targets["normals"].norm(dim=0) - 1).abs() < 1e-6)[torch.from_numpy(truth["normals"].any(-1))].all()
        assert (targets["normals"][:, ~torch.from_numpy(truth["normals"].any(-1))] == 0).all()
        np.testing.assert_allclose(targets["keypoints"][0], truth["strength"], atol=2e-3)
        np.testing.assert_allclose(targets["edges"][0], truth["strength"], atol=2e-4)


def test_taskonomy_in_the_units_of_adashare_and_dmtg(tmp_path: Path) -> None:
    """By hand: depths of 512, 8,192 and 65,535 units, responses of 50, 718 and beyond the largest that counts."""
    root = layouts.taskonomy(tmp_path)
    name = "hanson/point_0_view_0_domain_"
    raw = np.array([[512, 8192, 65535, 0]], np.uint16)
    for domain in ("depth_zbuffer", "keypoints2d", "edge_texture"):
        values = raw if domain == "depth_zbuffer" else np.array([[50, 718, 65535, 0]], np.uint16)
        Image.fromarray(values).save(root / domain / f"{name}{domain}.png")
    Image.fromarray(np.zeros((1, 4, 3), np.uint8)).save(root / "rgb" / f"{name}rgb.png")
    Image.fromarray(np.array([[0, 1, 2, 17]], np.uint8)).save(root / "segment_semantic" / f"{name}segment_semantic.png")
    chosen = ("depth", "keypoints", "edges", "segmentation")
    found = {norm: readers.taskonomy(root, norm=norm, tasks=chosen)[0][1] for norm in ("metres", "adashare", "dmtg")}  # type: ignore[arg-type]
    np.testing.assert_allclose(found["metres"]["depth"].flatten(), [1, 16, 0, 0])
    np.testing.assert_allclose(
        found["adashare"]["depth"].flatten(), np.log([513, 8193, 1, 1]) / np.log(2.0**16), rtol=1e-6
    )
    np.testing.assert_allclose(found["dmtg"]["depth"].flatten(), [-0.988, np.nan, np.nan, np.nan], rtol=1e-6)
    np.testing.assert_allclose(found["adashare"]["keypoints"].flatten(), [50 / 65535 / 0.005, 1, 1, 0], rtol=1e-6)
    np.testing.assert_allclose(
        found["adashare"]["edges"].flatten(), [50 / 65535 / 0.08, 718 / 65535 / 0.08, 1, 0], rtol=1e-6
    )
    np.testing.assert_allclose(found["dmtg"]["keypoints"].flatten(), [0, 6.68, 654.85, -0.5], rtol=1e-6)
    np.testing.assert_allclose(found["dmtg"]["edges"].flatten()[:2], [-668 / 1070, 0], rtol=1e-6)
    assert found["metres"]["segmentation"].tolist() == [[255, 0, 1, 16]]
    assert found["dmtg"]["segmentation"].tolist() == [[255, 1, 2, 17]]
    assert readers.taskonomy(root, norm="dmtg").tasks["segmentation"].channels == 18


def test_the_tiny_split_has_35_different_buildings(tmp_path: Path) -> None:
    """25, 5 and 5; those that are not there are passed over; some other building is asked for by name."""
    assert [len(names) for names in TINY.values()] == [25, 5, 5]
    assert len({name for names in TINY.values() for name in names}) == 35
    root = layouts.taskonomy(tmp_path, {"hanson": 1, "merom": 2, "corozal": 1, "almena": 2}, spelling="segmentsemantic")
    assert [len(readers.taskonomy(root, part)) for part in ("train", "val")] == [3, 1]
    other = readers.taskonomy(root, buildings=["almena"])
    assert [name.split("/")[0] for name in other.samples] == ["almena", "almena"]
    assert np.array_equal(other[1][1]["segmentation"], layouts.scene(301, classes=17)["segmentation"])


def test_taskonomy_says_what_is_missing_or_wrong(tmp_path: Path) -> None:
    """Folders, buildings, arguments, a depth of eight bits."""
    with pytest.raises(FileNotFoundError, match=r"(?s)Taskonomy was looked for in .*Expected:.*From: https"):
        readers.taskonomy(tmp_path / "nothing")
    root = layouts.taskonomy(tmp_path)
    (root / "rgb/ihlen/point_0_view_0_domain_rgb.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"There is no '\*_domain_rgb.png' in ihlen"):
        readers.taskonomy(root, "test")
    with pytest.raises(FileNotFoundError, match=r"There is no '.*rgb/almena'"):
        readers.taskonomy(root, buildings=["hanson", "almena"])
    with pytest.raises(ValueError, match=r"`part` must be among train, val, test. Got `part = 'all'`"):
        readers.taskonomy(root, "all")
    with pytest.raises(ValueError, match=r"`norm` must be metres, adashare or dmtg. Got `norm = 'log'`"):
        readers.taskonomy(root, norm="log")  # type: ignore[arg-type]
    Image.fromarray(np.ones((12, 16), np.uint8)).save(
        root / "depth_zbuffer/hanson/point_0_view_0_domain_depth_zbuffer.png"
    )
    with pytest.raises(
        ValueError,
        match=r"sample `hanson/point_0_view_0`, task `depth`: .*zbuffer.png' must hold 16 bits in one channel",
    ):
        readers.taskonomy(root)[0]
    (root / "normal").rename(root / "normals")
    with pytest.raises(FileNotFoundError, match=r"There is no '.*/normal'"):
        readers.taskonomy(root)


# PASCAL-Context --------------------------------------------------------------------------------------------------------


def test_pascal_decodes_to_what_was_written(tmp_path: Path) -> None:
    """Five tasks; labels from either folder, VOC's first; people's parts, and all background where there is nobody."""
    reader = readers.pascal_context(layouts.pascal_context(tmp_path))
    assert len(reader) == 3
    assert list(reader.tasks) == ["segmentation", "human_parts", "normals", "saliency", "edges"]
    for index in range(3):
        image, targets = reader[index]
        truth = layouts.scene(index, classes=21)
        torch.testing.assert_close(image, image_of(index, classes=21), atol=2e-2, rtol=0)
        assert np.array_equal(targets["segmentation"], truth["segmentation"])
        assert np.array_equal(targets["human_parts"], body() if index == 0 else np.zeros(layouts.SIZE))
        np.testing.assert_allclose(targets["normals"], truth["normals"].transpose(2, 0, 1), atol=0.01)
        assert np.array_equal(targets["saliency"][0], np.round(truth["strength"] * 255) > 127)
        edge = targets["edges"][0]
        assert edge.sum() == 2 * 16 + 2 * 12 - 4  # two lines of two pixels that cross
        assert edge[:5, :7].sum() == 0
        assert edge[5:7].all()
        assert edge[:, 7:9].all()
    (view,) = MultiTaskData(reader.tasks, reader).train.batch(0, 0, 0, 3)
    assert view.targets["human_parts"].unique().tolist() == [0, 1, 2, 4, 6]


def test_normals_count_where_they_are_trusted(tmp_path: Path) -> None:
    """Only pixels of the classes given keep theirs; the others are the zero vector."""
    root = layouts.pascal_context(tmp_path)
    every = readers.pascal_context(root, tasks=["normals"])[0][1]["normals"]
    some = readers.pascal_context(root, tasks=["normals"], normal_classes=[1, 4])[0][1]["normals"]
    trusted = torch.zeros(12, 16, dtype=torch.bool)
    trusted[:6, :8] = trusted[6:, 8:] = True
    assert torch.equal(some[:, trusted], every[:, trusted])
    assert (some[:, ~trusted] == 0).all()


def test_pascal_says_what_is_missing_or_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders, a damaged .mat file, one without its variable, parts of an unknown name; and scipy that is not there."""
    from scipy.io import savemat

    with pytest.raises(FileNotFoundError, match=r"(?s)PASCAL-Context.*There is no.*Expected:.*JPEGImages.*From:"):
        readers.pascal_context(tmp_path)
    root = layouts.pascal_context(tmp_path)
    where = r"PASCAL-Context train, sample `2008_000000`, task `human_parts`: '.*000000.mat' "
    file = root / "human_parts/2008_000000.mat"
    for content, message in (
        ({"other": 1}, "must hold the variable `anno`"),
        ({"anno": 3}, "must hold objects with parts"),
    ):
        savemat(file, content)
        with pytest.raises(ValueError, match=where + message):
            readers.pascal_context(root)[0]
    file.write_bytes(b"MATLAB 5.0")
    with pytest.raises(ValueError, match=where + "cannot be read as a MATLAB file"):
        readers.pascal_context(root)[0]
    savemat(root / "pascal-context/trainval/2008_000000.mat", {"LabelMap": np.zeros((3, 4, 5))})
    with pytest.raises(
        ValueError, match=r"task `edges`: .* must hold whole numbers, \[h, w\]. Got float64, \[3, 4, 5\]"
    ):
        readers.pascal_context(root, tasks=["edges"])[0]
    savemat(root / "pascal-context/trainval/2008_000000.mat", {"LabelMap": np.zeros((3, 4))})
    with pytest.raises(ValueError, match=r"task `normals`: .* as large as its label map. Got \[3, 4\], \[12, 16\]"):
        readers.pascal_context(root, tasks=["normals"], normal_classes=[0])[0]
    real = builtins.__import__

    def without_scipy(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("scipy"):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without_scipy)
    with pytest.raises(
        ImportError, match=r"scipy must be installed to read '2008_000001.mat': `pip install mtl-core\[datasets\]`"
    ):
        readers.pascal_context(root)[1]
    readers.pascal_context(root, tasks=["segmentation", "normals", "saliency"])[1]


# Faces -----------------------------------------------------------------------------------------------------------------


def test_celeba_reads_attributes_and_official_parts(tmp_path: Path) -> None:
    """Parts by the list, −1 becomes 0, the nine attributes in their order."""
    root = layouts.celeba(tmp_path)
    parts = {part: readers.celeba(root, part) for part in ("train", "val", "test")}
    assert {part: list(reader.samples) for part, reader in parts.items()} == {
        "train": ["000001.jpg", "000002.jpg", "000003.jpg"], "val": ["000004.jpg", "000005.jpg"], "test": ["000006.jpg"],
    }  # fmt: skip
    for index in range(3):
        image, targets = parts["train"][index]
        torch.testing.assert_close(image, image_of(index, size=(22, 18)), atol=2e-2, rtol=0)
        assert [float(target) for target in targets.values()] == has(index).tolist()
    nine = readers.celeba(root, "val", tasks=NINE)
    assert tuple(nine.tasks) == NINE == tuple(nine[0][1])
    assert all(target.dtype == torch.float32 for target in nine[0][1].values())


def merged(index: int) -> np.ndarray:
    """Pixel by pixel: the last part whose mask has it."""
    found = np.zeros((8, 8), np.int64)
    for row in range(8):
        for column in range(8):
            having = [k + 1 for k, part in enumerate(PARTS) if part in masks(index) and masks(index)[part][row, column]]
            found[row, column] = having[-1] if having else 0
    return found


def test_masks_are_merged_in_order(tmp_path: Path) -> None:
    """Later parts lie on those before, missing files are parts that a face lacks; two folders of masks; three classes."""
    root = layouts.celebamask(tmp_path)
    reader = readers.celebamask(root)
    assert reader.samples == ["1998", "2001", "2002"]
    for row, index in enumerate((0, 3, 4)):
        image, targets = reader[row]
        assert np.array_equal(targets["segmentation"], merged(index))
        assert [float(targets[name]) for name in list(reader.tasks)[1:]] == has(index).tolist()
        halves = image_of(index, size=(16, 16)).reshape(3, 8, 2, 8, 2).mean((2, 4))
        torch.testing.assert_close(image, halves, atol=2e-2, rtol=0)
        three = readers.celebamask(root, classes=3, tasks=["segmentation"])[row][1]["segmentation"]
        known = masks(index)
        assert np.array_equal(three, np.where(known["hair"], 1, np.where(known["skin"], 2, 0)))


def test_both_splits_of_the_masks(tmp_path: Path) -> None:
    """The official one by the number in CelebA, with its two bounds; LOMT's from its file, with its own maps."""
    root = layouts.celebamask(tmp_path, places=(162770, 162771, 182637, 182638, 0))
    official = {part: readers.celebamask(root, part).samples for part in ("train", "val", "test")}
    assert official == {"train": ["1998", "2002"], "val": ["1999", "2000"], "test": ["2001"]}
    own = {
        part: readers.celebamask(root, part, classes=3, layout="lomt", split=root / "split.json")
        for part in ("train", "val", "test")
    }
    assert [reader.samples for reader in own.values()] == [["1998", "1999"], ["2000", "2001"], ["2002"]]
    merged_here = readers.celebamask(root, "val", classes=3)[1][1]["segmentation"]
    assert torch.equal(own["val"][0][1]["segmentation"], merged_here)


def test_faces_say_what_is_missing_or_wrong(tmp_path: Path) -> None:
    """Lists, parts, arguments, masks."""
    root = layouts.celeba(tmp_path / "a")
    attributes, partition = root / "list_attr_celeba.txt", root / "list_eval_partition.txt"
    with pytest.raises(ValueError, match=r"`part` must be among train, val, test. Got `part = 'all'`"):
        readers.celeba(root, "all")
    with pytest.raises(ValueError, match=r"`tasks` must be among 5_o_Clock_Shadow, .*Got `tasks = \['Bald'\]`"):
        readers.celeba(root, tasks=["Bald"])
    lines = attributes.read_text().splitlines()
    for text, message in {
        "\n".join([lines[0], lines[1], lines[2] + " 0", *lines[3:]]): "must hold a file and 40 times −1 or 1",
        "\n".join([lines[0], lines[1], lines[2].replace("-1", " 0", 1), *lines[3:]]): "must hold a file and 40 times",
        "\n".join(["9", *lines[1:]]): "must begin with the number of its images. Got '9' before 6 lines",
        "\n".join(["5", lines[1], *lines[3:]]): "must hold every image of the partition. It lacks '000001.jpg'",
    }.items():
        attributes.write_text(text)
        with pytest.raises(ValueError, match=rf"list_attr_celeba.txt' {message}"):
            readers.celeba(root)
    partition.write_text("000001.jpg 3\n")
    with pytest.raises(
        ValueError, match=r"list_eval_partition.txt' must hold a file and 0, 1 or 2 .* Got '000001.jpg 3'"
    ):
        readers.celeba(root)
    partition.unlink()
    with pytest.raises(FileNotFoundError, match=r"(?s)CelebA was looked for.*There is no '.*partition.txt'. Expected:"):
        readers.celeba(root)


def test_masks_say_what_is_missing_or_wrong(tmp_path: Path) -> None:
    """The mapping, the split, the masks, the image."""
    root = layouts.celebamask(tmp_path)
    with pytest.raises(ValueError, match=r"`classes` must be 3 or 19. Got `classes = 2`"):
        readers.celebamask(root, classes=2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"`classes` must be 3 in the layout `lomt`. Got `classes = 19`"):
        readers.celebamask(root, layout="lomt")
    with pytest.raises(ValueError, match=r"`layout` must be official or lomt. Got `layout = 'own'`"):
        readers.celebamask(root, layout="own")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match=r"`split` must be a JSON file. There is no '.*none.json'"):
        readers.celebamask(root, split=root / "none.json")
    split = root / "split.json"
    split.write_text(json.dumps({"train": ["x.jpg"]}))
    with pytest.raises(
        ValueError, match=r"split.json' must hold a list of images' numbers under 'train'. Got \[\"x.jpg\"\]"
    ):
        readers.celebamask(root, split=split)
    with pytest.raises(ValueError, match=r"`part` must be among train. Got `part = 'val'`"):
        readers.celebamask(root, "val", split=split)
    split.write_text(json.dumps({"train": [7]}))
    with pytest.raises(ValueError, match=r"attribute-anno.txt' must hold every image of the part. It lacks '7.jpg'"):
        readers.celebamask(root, split=split)
    where = r"CelebAMask-HQ train, sample `1998`, task `segmentation`: "
    anno = root / "CelebAMask-HQ-mask-anno/0"
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(anno / "01998_hair.png")
    with pytest.raises(
        ValueError, match=where + r"'.*01998_hair.png' must be as large as the other masks. Got \[8, 8\], \[4, 4\]"
    ):
        readers.celebamask(root)[0]
    (anno / "01998_hair.png").write_bytes(b"\x89PNG")
    with pytest.raises(ValueError, match=where + r"'.*01998_hair.png' cannot be decoded"):
        readers.celebamask(root)[0]
    for path in anno.glob("01998_*.png"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=where + r"'.*01998_\*.png' is missing"):
        readers.celebamask(root)[0]
    Image.fromarray(np.zeros((15, 16, 3), np.uint8)).save(root / "CelebA-HQ-img/2001.jpg")
    with pytest.raises(
        ValueError, match=r"sample `2001`, image: .* must have twice the masks' height and width. Got \[15, 16\]"
    ):
        readers.celebamask(root)[1]
    mapping = root / "CelebA-HQ-to-CelebA-mapping.txt"
    mapping.write_text("idx orig_idx orig_file\n0 one 000001.jpg\n")
    with pytest.raises(ValueError, match=r"mapping.txt' must hold two numbers and a file in each line. Got '0 one"):
        readers.celebamask(root)
    mapping.write_text("idx orig_idx orig_file\n1998 162771 162772.jpg\n")
    with pytest.raises(FileNotFoundError, match=r"CelebAMask-HQ train must have at least one sample"):
        readers.celebamask(root)
