"""`python -m mtl_core.datasets check`: what is there, what is missing, how many of what, and a picture of it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mtl_core.datasets.__main__ import main
from mtl_core.datasets.checking import check, layouts
from mtl_core.datasets.sheet import NOTHING, TILE, colours, sheet
from mtl_core.testing import layouts as write

pytest.importorskip("scipy")

FOLDERS: dict[str, tuple[Callable[[Path], Path], dict[str, int]]] = {
    "celeba": (write.celeba, {"train": 3, "val": 2, "test": 1}),
    "celebamask": (write.celebamask, {"train": 3, "val": 1, "test": 1}),
    "cifar10": (write.cifar10, {"train": 12, "test": 5}),
    "cifar100": (write.cifar100, {"train": 200, "test": 100}),
    "cityscapes": (write.cityscapes, {"train": 3, "val": 2}),
    "fashion_mnist": (lambda r: write.idx(r, "FashionMNIST"), {"train": 12, "test": 5}),
    "mnist": (write.idx, {"train": 12, "test": 5}),
    "nyuv2": (lambda r: write.nyuv2(r, "nyud_mt"), {"train": 3, "val": 2}),
    "nyuv2_adashare": (lambda r: write.nyuv2(r, "adashare"), {"train": 3, "val": 2}),
    "nyuv2_npy": (write.nyuv2, {"train": 3, "val": 2}),
    "nyud_mt": (lambda r: write.nyuv2(r, "nyud_mt"), {"train": 3, "val": 2}),
    "omniglot": (lambda r: write.omniglot(r, side=8), {"train": 400, "val": 160, "test": 240}),
    "pascal": (write.pascal_context, {"train": 3, "val": 2}),
    "stl10": (write.stl10, {"train": 12, "test": 5}),
    "svhn": (write.svhn, {"train": 12, "test": 5}),
    "taskonomy": (write.taskonomy, {"train": 3, "val": 2, "test": 1}),
    "usps": (write.usps, {"train": 12, "test": 5}),
    "decathlon_dtd": (lambda r: write.decathlon(r, ["dtd"]), {"train": 4, "val": 2}),
}


def test_every_layout_can_be_checked() -> None:
    """Each name has a folder here; the ten sets of the decathlon are read alike."""
    assert {name for name in layouts() if not name.startswith("decathlon_")} == set(FOLDERS) - {"decathlon_dtd"}
    assert sum(name.startswith("decathlon_") for name in layouts()) == 10


@pytest.mark.parametrize("layout", FOLDERS)
def test_a_whole_folder_has_no_problem(tmp_path: Path, layout: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Counts of each part, labels of each task, exit 0, and a picture with a row for each sample shown."""
    make, counts = FOLDERS[layout]
    path = tmp_path / "sheets" / "a.png"
    status = main(["check", str(make(tmp_path / "set")), "--layout", layout, "--show", "2", "--sheet", str(path)])
    said = capsys.readouterr().out
    assert (status, "problem" in said) == (0, False), said
    for part, count in counts.items():
        assert f"{part}: {count:,} samples" in said
    assert f"Contact sheet: {path}" in said
    with Image.open(path) as picture:
        assert picture.width >= TILE
        assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 10


def test_what_is_missing_and_damaged_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files of a sample, a file that cannot be decoded, a part that is not there; exit 1, and the rest is shown."""
    root = write.nyuv2(tmp_path / "set", "nyud_mt", {"train": 12})
    for index in range(2, 9):
        (root / f"depth/train_{index:04d}.npy").unlink()
    (root / "segmentation/train_0000.png").write_bytes(b"\x89PNG")
    status = main(["check", str(root), "--layout", "nyuv2", "--sheet", str(tmp_path / "a.png")])
    said = capsys.readouterr().out
    assert status == 1
    assert "train: 12 samples of 795 in the public set, 4 decoded" in said
    assert "    segmentation: labelled in 4 of them" in said
    assert "problem: sample `train_0002`, depth: '" in said
    assert "and 3 problems more" in said
    assert "val: 0 samples" in said
    assert "There is no" in said
    assert "Expected:" in said
    one = check(root, "nyuv2", decode=2)[0]
    assert one.looked_at == 1
    assert (len(one.problems), one.more) == (5, 3)  # seven depths and the damaged labels


def test_a_folder_that_is_not_there_has_no_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every part says so."""
    assert main(["check", str(tmp_path / "nothing"), "--layout", "mnist"]) == 1
    said = capsys.readouterr().out
    assert said.count("MNIST was looked for in") == 2
    assert "Contact sheet" not in said


def test_the_command_runs_by_its_name(tmp_path: Path) -> None:
    """As the documentation writes it; a layout that is not known is refused with exit 2."""
    root = write.usps(tmp_path / "set")
    command = [sys.executable, "-m", "mtl_core.datasets", "check", str(root), "--layout"]
    done = subprocess.run([*command, "usps"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "usps.png").is_file()
    with pytest.raises(SystemExit, match="2"):
        main(["check", str(root), "--layout", "imagenet"])
    with pytest.raises(ValueError, match=r"`layout` must be one of celeba, .*Got `layout = 'imagenet'`"):
        check(root, "imagenet")


def test_labels_are_told_apart_on_the_sheet() -> None:
    """Classes differ, 255 is black, a nearer thing is brighter, normals are colours, what is not labelled stands out."""
    classes = colours(torch.tensor([[0, 1, 2, 255]]))
    assert len(np.unique(classes.reshape(-1, 3), axis=0)) == 4
    assert classes[0, 3].tolist() == [0, 0, 0]
    depth = colours(torch.tensor([[[1.0, 4.0, 0.0]]]), "depth")
    assert depth[0, 0].sum() > depth[0, 1].sum()
    assert depth[0, 2].tolist() == list(NOTHING)
    normals = colours(torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]], [[0.0, 0.0]]]))
    assert normals[0].tolist() == [[255, 128, 128], [0, 0, 0]]
    strength = colours(torch.tensor([[[0.0, 1.0, float("nan")]]]))
    assert strength[0].tolist() == [[0, 0, 0], [255, 255, 255], list(NOTHING)]
    assert colours(torch.full((1, 2, 2), float("nan"))).reshape(-1, 3).tolist() == [list(NOTHING)] * 4


def test_a_sheet_has_a_row_for_each_sample() -> None:
    """As high as the samples' forms ask for, with lines for single values; without a sample it is refused."""
    image = torch.rand(3, 40, 80)
    one = sheet([("a", image, {"kind": torch.tensor(3)})])
    two = sheet(
        [("a", image, {"kind": torch.tensor(3)}), ("b → c", image[:1] * 5 - 2, {"depth": torch.ones(1, 40, 80)})]
    )
    assert two.height > one.height + TILE // 2
    assert two.width > one.width + TILE // 2
    with pytest.raises(ValueError, match=r"`samples` must hold at least one sample. Got none"):
        sheet([])
