"""Whatever happens to a file, a reader gives a sample in the conventions or one message that names the place."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mtl_core import MultiTaskData
from mtl_core.datasets import readers
from mtl_core.task import classification
from mtl_core.testing import layouts

pytest.importorskip("scipy")

ONE, TWO = {"train": 2}, ("Gujarati", "Korean")
SMALL = {"train": 3, "test": 1}

CASES: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Any]]] = {
    "nyuv2 npy": (lambda r: layouts.nyuv2(r, "npy", ONE), lambda r: readers.nyuv2(r)),
    "nyuv2 adashare": (lambda r: layouts.nyuv2(r, "adashare", ONE), lambda r: readers.nyuv2(r, layout="adashare")),
    "nyuv2 nyud_mt": (lambda r: layouts.nyuv2(r, "nyud_mt", ONE), lambda r: readers.nyuv2(r, layout="nyud_mt")),
    "cityscapes npy": (lambda r: layouts.cityscapes(r, "npy", ONE), lambda r: readers.cityscapes(r)),
    "cityscapes adashare": (
        lambda r: layouts.cityscapes(r, "x", ONE),
        lambda r: readers.cityscapes(r, layout="adashare"),
    ),
    "taskonomy": (lambda r: layouts.taskonomy(r, {"hanson": 2}), lambda r: readers.taskonomy(r)),
    "taskonomy dmtg": (lambda r: layouts.taskonomy(r, {"hanson": 2}), lambda r: readers.taskonomy(r, norm="dmtg")),
    "pascal": (lambda r: layouts.pascal_context(r, ONE), lambda r: readers.pascal_context(r, normal_classes=[1, 2])),
    "celeba": (lambda r: layouts.celeba(r, ONE), lambda r: readers.celeba(r)),
    "celebamask": (lambda r: layouts.celebamask(r, (0, 1)), lambda r: readers.celebamask(r)),
    "celebamask lomt": (
        lambda r: layouts.celebamask(r, (0, 1, 2, 3)),
        lambda r: readers.celebamask(r, classes=3, layout="lomt", split=r / "split.json"),
    ),
    "omniglot": (lambda r: layouts.omniglot(r, TWO, 2, 2, 9), lambda r: readers.omniglot(r, alphabets=TWO)),
    "decathlon": (lambda r: layouts.decathlon(r, ["dtd"]), lambda r: readers.decathlon(r, "dtd")),
    "decathlon coco": (lambda r: layouts.decathlon(r, ["dtd"], coco=True), lambda r: readers.decathlon(r, "dtd")),
    "mnist": (lambda r: layouts.idx(r, "MNIST", SMALL), lambda r: readers.mnist(r)),
    "cifar10": (lambda r: layouts.cifar10(r, {"train": 5, "test": 1}), lambda r: readers.cifar10(r)),
    "cifar100": (lambda r: layouts.cifar100(r, {"train": 100}), lambda r: readers.cifar100_superclasses(r)),
    "stl10": (lambda r: layouts.stl10(r, SMALL), lambda r: readers.stl10(r)),
    "usps": (lambda r: layouts.usps(r, SMALL), lambda r: readers.usps(r)),
    "svhn": (lambda r: layouts.svhn(r, SMALL), lambda r: readers.svhn(r)),
}

ARRAYS = [
    np.ones((12, 16), dtype) * value
    for dtype, value in (("f8", np.nan), ("f4", 0.5), ("i8", -9), ("u1", 254), ("c8", 1j), ("?", 1))
] + [np.ones((12, 16, 3), "f4"), np.ones((0, 3)), np.array("x"), np.ones((12, 16, 3), "i2"), np.array([{}], object)]


def damage(content: bytes, kind: str, place: float, other: bytes, path: Path) -> None:
    """Change one file."""
    at = int(place * len(content))
    if kind == "delete":
        path.unlink()
    elif kind == "array":
        with path.open("wb") as file:
            np.save(file, ARRAYS[int(place * len(ARRAYS)) % len(ARRAYS)])
    else:
        changed = {
            "cut": content[:at],
            "flip": content[:at] + bytes(255 - b for b in content[at : at + 4]) + content[at + 4 :],
            "noise": content[:at] + bytes(range(256)) + content[at:],
            "swap": other,
            "zeros": bytes(len(content)),
        }[kind]
        path.write_bytes(changed)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each layout once."""
    return {name: write(tmp_path_factory.mktemp("set")) for name, (write, _) in CASES.items()}


def looked_through(root: Path, read: Callable[[Path], Any]) -> int:
    """Read every sample and bring it through core's own checks; the number of samples."""
    found = read(root)
    count = 0
    for source in found if isinstance(found, list) else [found]:
        tasks = source.tasks.values() if isinstance(source.tasks, dict) else [classification(source.tasks[0], 100)]
        count += sum(len(view.inputs) for view in MultiTaskData(tasks, source).train.views(1))
    return count


@pytest.mark.parametrize("name", CASES)
def test_an_undamaged_set_reads(folders: dict[str, Path], name: str) -> None:
    """So that the next test's damage is what it meets."""
    assert looked_through(folders[name], CASES[name][1]) >= 2


@settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.sampled_from(sorted(CASES)),
    kind=st.sampled_from(["cut", "flip", "noise", "swap", "zeros", "delete", "array"]),
    which=st.floats(0, 0.999),
    place=st.floats(0, 1),
    swapped=st.floats(0, 0.999),
)
def test_damage_gives_samples_or_one_message(
    folders: dict[str, Path], name: str, kind: str, which: float, place: float, swapped: float
) -> None:
    """A ValueError or a FileNotFoundError with a path of the set in it, or samples that pass every check of core."""
    root = folders[name]
    files = sorted(path for path in root.rglob("*") if path.is_file())
    path, other = files[int(which * len(files))], files[int(swapped * len(files))].read_bytes()
    content = path.read_bytes()
    try:
        damage(content, kind, place, other, path)
        said = ""
        try:
            looked_through(root, CASES[name][1])
        except (ValueError, FileNotFoundError) as error:
            said = f"{type(error).__name__}: {error}"
    finally:
        path.write_bytes(content)
    assert not said or said.startswith(("ValueError: ", "FileNotFoundError: ", "Malformed: "))
    assert not said or any(words in said for words in (str(root), "`part` must be among", "at least one sample"))
    assert "Traceback" not in said
