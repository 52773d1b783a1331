"""Small images and one data set per task: what is decoded is what was written, and what is wrong is named."""

import bz2
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mtl_core import MultiTaskData
from mtl_core.datasets import readers
from mtl_core.datasets.readers.characters import ALPHABETS, task_name
from mtl_core.datasets.readers.cifar import SUPERCLASSES
from mtl_core.datasets.readers.decathlon import DOMAINS
from mtl_core.task import classification
from mtl_core.testing import layouts

SETS: dict[str, tuple[Callable[..., Any], Callable[..., Path], tuple[int, ...]]] = {
    "mnist": (readers.mnist, layouts.idx, (28, 28)),
    "fashion_mnist": (readers.fashion_mnist, lambda root: layouts.idx(root, "FashionMNIST"), (28, 28)),
    "cifar10": (readers.cifar10, layouts.cifar10, (3, 32, 32)),
    "stl10": (readers.stl10, layouts.stl10, (3, 96, 96)),
    "usps": (readers.usps, layouts.usps, (256,)),
    "svhn": (readers.svhn, layouts.svhn, (32, 32, 3)),
}


def pixels(name: str, index: int) -> np.ndarray:
    """The image that was written, `[channels, h, w]` in [0, 1]."""
    image = layouts.picture(index, *SETS[name][2]) / 255
    if name == "svhn":
        return image.transpose(2, 0, 1)
    return image.reshape(1, 16, 16) if name == "usps" else image.reshape(-1, *image.shape[-2:])


@pytest.mark.parametrize("name", SETS)
def test_images_and_classes_are_those_written(tmp_path: Path, name: str) -> None:
    """Counts of both parts, pixels in [0, 1] the right way round, classes from 0, whatever the disk has."""
    read, write, _ = SETS[name]
    root = write(tmp_path)
    order = [k for first in range(5) for k in range(first, 12, 5)] if name == "cifar10" else list(range(12))
    for part, indices in (("train", order), ("test", list(range(5)))):
        source = read(root, part)
        assert (len(source), tuple(source.tasks)) == (len(indices), (name,))
        for row, index in enumerate(indices):
            image, targets = source[row]
            np.testing.assert_allclose(image, pixels(name, index), atol=1e-6)
            assert (targets[name].dtype, int(targets[name])) == (torch.int64, index % 10)
    (view,) = MultiTaskData([classification(name, 10)], read(root)).train.batch(0, 0, 0, 4)
    assert view.inputs.shape == (4, *pixels(name, 0).shape)


@pytest.mark.parametrize("name", SETS)
def test_a_missing_root_or_file_shows_the_layout(tmp_path: Path, name: str) -> None:
    """What was looked for, where, the tree, where it is from; one of two files missing is named."""
    read, write, _ = SETS[name]
    with pytest.raises(FileNotFoundError, match=r"(?s)was looked for in .*nothing'. There is no .*Expected:.*From: "):
        read(tmp_path / "nothing")
    root = write(tmp_path)
    file = max(
        (
            path
            for path in root.rglob("*")
            if path.is_file() and "test" not in path.name and ".t." not in path.name and "t10k" not in path.name
        ),
        key=str,
    )
    file.unlink()
    with pytest.raises(FileNotFoundError, match=rf"There is no '.*{file.name}'. Expected"):
        read(root)
    with pytest.raises(ValueError, match=r"`part` must be among train, test. Got `part = 'val'`"):
        read(root, "val")


def test_idx_files_may_be_packed_or_lie_elsewhere(tmp_path: Path) -> None:
    """`.gz` as they are distributed; the folder `raw` or the files' own folder as root."""
    root = layouts.idx(tmp_path)
    first = readers.mnist(root)
    folder = root / "MNIST" / "raw"
    assert readers.mnist(folder).fingerprint() == readers.mnist(folder.parent).fingerprint() == first.fingerprint()
    for path in list(folder.iterdir()):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert torch.equal(readers.mnist(root)[3][0], first[3][0])
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(b"\x1f\x8b no")
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte.gz' cannot be unpacked"):
        readers.mnist(root)


IDX = "MNIST/raw/train-{}-ubyte"
BAD = {
    "no idx file": (
        "mnist",
        IDX.format("images-idx3"),
        lambda b: b"\x89PNG" + b[4:],
        r"must be an idx file of bytes with 3 axes. It begins with 8950",
    ),
    "idx of floats": (
        "mnist",
        IDX.format("images-idx3"),
        lambda b: b"\0\0\x0d\x03" + b[4:],
        r"must be an idx file of bytes with 3 axes",
    ),
    "a cut idx file": (
        "mnist",
        IDX.format("images-idx3"),
        lambda b: b[:-1],
        r"must hold 9408 bytes after its head, as that says. Got 9407",
    ),
    "an empty file": ("mnist", IDX.format("images-idx3"), lambda b: b"", r"must hold images. It is empty"),
    "a cut head": ("mnist", IDX.format("labels-idx1"), lambda b: b[:6], r"must be an idx file of bytes with 1 axes"),
    "no pixel": (
        "mnist",
        IDX.format("images-idx3"),
        lambda b: b[:8] + b"\0\0\0\0" + b[12:16],
        r"must hold images of at least one pixel",
    ),
    "too few labels": (
        "mnist",
        IDX.format("labels-idx1"),
        lambda b: b[:7] + b"\x0b" + b[8:-1],
        r"must hold a label for each image. Got 11 for 12",
    ),
    "class 10 of 10": (
        "mnist",
        IDX.format("labels-idx1"),
        lambda b: b[:-1] + b"\x0a",
        r"must hold classes from 0 to 9. Got 10",
    ),
    "a cut record": (
        "cifar10",
        "cifar-10-batches-bin/data_batch_1.bin",
        lambda b: b[:-1],
        r"must hold records of 3073 bytes. Got 9218",
    ),
    "class 200": (
        "cifar10",
        "cifar-10-batches-bin/data_batch_1.bin",
        lambda b: b"\xc8" + b[1:],
        r"must hold classes from 0 to 9. Got 200",
    ),
    "a cut image": ("stl10", "stl10_binary/train_X.bin", lambda b: b[:-1], r"must hold images of 27648 bytes"),
    "a class that was not shifted": (
        "stl10",
        "stl10_binary/train_y.bin",
        lambda b: b"\0" + b[1:],
        r"must hold classes from 0 to 9. Got -1",
    ),
    "no bz2": ("usps", "usps.bz2", lambda b: b[10:], r"cannot be unpacked"),
    "no line of LIBSVM": (
        "usps",
        "usps.bz2",
        lambda b: bz2.compress(b"1 1:0.5"),
        r"must hold a class and 256 values .* Sample `0`: 1 pixels",
    ),
    "words": (
        "usps",
        "usps.bz2",
        lambda b: bz2.compress(b"one two"),
        r"must hold a class and 256 values .* Sample `0`",
    ),
    "pixels of 0 to 255": (
        "usps",
        "usps.bz2",
        lambda b: bz2.compress(bz2.decompress(b).replace(b" 1:", b" 1:200")),
        r"must hold .* Sample `0`: 256 pixels, values up to 200",
    ),
    "no MATLAB file": (
        "svhn",
        "train_32x32.mat",
        lambda b: b[:200],
        r"cannot be read as a MATLAB file|must hold the variable",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_named(tmp_path: Path, case: str) -> None:
    """With what it must hold; a class out of range with its sample and task."""
    name, file, change, message = BAD[case]
    read, write, _ = SETS[name]
    path = write(tmp_path) / file
    path.write_bytes(change(path.read_bytes()))
    where = rf"sample `\d+`, task `{name}`: '.*{path.name}' " if "classes from" in message else rf"{path.name}' "
    with pytest.raises(ValueError, match=where + f"({message})"):
        read(tmp_path)


def test_a_mat_file_of_another_form_is_named(tmp_path: Path) -> None:
    """Images of floats, and labels for too few."""
    from scipy.io import savemat

    root = layouts.svhn(tmp_path)
    savemat(root / "train_32x32.mat", {"X": np.zeros((32, 32, 3, 2)), "y": np.ones((2, 1))})
    with pytest.raises(ValueError, match=r"train_32x32.mat' must hold numbers, \[h, w, 3, samples\]. Got float64"):
        readers.svhn(root)
    savemat(root / "train_32x32.mat", {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.array([[1], [11]])})
    with pytest.raises(
        ValueError, match=r"SVHN train, sample `1`, task `svhn`: .* must hold classes from 0 to 9. Got 11"
    ):
        readers.svhn(root)


# CIFAR -----------------------------------------------------------------------------------------------------------------


def test_cifar100_is_20_tasks_of_five_classes(tmp_path: Path) -> None:
    """Each image in the task of its superclass; classes numbered in the order of the fine labels, in both parts alike."""
    root = layouts.cifar100(tmp_path)
    for part, count in (("train", 200), ("test", 100)):
        sources = readers.cifar100_superclasses(root, part)
        assert [tuple(source.tasks) for source in sources] == [(name,) for name in SUPERCLASSES]
        assert sum(map(len, sources)) == count
        image, targets = sources[3][2]  # the third of superclass 3: fine label 43, the third of 3, 23, 43, 63, 83
        np.testing.assert_allclose(image, layouts.picture(43, 3, 32, 32) / 255, atol=1e-6)
        assert int(targets[SUPERCLASSES[3]]) == 2
        for source in sources:
            labels = [int(next(iter(source[k][1].values()))) for k in range(len(source))]
            assert labels == [0, 1, 2, 3, 4] * (count // 100)
    whole = readers.cifar100(root)
    assert [int(whole[k][1]["cifar100"]) for k in (0, 42, 142)] == [0, 42, 42]


def test_cifar_reads_folders_of_images(tmp_path: Path) -> None:
    """Classes sorted by name; 20 superclasses with five classes each."""
    sources = readers.cifar100_superclasses(layouts.cifar100_folders(tmp_path / "100"))
    assert [source.tasks["trees"].channels for source in sources if "trees" in source.tasks] == [5]
    image, targets = sources[0][9]
    np.testing.assert_allclose(image, layouts.picture(41, 32, 32, 3).transpose(2, 0, 1) / 255, atol=1e-6)
    assert int(targets["aquatic_mammals"]) == 4
    ten = tmp_path / "ten"
    for name in ("ship", "bird"):
        (ten / "train" / name).mkdir(parents=True)
        Image.new("RGB", (32, 32), (255, 0, 0)).save(ten / "train" / name / "a.png")
    source = readers.cifar10(ten)
    assert [(name, int(source[k][1]["cifar10"])) for k, name in enumerate(source.samples)] == [
        ("bird/a.png", 0),
        ("ship/a.png", 1),
    ]
    (ten / "train/ship/a.png").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"sample `ship/a.png`, image: '.*ship/a.png' cannot be decoded"):
        source[1]
    (ten / "train/ship/a.png").unlink()
    (ten / "train/bird/a.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"must hold a folder of images for each of two or more classes"):
        readers.cifar10(ten)


def test_cifar100_says_what_is_missing_or_wrong(tmp_path: Path) -> None:
    """A superclass that is out of range, one without its five classes, a missing folder."""
    root = layouts.cifar100(tmp_path / "a")
    file = root / "cifar-100-binary/train.bin"
    content = bytearray(file.read_bytes())
    content[0] = 20
    file.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"sample `0`, task `superclass`: '.*train.bin' must hold classes from 0 to 19. Got 20"
    ):
        readers.cifar100_superclasses(root)
    file.write_bytes(bytes(content)[3074 : 3074 * 40])
    with pytest.raises(ValueError, match=r"train.bin' must hold five classes of superclass `aquatic_mammals`. Got 1"):
        readers.cifar100_superclasses(root)
    with pytest.raises(FileNotFoundError, match=r"There is no '.*test.bin'"):
        readers.cifar100(layouts.cifar100(tmp_path / "c", {"train": 100}), "test")
    other = layouts.cifar100_folders(tmp_path / "b")
    (other / "train/trees").rename(other / "train/shrubs")
    with pytest.raises(FileNotFoundError, match=r"There is no '.*train/trees'"):
        readers.cifar100_superclasses(other)


# Omniglot --------------------------------------------------------------------------------------------------------------

TWO = ("Gujarati", "Malay_(Jawi_-_Arabic)")


def test_omniglot_is_split_within_each_character(tmp_path: Path) -> None:
    """10, 4 and 6 drawings of each, no drawing twice, another shuffle for each alphabet; ink 1 on 0, 105×105."""
    root = layouts.omniglot(tmp_path, TWO, characters=3)
    parts = {part: readers.omniglot(root, part, alphabets=TWO) for part in ("train", "val", "test")}
    assert [[len(source) for source in sources] for sources in parts.values()] == [[30, 30], [12, 12], [18, 18]]
    for k, alphabet in enumerate(TWO):
        names = [name for sources in parts.values() for name in sources[k].samples]
        assert len(set(names)) == 60
        assert list(parts["train"][k].tasks) == [task_name(alphabet)]
    assert parts["train"][0].samples != parts["train"][1].samples
    assert parts["train"][0].samples == readers.omniglot(root, alphabets=TWO[:1])[0].samples
    source = parts["test"][1]
    for row in range(len(source)):
        image, targets = source[row]
        character, drawing = (int(text) for text in source.samples[row].split("/")[1].removesuffix(".png").split("_"))
        assert image.shape == (1, 105, 105)
        assert image[0, 0].sum() == drawing
        assert image.sum() == drawing + 105
        assert int(targets["Malay_Jawi_-_Arabic"]) == character - 1


def test_the_twenty_alphabets_make_names_of_tasks() -> None:
    """Twenty different ones, each a name that core takes."""
    assert len({classification(task_name(name), 2).name for name in ALPHABETS}) == 20


def test_omniglot_says_what_is_missing(tmp_path: Path) -> None:
    """Folders, alphabets, drawings, arguments; torchvision's folder is found."""
    with pytest.raises(FileNotFoundError, match=r"(?s)Omniglot was looked for.*There is no.*Expected:"):
        readers.omniglot(tmp_path / "nothing")
    root = layouts.omniglot(tmp_path / "omniglot-py", TWO)
    assert len(readers.omniglot(tmp_path, alphabets=TWO)) == 2
    with pytest.raises(FileNotFoundError, match=r"There is no 'Sylheti' in either folder"):
        readers.omniglot(root)
    with pytest.raises(ValueError, match=r"`alphabets` must be among Gujarati, .* Got \['Greek'\]"):
        readers.omniglot(root, alphabets=["Greek"])
    with pytest.raises(ValueError, match=r"`part` must be among train, val, test. Got `part = 'all'`"):
        readers.omniglot(root, "all")
    character = root / "images_background/Gujarati/character02"
    for path in character.iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"There is no drawing in '.*character02'"):
        readers.omniglot(root, alphabets=TWO)
    character.rmdir()
    with pytest.raises(FileNotFoundError, match=r"There are no two characters in '.*Gujarati'"):
        readers.omniglot(root, alphabets=TWO)


# Visual Decathlon ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coco", [False, True])
def test_the_decathlon_has_classes_from_0_and_its_own_means(tmp_path: Path, coco: bool) -> None:
    """Whatever the first number of a class is; (pixel − mean) / deviation of the set; [0, 1] where asked for."""
    root = layouts.decathlon(tmp_path, ["aircraft", "svhn"], coco=coco)
    for name in ("aircraft", "svhn"):
        reader = readers.decathlon(root, name)
        plain = readers.decathlon(root, name, normalize=False)
        found = {
            str(sample)[-8:]: (plain[k][0], reader[k][0], int(reader[k][1][name]))
            for k, sample in enumerate(reader.samples)
        }
        for index in range(4):
            raw, image, label = found[f"{index:04d}.jpg"]
            assert (list(raw.shape), label) == ([3, 72, 80 + index], index % 2)
            torch.testing.assert_close(raw, torch.full_like(raw, (40 * index + 20) / 255), atol=5e-3, rtol=0)
            mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (DOMAINS[name].mean, DOMAINS[name].deviation))
            torch.testing.assert_close(image * deviation + mean, raw, atol=1e-5, rtol=0)
        assert reader.tasks[name].channels == DOMAINS[name].classes
    assert len(readers.decathlon(root, "svhn", "val")) == 2


def test_the_ten_sets_are_those_of_the_challenge() -> None:
    """Numbers of classes, and the three sets whose images stay whole."""
    assert [domain.classes for domain in DOMAINS.values()] == [1000, 100, 100, 2, 47, 43, 1623, 10, 101, 102]
    assert [name for name, domain in DOMAINS.items() if domain.whole] == ["gtsrb", "omniglot", "svhn"]


def test_the_decathlon_says_what_is_missing_or_wrong(tmp_path: Path) -> None:
    """Names, parts, folders, lists, classes out of range."""
    root = layouts.decathlon(tmp_path / "a", ["daimlerpedcls"])
    with pytest.raises(ValueError, match=r"`name` must be among imagenet12, .* Got `name = 'pets'`"):
        readers.decathlon(root, "pets")
    with pytest.raises(ValueError, match=r"`part` must be among train, val. Got `part = 'test'`"):
        readers.decathlon(root, "daimlerpedcls", "test")
    with pytest.raises(
        FileNotFoundError, match=r"(?s)Visual Decathlon was looked for.*There is no '.*dtd/train'. Expected:"
    ):
        readers.decathlon(root, "dtd")
    folder = root / "decathlon-1.0-data/daimlerpedcls/train"
    (folder / "0002").rename(folder / "0003")
    with pytest.raises(
        ValueError, match=r"sample `0003/0001.jpg`, task `daimlerpedcls`: .* must hold 2 classes. Got class 2"
    ):
        readers.decathlon(root, "daimlerpedcls")
    (folder / "0003").rename(folder / "people")
    with pytest.raises(ValueError, match=r"train/people' must be a folder named by the number of a class"):
        readers.decathlon(root, "daimlerpedcls")
    (folder / "people").rename(folder.parent / "elsewhere")
    (folder / "0001").rename(folder.parent / "elsewhere too")
    with pytest.raises(FileNotFoundError, match=r"There is no image below '.*daimlerpedcls/train'"):
        readers.decathlon(root, "daimlerpedcls")
    other = layouts.decathlon(tmp_path / "b", ["dtd"], coco=True)
    listed = other / "annotations/dtd_train.json"
    table = json.loads(listed.read_text())
    table["annotations"][1]["category_id"] = 999
    listed.write_text(json.dumps(table))
    with pytest.raises(
        ValueError, match=r"dtd_train.json' must hold classes from 1000 on, as its categories say. Got 999"
    ):
        readers.decathlon(other, "dtd")
    table["annotations"][1]["image_id"] = -1
    listed.write_text(json.dumps(table))
    with pytest.raises(ValueError, match=r"dtd_train.json' must hold images and annotations in COCO's form"):
        readers.decathlon(other, "dtd")


# Downloads -------------------------------------------------------------------------------------------------------------


def test_only_whoever_asks_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's classes and functions are called with the folder and a checksum; an unknown name is refused."""
    from torchvision import datasets
    from torchvision.datasets import utils

    calls: list[tuple[Any, ...]] = []
    for name in ("MNIST", "FashionMNIST", "Omniglot", "STL10", "USPS"):
        monkeypatch.setattr(datasets, name, lambda *a, _name=name, **k: calls.append((_name, *a, k)))
    monkeypatch.setattr(utils, "download_and_extract_archive", lambda *a, **k: calls.append(("archive", *a, k)))
    monkeypatch.setattr(utils, "download_url", lambda *a, **k: calls.append(("url", *a, k)))
    for name in ("mnist", "fashion_mnist", "omniglot", "stl10", "usps", "cifar10", "cifar100", "svhn"):
        readers.download(name, tmp_path)
    assert [call[0] for call in calls] == [
        "MNIST", "FashionMNIST", "Omniglot", "Omniglot", "STL10", "USPS", "USPS", "archive", "archive", "url", "url",
    ]  # fmt: skip
    assert all(str(tmp_path) in call for call in calls)
    assert all(call[-1]["download"] for call in calls[:7])
    assert all(len(call[-1]["md5"]) == 32 for call in calls[7:9])
    with pytest.raises(ValueError, match=r"`name` must be among cifar10, .*usps. Got `name = 'imagenet'`"):
        readers.download("imagenet", tmp_path)
