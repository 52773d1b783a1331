"""A preset for each experiment of the papers: data, tasks, size of the images and augmentation, from the folder on disk.

The page DATASETS lists paper table, preset and command. What a paper does not print is the released code's, and said below;
where a set has no third part, `test` is the part that the papers report, and there is no validation part.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from typing import Any, TypeAlias

from mtl_core import losses
from mtl_core.data import MultiTaskData
from mtl_core.datasets import augmentation, readers
from mtl_core.datasets.fitted import Fitted
from mtl_core.datasets.readers.celeba import NINE, SIX
from mtl_core.datasets.readers.cifar import SUPERCLASSES
from mtl_core.datasets.readers.decathlon import DOMAINS
from mtl_core.task import Task, classification, depth, edge_strength
from mtl_core.types import Augment, Elements

Root: TypeAlias = str | PathLike[str]

PASCAL_WEIGHTS = {"segmentation": 1.0, "human_parts": 2.0, "saliency": 5.0, "edges": 50.0, "normals": 10.0}
"""Weights of the five tasks of PASCAL-Context, as its users have them."""


@dataclass(frozen=True)
class Preset:
    """An experiment's data.

    Attributes:
        data: Tasks, parts and augmentation.
        size: Height and width of the images that training sees.
    """

    data: MultiTaskData
    size: tuple[int, int]


def four_domains(root: Root, *, workers: int = 0) -> Preset:
    """DMO, scenario 1: CIFAR-10, STL-10, USPS and MNIST at 72×72, grey tripled.

    Shifted by up to 8 pixels, the coloured ones mirrored (released code).

    Args:
        root: Holds `cifar-10-batches-bin` (or folders of images), `stl10_binary`, `usps.bz2`, `usps.t.bz2` and `MNIST/raw`.
        workers: Processes that decode.
    """
    sets: dict[str, tuple[Callable[..., Any], bool]] = {
        "cifar10": (readers.cifar10, True),
        "stl10": (readers.stl10, True),
        "usps": (readers.usps, False),
        "mnist": (readers.mnist, False),
    }
    size = (72, 72)
    table = {name: partial(augmentation.shift, padding=8, mirrored=colour) for name, (_, colour) in sets.items()}
    train, test = (
        [Fitted(read(root, part), size, channels=3) for read, _ in sets.values()] for part in ("train", "test")
    )
    return _preset([classification(name, 10) for name in sets], size, train, test, by_task(table), workers)


def cifar100(root: Root, *, workers: int = 0) -> Preset:
    """DMO, scenario 2: CIFAR-100 as 20 tasks of five classes, 32×32. Shifted by up to 4 pixels and mirrored (ours).

    Args:
        root: Holds `cifar-100-binary`, or folders of images.
        workers: Processes that decode.
    """
    train, test = (readers.cifar100_superclasses(root, part) for part in ("train", "test"))
    augment = partial(augmentation.shift, padding=4)
    return _preset([classification(name, 5) for name in SUPERCLASSES], (32, 32), train, test, augment, workers)


def decathlon(root: Root, *, names: Sequence[str] | None = None, workers: int = 0) -> Preset:
    """DMO, scenario 3: Visual Decathlon without ImageNet, which is there to pre-train on. Its own means are subtracted.

    Signs, characters and house numbers are 72×72 and never mirrored; of the others a random 64×64 is cut out of the middle
    72×72 and mirrored, and for the test (the part `val`) the middle 64×64.

    Args:
        root: Holds `decathlon-1.0-data`.
        names: Some of the ten sets.
        workers: Processes that decode.
    """
    chosen = [name for name in DOMAINS if name != "imagenet12"] if names is None else list(names)
    size, table = (64, 64), {}
    train, test = (
        [Fitted(readers.decathlon(root, name, p), (72, 72), keep="crop") for name in chosen] for p in ("train", "val")
    )
    for place, name in enumerate(chosen):
        if not DOMAINS[name].whole:
            table[name] = partial(augmentation.shift, size=size)
            test[place] = Fitted(test[place], size, keep="middle")
    tasks = [classification(name, DOMAINS[name].classes) for name in chosen]
    return _preset(tasks, size, train, test, by_task(table), workers)


def nyuv2(
    root: Root,
    *,
    depth_loss: Elements = losses.depth_l1,
    weights: Mapping[str, float] | None = None,
    normal_encoding: Any = "signed",
    workers: int = 0,
) -> Preset:
    """AdapMTL and DAG-MTL on NYU-v2 in AdaShare's layout: 40 classes, normals, depth; windows of 321×321.

    Scaled by 0.5 to 1.5 and mirrored. Unlike the released code, depth is divided by the scale, and normals are signed and
    turned with a mirror.

    Args:
        root: Holds `nyu_v2_3task.json`.
        depth_loss: `losses.depth_l2` for DAG-MTL.
        weights: Weights of the tasks; AdaShare's and DAG-MTL's are `{"normals": 20, "depth": 3}`.
        normal_encoding: See `readers.nyuv2`; with `raw_uint8` normals do not change their sign.
        workers: Processes that decode.
    """
    names = ("segmentation", "normals", "depth")
    read = partial(readers.nyuv2, root, layout="adashare", tasks=names, normal_encoding=normal_encoding)
    turning = ("normals",) if normal_encoding == "signed" else ()
    augment = partial(augmentation.zoom, scales=(0.5, 1.5), size=(321, 321), normals=turning)
    train, test = read("train"), _second(read)
    tasks = _weighed({**train.tasks, "depth": depth("depth", loss=depth_loss)}, weights)
    return _preset(tasks, (321, 321), train, test, augment, workers)


def nyuv2_13(root: Root, *, workers: int = 0) -> Preset:
    """NYU-v2 as MTAN and LibMTL have it: 13 classes, depth, normals, 288×384; scaled by 1, 1.2 or 1.5, mirrored.

    Args:
        root: Holds `train` and `val` with `image`, `label`, `depth` and `normal`.
        workers: Processes that decode.
    """
    train, test = (readers.nyuv2(root, part, layout="npy") for part in ("train", "val"))
    augment = partial(augmentation.zoom, choices=(1.0, 1.2, 1.5))
    size = train[0][0].shape[-2:]
    return _preset(train.tasks.values(), (size[0], size[1]), train, test, augment, workers)


def nyuv2_edges(root: Root, *, workers: int = 0) -> Preset:
    """LOMT on NYU-v2 (NYUD-MT): 40 classes, depth in metres, normals, edges by L1, 256×256, no augmentation.

    Args:
        root: Holds `gt_sets`.
        workers: Processes that decode.
    """
    read = partial(readers.nyuv2, root, layout="nyud_mt")
    train, test = (Fitted(source, (256, 256)) for source in (read("train"), read("val")))
    tasks = {**train.tasks, "edges": edge_strength("edges")}
    return _preset(tasks.values(), (256, 256), train, test, None, workers)


def faces(root: Root, *, split: Root | None = None, workers: int = 0) -> Preset:
    """LOMT on CelebAMask-HQ: background, hair and skin, and six attributes, 256×256, no augmentation.

    Args:
        root: The data set's folder.
        split: LOMT's own split, a JSON file; the official parts without it.
        workers: Processes that decode.
    """
    names = ("segmentation", *SIX)
    parts = [readers.celebamask(root, part, classes=3, tasks=names, split=split) for part in ("train", "val", "test")]
    return _preset(parts[0].tasks.values(), (256, 256), *_three(parts, (256, 256)), None, workers)


def tiny_taskonomy(root: Root, *, workers: int = 0) -> Preset:
    """AdapMTL on Tiny-Taskonomy: five tasks in AdaShare's units, 256×256, windows of 224×224, mirrored.

    Args:
        root: The data set's folder.
        workers: Processes that decode.
    """
    names = ("segmentation", "normals", "depth", "keypoints", "edges")
    parts = [readers.taskonomy(root, part, norm="adashare", tasks=names) for part in ("train", "val", "test")]
    augment = partial(augmentation.shift, size=(224, 224))
    return _preset(parts[0].tasks.values(), (224, 224), *_three(parts, (256, 256)), augment, workers)


def taskonomy(root: Root, *, side: int = 256, workers: int = 0) -> Preset:
    """DMTG on Tiny-Taskonomy: five tasks in its units, 256×256, mirrored. Labels take the nearest pixel, which its code lacks.

    Args:
        root: The data set's folder.
        side: Height and width, for a transformer made for another.
        workers: Processes that decode.
    """
    names = ("depth", "normals", "segmentation", "keypoints", "edges")
    parts = [readers.taskonomy(root, part, norm="dmtg", tasks=names) for part in ("train", "val", "test")]
    augment = partial(augmentation.shift, padding=0)
    return _preset(parts[0].tasks.values(), (side, side), *_three(parts, (side, side)), augment, workers)


def celeba(root: Root, *, workers: int = 0) -> Preset:
    """DMTG on CelebA: nine attributes, 64×64, no augmentation.

    Args:
        root: The data set's folder.
        workers: Processes that decode.
    """
    parts = [readers.celeba(root, part, tasks=NINE) for part in ("train", "val", "test")]
    return _preset(parts[0].tasks.values(), (64, 64), *_three(parts, (64, 64)), None, workers)


def omniglot(root: Root, *, alphabets: Iterable[str] | None = None, workers: int = 0) -> Preset:
    """DAG-MTL on Omniglot: 20 alphabets, a task each, 105×105, no augmentation.

    Args:
        root: Holds `images_background` and `images_evaluation`.
        alphabets: Some of the 20.
        workers: Processes that decode.
    """
    given = {} if alphabets is None else {"alphabets": list(alphabets)}
    train, validation, test = (readers.omniglot(root, part, **given) for part in ("train", "val", "test"))
    tasks = [task for source in train for task in source.tasks.values()]
    data = MultiTaskData(tasks, train, validation, test, workers=workers)
    return Preset(data, (105, 105))


def cityscapes(
    root: Root, *, depth_loss: Elements = losses.depth_l2, weights: Mapping[str, float] | None = None, workers: int = 0
) -> Preset:
    """DAG-MTL on Cityscapes in AdaShare's layout: 19 classes and disparity; scaled by 0.5 to 1.5, windows of 224×224, mirrored.

    Args:
        root: Holds `cityscape.json`.
        depth_loss: Default squared errors, as the paper says.
        weights: Weights of the tasks; AdaShare's and DAG-MTL's are `{"depth": 20}`.
        workers: Processes that decode.
    """
    read = partial(readers.cityscapes, root, layout="adashare", classes=19)
    train, test = read("train"), _second(read)
    augment = partial(augmentation.zoom, scales=(0.5, 1.5), size=(224, 224), depth=(), inverse=("depth",))
    tasks = _weighed({**train.tasks, "depth": depth("depth", loss=depth_loss)}, weights)
    return _preset(tasks, (224, 224), train, test, augment, workers)


def pascal(root: Root, *, weights: Mapping[str, float] | None = PASCAL_WEIGHTS, workers: int = 0) -> Preset:
    """DAG-MTL on PASCAL-Context: five tasks, padded to 512×512; turned by up to 20°, scaled by 0.75 to 1.25, mirrored.

    Args:
        root: The folder `PASCAL_MT`.
        weights: Weights of the tasks.
        workers: Processes that decode.
    """
    train, test = (Fitted(readers.pascal_context(root, part), (512, 512), keep="pad") for part in ("train", "val"))
    augment = partial(augmentation.turn, degrees=20.0, scales=(0.75, 1.25), y_up=False)
    return _preset(_weighed(train.tasks, weights), (512, 512), train, test, augment, workers)


def by_task(table: Mapping[str, Augment]) -> Augment:
    """An augmentation for each task's data set."""
    return partial(augmentation.by_task, table=dict(table))


def _second(read: Callable[[str], readers.Reader]) -> readers.Reader:
    """The part that is not for training, whatever the list calls it."""
    try:
        return read("test")
    except ValueError:
        return read("val")


def _three(parts: Sequence[Any], size: tuple[int, int]) -> tuple[Fitted, Fitted, Fitted]:
    train, validation, test = (Fitted(part, size) for part in parts)
    return train, test, validation


def _weighed(tasks: Mapping[str, Task], weights: Mapping[str, float] | None) -> list[Task]:
    return [replace(task, weight=(weights or {}).get(name, task.weight)) for name, task in tasks.items()]


def _preset(tasks: Iterable[Task], size: tuple[int, int], train: Any, test: Any, *rest: Any) -> Preset:
    """`rest`: the validation part where there is one, then the augmentation and the number of workers."""
    *validation, augment, workers = rest
    data = MultiTaskData(tasks, train, validation[0] if validation else None, test, augment, workers)
    return Preset(data, size)
