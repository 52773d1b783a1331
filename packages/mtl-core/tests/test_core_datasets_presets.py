"""Presets: what the papers' experiments see, from folders in the true layouts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from mtl_core import Config, Run, SharedBackbone, backbones, evaluate, fingerprint, fit, heads, losses
from mtl_core.commands.names import PRESETS, find_data
from mtl_core.datasets import presets
from mtl_core.datasets.readers.celeba import NINE, SIX
from mtl_core.testing import layouts

pytest.importorskip("scipy")

TWO = ("Gujarati", "Korean")
DENSE = ("segmentation", "normals", "depth")

# Writer, arguments, tasks, the size in training, channels.
CASES: dict[str, tuple[Callable[[Path], Path], dict[str, Any], tuple[str, ...], tuple[int, int], int]] = {
    "four_domains": (layouts.four_domains, {}, ("cifar10", "stl10", "usps", "mnist"), (72, 72), 3),
    "cifar100": (layouts.cifar100, {}, ("aquatic_mammals", "fish"), (32, 32), 3),
    "decathlon": (lambda r: layouts.decathlon(r, ["dtd", "svhn"]), {"names": ["dtd", "svhn"]}, ("dtd", "svhn"), (64, 64), 3),
    "nyuv2": (lambda r: layouts.nyuv2(r, "adashare", {"train": 2, "test": 2}), {}, DENSE, (321, 321), 3),
    "nyuv2_13": (layouts.nyuv2, {}, ("segmentation", "depth", "normals"), (12, 16), 3),
    "nyuv2_edges": (lambda r: layouts.nyuv2(r, "nyud_mt"), {}, ("segmentation", "depth", "normals", "edges"), (256, 256), 3),
    "faces": (layouts.celebamask, {}, ("segmentation", *SIX), (256, 256), 3),
    "tiny_taskonomy": (layouts.taskonomy, {}, (*DENSE, "keypoints", "edges"), (224, 224), 3),
    "taskonomy": (layouts.taskonomy, {}, ("depth", "normals", "segmentation", "keypoints", "edges"), (256, 256), 3),
    "celeba": (layouts.celeba, {}, NINE, (64, 64), 3),
    "omniglot": (lambda r: layouts.omniglot(r, TWO), {"alphabets": TWO}, TWO, (105, 105), 1),
    "cityscapes": (lambda r: layouts.cityscapes(r, "adashare"), {}, ("segmentation", "depth"), (224, 224), 3),
    "pascal": (
        layouts.pascal_context, {}, ("segmentation", "human_parts", "normals", "saliency", "edges"), (512, 512), 3,
    ),
}  # fmt: skip


def made(name: str, root: Path, **more: Any) -> presets.Preset:
    write, arguments, *_ = CASES[name]
    return PRESETS[name](write(root), **arguments, **more)


def test_every_preset_has_a_case_and_a_name() -> None:
    """The command line's names are the functions of the module."""
    assert set(CASES) == set(PRESETS)
    assert all(PRESETS[name] is getattr(presets, name) for name in PRESETS)


@pytest.mark.parametrize("name", CASES)
def test_a_preset_gives_batches_of_its_size(tmp_path: Path, name: str) -> None:
    """Tasks in their order, training batches of the size said, every target right for its task, and the same again."""
    _, _, tasks, size, channels = CASES[name]
    preset = made(name, tmp_path)
    data = preset.data
    assert tuple(data.tasks)[: len(tasks)] == tasks
    assert preset.size == size
    batch = data.train.batch(0, 1, 0, 1)
    for view, source in zip(batch, data.train.sources, strict=True):
        whole = name == "decathlon" and source.names == ("svhn",)
        assert view.inputs.shape[1:] == (channels, *((72, 72) if whole else size))
        for task, target in view.targets.items():
            assert not data.tasks[task].dense or target.shape[-2:] == view.inputs.shape[-2:]
    again = data.train.batch(0, 1, 0, 1)
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(batch, again, strict=True))
    assert data.test is not None
    assert next(data.test.views(1)).targets
    assert (data.validation is not None) == (name in ("faces", "tiny_taskonomy", "taskonomy", "celeba", "omniglot"))
    if data.augment is not None:  # what stands in a stored phase's fingerprint has no address in memory
        assert " at 0x" not in fingerprint.function_name(data.augment)


def test_parts_are_those_that_the_papers_report(tmp_path: Path) -> None:
    """Validation and test are not exchanged; the decathlon's test is its labelled `val`, from the middle 64×64."""
    faces = made("celeba", tmp_path / "a").data
    assert [len(part.sources[0]) for part in (faces.train, faces.validation, faces.test) if part is not None] == [
        3,
        2,
        1,
    ]
    rooms = made("tiny_taskonomy", tmp_path / "b").data
    assert [len(part.sources[0]) for part in (rooms.train, rooms.validation, rooms.test) if part is not None] == [
        3,
        2,
        1,
    ]
    ten = made("decathlon", tmp_path / "c").data
    assert ten.test is not None
    assert [list(view.inputs.shape) for view in ten.test.views(2)] == [[2, 3, 64, 64], [2, 3, 72, 72]]


def test_nyu_is_augmented_truly(tmp_path: Path) -> None:
    """Depth within the scales' reach, normals of length 1 or 0, labels among the classes, beyond the image nothing."""
    data = made("nyuv2", tmp_path, weights={"normals": 20, "depth": 3}, depth_loss=losses.depth_l2).data
    assert [task.weight for task in data.tasks.values()] == [1, 20, 3]
    assert data.tasks["depth"].kind == "square metres"
    for epoch in range(4):
        (view,) = data.train.batch(0, epoch, 0, 2)
        depth = view.targets["depth"]
        assert depth.max() <= 9.5 / 0.5
        length = view.targets["normals"].norm(dim=1)
        assert (((length - 1).abs() < 1e-4) | (length == 0)).all()
        assert (length == 0).float().mean() > 0.9  # 12×16 pixels in a window of 321×321


def test_disparity_grows_with_the_scale(tmp_path: Path) -> None:
    """Cityscapes' depth is an inverse one: at every scale the largest is that of the data times the scale."""
    data = made("cityscapes", tmp_path).data
    assert data.augment is not None
    image, targets = data.train.sources[0].data[0]
    from torch import Generator

    for seed in range(5):
        new, found = data.augment(image, targets, Generator().manual_seed(seed))
        rows = int((new.sum(0) > 0).any(1).sum())
        ratio = float(found["depth"].max() / targets["depth"].max())
        assert abs(ratio - rows / 12) < 0.1


def test_raw_normals_are_mirrored_as_colours(tmp_path: Path) -> None:
    """In one octant they stay there."""
    data = made("nyuv2", tmp_path, normal_encoding="raw_uint8").data
    for epoch in range(4):
        assert data.train.batch(0, epoch, 0, 2)[0].targets["normals"].min() >= 0


def test_a_preset_trains_and_is_measured_with_workers(tmp_path: Path) -> None:
    """Two steps and every figure; by the name of the command line, and some of the tasks."""
    write = CASES["celeba"][0]
    write(tmp_path)
    data = find_data(f"celeba@{tmp_path}", NINE[:2])
    assert list(data.tasks) == list(NINE[:2])
    result = fit(
        lambda tasks: SharedBackbone(backbones.tiny(), tasks, heads.linear()),
        data,
        Config(epochs=2, batch_size=2),
        Run(progress=False),
    )
    assert set(evaluate(result.model, data.test)) == set(NINE[:2])
    helped = find_data(f"celeba@{tmp_path}", NINE[:2], workers=2)
    assert [part.workers for part in (helped.train, helped.validation, helped.test) if part is not None] == [2, 2, 2]


def test_unknown_presets_and_missing_folders_are_named(tmp_path: Path) -> None:
    """In the command line's words; the tree of what is missing."""
    with pytest.raises(ValueError, match=r"`--data PRESET@FOLDER` must name one of celeba, .* Got `--data nyu@x`"):
        find_data("nyu@x")
    with pytest.raises(FileNotFoundError, match=r"(?s)PASCAL-Context.*was looked for in .*Expected:"):
        find_data(f"pascal@{tmp_path}")
