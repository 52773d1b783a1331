from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mtl_core.datasets import folders


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Three dogs and two cats, 6 x 8 pixels, one of them grey and one a PNG with a palette."""
    rng = np.random.default_rng(0)
    for name, count in (("dog", 3), ("cat", 2)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for index in range(count):
            image = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
            image = image.convert("L") if (name, index) == ("dog", 0) else image
            image = image.convert("P") if (name, index) == ("dog", 1) else image
            image.save(tmp_path / "pets" / name / f"{index}.png")
    (tmp_path / "pets" / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "pets" / ".hidden").mkdir()
    return tmp_path / "pets"


def test_classes_are_the_sorted_folders(pets: Path) -> None:
    """Numbers follow the names, and what is no image is passed over."""
    (source,) = folders({"pets": pets})
    assert source.classes == ("cat", "dog")
    assert source.tasks == ("pets",)
    assert [int(source[i][1]["pets"]) for i in range(len(source))] == [0, 0, 1, 1, 1]


@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_has_the_channels_asked_for(pets: Path, channels: int) -> None:
    """Grey, palette and colour files give the same number of channels, in [0, 1]."""
    (source,) = folders({"pets": pets}, channels=channels)
    inputs, targets = source.batch(torch.arange(5))
    assert inputs.shape == (5, channels, 6, 8)
    assert inputs.dtype == torch.float32
    assert 0 <= inputs.min() <= inputs.max() <= 1
    assert targets["pets"].dtype == torch.int64


def test_pixels_are_those_of_the_file(pets: Path) -> None:
    """A lossless file gives its bytes divided by 255."""
    (source,) = folders({"pets": pets})
    expected = np.asarray(Image.open(pets / "cat" / "1.png").convert("RGB")).transpose(2, 0, 1)
    torch.testing.assert_close(source[1][0], torch.from_numpy(expected.copy()) / 255)


def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path) -> None:
    """A 16-bit file is divided by 65,535, not cut off at 255."""
    (tmp_path / "a").mkdir()
    Image.fromarray(np.array([[0, 32768], [65535, 257]], dtype=np.uint16)).save(tmp_path / "a" / "0.png")
    (source,) = folders({"depth": tmp_path}, channels=1)
    torch.testing.assert_close(source[0][0], torch.tensor([[[0, 32768], [65535, 257]]]) / 65535)


def test_size_resizes_and_keeps_a_constant_image(tmp_path: Path) -> None:
    """All images get the size asked for; a constant stays the constant."""
    for index, size in enumerate([(9, 5), (20, 30)]):
        (tmp_path / "a").mkdir(exist_ok=True)
        Image.new("RGB", size, (51, 102, 255)).save(tmp_path / "a" / f"{index}.png")
    (source,) = folders({"task": tmp_path}, size=(7, 6))
    inputs, _ = source.batch(torch.tensor([0, 1]))
    assert inputs.shape == (2, 3, 7, 6)
    torch.testing.assert_close(inputs, torch.tensor([0.2, 0.4, 1.0]).view(1, 3, 1, 1).expand_as(inputs))


def test_a_part_without_a_class_keeps_the_numbers_of_the_other_part(pets: Path, tmp_path: Path) -> None:
    """With the classes of the training part, `dog` is 1 where no cat is there."""
    training = folders({"pets": pets})
    (tmp_path / "test" / "dog").mkdir(parents=True)
    Image.new("RGB", (8, 6)).save(tmp_path / "test" / "dog" / "0.png")
    (test,) = folders({"pets": tmp_path / "test"}, classes={source.task: source.classes for source in training})
    assert int(test[0][1]["pets"]) == 1


def test_one_source_per_task(pets: Path) -> None:
    """The sources come in the order of the folders given."""
    assert [source.tasks for source in folders({"b": pets, "a": pets})] == [("b",), ("a",)]


def test_the_fingerprint_tells_content_and_decoding(pets: Path) -> None:
    """It is stable, and another size, another file or another byte changes it."""
    first = folders({"pets": pets})[0].fingerprint()
    assert first == folders({"pets": pets})[0].fingerprint()
    assert first != folders({"pets": pets}, size=(4, 4))[0].fingerprint()
    Image.new("RGB", (8, 6)).save(pets / "cat" / "0.png")
    assert first != folders({"pets": pets})[0].fingerprint()


def test_a_missing_folder_shows_the_layout(tmp_path: Path) -> None:
    """The error names folder and task, and draws what is expected."""
    with pytest.raises(
        FileNotFoundError, match=r"There is no folder .*nothing' of task `pets`. Expected:\n.*\n *one_class/"
    ):
        folders({"pets": tmp_path / "nothing"})
    with pytest.raises(FileNotFoundError, match=r"of task `pets` has no folder of a class. Expected:"):
        folders({"pets": tmp_path})
    (tmp_path / "cat").mkdir()
    with pytest.raises(FileNotFoundError, match=r"The class 'cat' of task `pets` has no image. Expected:"):
        folders({"pets": tmp_path})


@pytest.mark.parametrize("keep", [0, 40])
def test_a_damaged_file_is_named_with_its_task(pets: Path, keep: int) -> None:
    """An empty and a truncated file say which file and which task."""
    file = pets / "cat" / "0.png"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"The image .*0.png' of task `pets` cannot be read"):
        folders({"pets": pets})[0][0]


def test_different_sizes_in_a_batch_are_refused(pets: Path) -> None:
    """Without `size` the error names both files."""
    Image.new("RGB", (5, 5)).save(pets / "cat" / "0.png")
    with pytest.raises(ValueError, match=r"`size` must be given.*\(5, 5\) in .*0.png.* \(6, 8\) in .*1.png.*`pets`"):
        folders({"pets": pets})[0].batch(torch.tensor([0, 1]))


def test_malformed_arguments_are_refused(pets: Path) -> None:
    """Channels, size and classes are checked before a file is opened."""
    with pytest.raises(ValueError, match=r"`channels` must be 1 or 3. Got `channels = 2`"):
        folders({"pets": pets}, channels=2)
    with pytest.raises(ValueError, match=r"`size` must be a positive height and width. Got `size = \(0, 4\)`"):
        folders({"pets": pets}, size=(0, 4))
    with pytest.raises(ValueError, match=r"`classes\['pets'\]` must name every folder .* Got `classes` without cat"):
        folders({"pets": pets}, classes={"pets": ["dog"]})
