import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from mtl_core import datasets
from mtl_core.data import MultiTaskData
from mtl_core.datasets import digits, domains, embedded, fashion, scripts

SCRIPTS = {
    "armenian": 26,
    "cyrillic": 30,
    "devanagari": 28,
    "ethiopic": 26,
    "georgian": 30,
    "greek": 24,
    "hebrew": 22,
    "thai": 26,
}


def whole(split) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """All images and labels of a part, by task."""
    found = {}
    for source in split.sources:
        images, targets = source.data.batch(torch.arange(len(source)))
        found[source.names[0]] = (images, targets[source.names[0]])
    return found


SETS = {
    "digits": (digits, {"digits": (10, (1197, 200, 400))}, (1, 8, 8)),
    "fashion": (fashion, {"fashion": (10, (1700, 300, 1000))}, (1, 28, 28)),
    "scripts": (scripts, {name: (n, (10 * n, 4 * n, 6 * n)) for name, n in SCRIPTS.items()}, (1, 28, 28)),
    "domains": (
        domains,
        {
            "digits": (10, (1197, 200, 400)),
            "fashion": (10, (1700, 300, 1000)),
            "devanagari": (28, (280, 112, 168)),
            "georgian": (30, (300, 120, 180)),
        },
        (1, 32, 32),
    ),
}


@pytest.mark.parametrize("name", SETS)
def test_sizes_tasks_and_values(name: str) -> None:
    """Every set has the tasks, classes, parts and image size that its docstring names, and values in [0, 1]."""
    make, tasks, shape = SETS[name]
    data = make()
    assert {task: data.tasks[task].channels for task in data.tasks} == {task: tasks[task][0] for task in tasks}
    for part, split in enumerate((data.train, data.validation, data.test)):
        parts = whole(split)
        assert {task: len(labels) for task, (_, labels) in parts.items()} == {
            task: tasks[task][1][part] for task in tasks
        }
        for task, (images, labels) in parts.items():
            assert images.shape[1:] == shape
            assert images.dtype == torch.float32
            assert images.min() == 0
            assert 0.9 < images.max() <= 1
            assert labels.dtype == torch.int64
            assert labels.unique().tolist() == list(range(tasks[task][0]))


@pytest.mark.parametrize("name", ["digits", "fashion", "scripts"])
def test_no_image_is_in_two_parts(name: str) -> None:
    """Images of the test part occur in no other part."""
    data: MultiTaskData = SETS[name][0]()
    parts = [whole(split) for split in (data.train, data.validation, data.test)]
    for task in data.tasks:
        seen = [{image.numpy().tobytes() for image in part[task][0]} for part in parts]
        assert not seen[0] & seen[2]
        assert not seen[1] & seen[2]
        assert not seen[0] & seen[1]


def test_fashion_has_as_many_images_of_each_class() -> None:
    """All parts are balanced."""
    data = fashion()
    for split, count in ((data.train, 170), (data.validation, 30), (data.test, 100)):
        assert whole(split)["fashion"][1].bincount().tolist() == [count] * 10


def test_scripts_can_be_told_apart_by_their_nearest_neighbours() -> None:
    """Drawings carry their character: the nearest training drawing is right far more often than chance."""
    data = scripts()
    train, test = whole(data.train), whole(data.test)
    for task in data.tasks:
        distance = torch.cdist(test[task][0].flatten(1), train[task][0].flatten(1))
        right = (train[task][1][distance.argmin(1)] == test[task][1]).float().mean()
        assert 0.25 < right < 1, (task, right)  # chance: 1 in 22 to 30


def test_the_fingerprint_is_stable() -> None:
    """Two readings have the same hash."""
    assert digits().train.fingerprint() == digits().train.fingerprint()
    assert digits().train.fingerprint() != digits().test.fingerprint()


def test_all_files_together_are_small_and_hold_plain_arrays() -> None:
    """At most 10 MB in the wheel, no pickled object, and a text beside each file that names licence and maker."""
    files = sorted(embedded.FOLDER.glob("*.npz"))
    assert {file.stem for file in files} >= {"digits", "fashion", "scripts"}
    assert sum(file.stat().st_size for file in embedded.FOLDER.iterdir()) <= 10_000_000
    for file in files:
        with np.load(file, allow_pickle=False) as archive:
            assert all(archive[key].dtype.kind in "iufbU" for key in archive.files)
        text = file.with_suffix(".txt").read_text(encoding="utf-8")
        assert "Licence:" in text
        assert f"Made by: shared/datasets/make_{file.stem}.py" in text


def test_scripts_say_that_they_are_no_handwriting() -> None:
    """Wherever they appear: the docstrings and the text beside the file."""
    for text in (scripts.__doc__, domains.__doc__):
        assert text is not None
        assert "not handwriting" in " ".join(text.split())
    assert "NOT HANDWRITING" in (embedded.FOLDER / "scripts.txt").read_text(encoding="utf-8")


def test_a_missing_file_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the data set, the place, and the remedy."""
    monkeypatch.setattr(embedded, "FOLDER", tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"The data set `digits` must lie in .*digits.npz'. It does not: install"
    ):
        digits()


@pytest.mark.parametrize("content", [b"", b"no zip at all", None])
def test_a_damaged_file_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> None:
    """Empty, foreign and truncated files are named."""
    whole_file = (embedded.FOLDER / "digits.npz").read_bytes()
    (tmp_path / "digits.npz").write_bytes(whole_file[: len(whole_file) // 2] if content is None else content)
    monkeypatch.setattr(embedded, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"The data set `digits` in .*digits.npz' is damaged: install mtl-core again"):
        digits()


def test_a_flipped_bit_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive's check sums find it."""
    content = bytearray((embedded.FOLDER / "digits.npz").read_bytes())
    with zipfile.ZipFile(embedded.FOLDER / "digits.npz") as archive:
        start = archive.getinfo("images.npy").header_offset
    content[start + 5000] ^= 16
    (tmp_path / "digits.npz").write_bytes(content)
    monkeypatch.setattr(embedded, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="is damaged"):
        digits()


def test_all_names_are_there() -> None:
    """`__all__` names what can be imported, sorted."""
    assert all(hasattr(datasets, name) for name in datasets.__all__)
