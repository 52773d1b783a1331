"""The only place where names stand for things: data sets, backbones and heads of the command line.

Whoever has their own gives `module:function` (or `file.py:function`) instead of a name; for data, a folder with one folder
per task and in it one per class will do, and for the papers' data sets `PRESET@FOLDER`.
"""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from mtl_core import backbones, datasets, heads
from mtl_core.backbones import Norm
from mtl_core.components import Head
from mtl_core.data import MultiTaskData
from mtl_core.datasets import presets
from mtl_core.task import classification

DATA: dict[str, Callable[..., MultiTaskData]] = {
    "digits": datasets.digits,
    "domains": datasets.domains,
    "fashion": datasets.fashion,
    "rooms": datasets.rooms,
    "scripts": datasets.scripts,
}


PRESETS: dict[str, Callable[..., presets.Preset]] = {
    "celeba": presets.celeba,
    "cifar100": presets.cifar100,
    "cityscapes": presets.cityscapes,
    "decathlon": presets.decathlon,
    "faces": presets.faces,
    "four_domains": presets.four_domains,
    "nyuv2": presets.nyuv2,
    "nyuv2_13": presets.nyuv2_13,
    "nyuv2_edges": presets.nyuv2_edges,
    "omniglot": presets.omniglot,
    "pascal": presets.pascal,
    "taskonomy": presets.taskonomy,
    "tiny_taskonomy": presets.tiny_taskonomy,
}


class Shape(NamedTuple):
    """What a backbone is made for: the width multiplier, the output stride, channels and side of the images, the norm."""

    width: float
    output_stride: int
    channels: int
    side: int
    norm: Norm = nn.BatchNorm2d


def group_norm(channels: int) -> nn.Module:
    """The norm for a data set per task: eight groups; batch norm's running statistics would mix the data sets."""
    return nn.GroupNorm(8, channels)


def _common(shape: Shape) -> dict[str, Any]:
    return {"width": shape.width, "in_channels": shape.channels, "norm": shape.norm}


def _resnet(make: Callable[..., nn.Module]) -> Callable[[Shape], nn.Module]:
    def build(shape: Shape) -> nn.Module:
        small = shape.side < 32  # the usual stem alone would leave of an 8×8 digit two positions by two
        return make(**_common(shape), output_stride=shape.output_stride, small_images=small)

    return build


def _pools(output_stride: int) -> int:
    """Poolings of VGG-16 that leave this stride."""
    if output_stride not in (8, 16, 32):
        raise ValueError(f"`output_stride` must be 8, 16 or 32. Got `output_stride = {output_stride}`.")
    return output_stride.bit_length() - 1


BACKBONES: dict[str, Callable[[Shape], nn.Module]] = {
    "mobilenet_v2": lambda s: backbones.mobilenet_v2(**_common(s), output_stride=s.output_stride),
    "resnet10": _resnet(backbones.resnet10),
    "resnet14": _resnet(backbones.resnet14),
    "resnet18": _resnet(backbones.resnet18),
    "resnet34": _resnet(backbones.resnet34),
    "resnet50": _resnet(backbones.resnet50),
    "resnet50_d": _resnet(backbones.resnet50_d),
    "small_resnet": lambda s: backbones.small_resnet(**_common(s)),
    "tiny": lambda s: backbones.tiny(**_common(s)),
    "vgg16": lambda s: backbones.vgg16(**_common(s), pools=_pools(s.output_stride)),
    "vit": lambda s: backbones.vit(image_size=s.side, in_channels=s.channels),
    "vit_b16": lambda s: backbones.vit_b16(image_size=s.side, in_channels=s.channels),
    "xception": lambda s: backbones.xception(**_common(s)),
}

# The maps of small images are a few positions wide: the papers' rates of 6 to 36 would see nothing but padding.
HEADS: dict[str, Callable[[int, Norm], Head]] = {
    "aspp": lambda width, norm: heads.by_kind(
        dense=heads.aspp(width, rates=(1, 2, 3), norm=norm), other=heads.linear()
    ),
    "deeplab_v2": lambda width, norm: heads.by_kind(
        dense=heads.deeplab_v2(width, rates=(1, 2, 3, 4), dropout=0.1), other=heads.linear()
    ),
    "transposed": lambda width, norm: heads.by_kind(
        dense=heads.transposed((width, width // 2, 3 * width // 8, width // 4), norm=norm), other=heads.linear()
    ),
    "two_layer": lambda width, norm: heads.by_kind(
        dense=heads.aspp(width, rates=(1, 2, 3), norm=norm), other=heads.two_layer(width=width)
    ),
}


def find_data(name: str, tasks: Sequence[str] = (), workers: int = 0) -> MultiTaskData:
    """Data by name, by preset and folder, by `module:function`, or from a folder of images.

    Args:
        name: A name of `DATA`, `PRESET@FOLDER` with a name of `PRESETS`, a function without arguments, or a folder.
        tasks: Some of its tasks; default all (`rooms`: segmentation, depth, normals).
        workers: Processes that make batches ahead.

    Raises:
        ValueError: If there is no such data set or task, or the function gives something else.
        FileNotFoundError: If a preset's folder lacks something.
    """
    data = _found(name, tasks)
    if workers:
        data.train = replace(data.train, workers=workers)
        data.validation = data.validation and replace(data.validation, workers=workers)
        data.test = data.test and replace(data.test, workers=workers)
    return data


def _found(name: str, tasks: Sequence[str]) -> MultiTaskData:
    if name == "rooms":
        return datasets.rooms(tuple(tasks)) if tasks else datasets.rooms()
    preset, at, folder = name.partition("@")
    if name in DATA:
        data: Any = DATA[name]()
    elif at:
        if preset not in PRESETS:
            raise ValueError(f"`--data PRESET@FOLDER` must name one of {', '.join(PRESETS)}. Got `--data {name}`.")
        data = PRESETS[preset](folder).data
    elif ":" in name:
        data = find_function("data", name)()
    elif Path(name).is_dir():
        data = _images(Path(name))
    else:
        raise ValueError(
            f"`--data` must be one of {', '.join(DATA)}, a folder, `PRESET@FOLDER`, or `module:function`. "
            f"Got `--data {name}`."
        )
    if not isinstance(data, MultiTaskData):
        raise ValueError(f"`--data {name}` must give a `MultiTaskData`. Got `{type(data).__name__}`.")
    return data.select(tasks) if tasks else data


def find_backbone(name: str, shape: Shape, known: Mapping[str, Callable[[Shape], nn.Module]] = BACKBONES) -> nn.Module:
    """A new backbone by name or by `module:function` (a function without arguments).

    Raises:
        ValueError: If there is none of that name, or the function gives something else.
    """
    if name in known:
        return known[name](shape)
    if ":" not in name:
        raise ValueError(
            f"`--backbone` must be one of {', '.join(known)}, or `module:function`. Got `--backbone {name}`."
        )
    backbone = find_function("backbone", name)()
    if not isinstance(backbone, nn.Module):
        raise ValueError(f"`--backbone {name}` must give a module. Got `{type(backbone).__name__}`.")
    return backbone


def find_head(name: str, width: int, norm: Norm = nn.BatchNorm2d) -> Head:
    """A head factory by name.

    Raises:
        ValueError: If there is none of that name.
    """
    if name not in HEADS:
        raise ValueError(f"`--head` must be one of {', '.join(HEADS)}. Got `--head {name}`.")
    return HEADS[name](width, norm)


def find_function(option: str, name: str) -> Callable[..., Any]:
    """Import `module:function` or `file.py:function`, modules of the current folder included.

    Raises:
        ValueError: If there is no such module or function.
    """
    place, _, function = name.rpartition(":")
    path = Path(place)
    module, folder = (path.stem, path.parent) if place.endswith(".py") else (place, Path())
    before = list(sys.path)
    sys.path.insert(0, str(folder.resolve()))
    try:
        found: Any = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"`--{option} {name}` must name a function that can be imported. {error}") from error
    finally:
        sys.path[:] = before
    if not callable(found):
        raise ValueError(f"`--{option} {name}` must name a function. Got `{type(found).__name__}`.")
    return found


def _images(folder: Path) -> MultiTaskData:
    """`folder/PART/TASK/CLASS/image`, PART train, validation, test; or `folder/TASK/CLASS/image` without a test part."""
    parts = {part: folder / part for part in ("train", "validation", "test") if (folder / part).is_dir()}
    if "train" not in parts:
        raise ValueError(f"`--data {folder}` must hold the folders `train` and `test` (or `validation`). Got neither.")
    names = sorted(path.name for path in parts["train"].iterdir() if path.is_dir() and not path.name.startswith("."))
    train = datasets.folders({name: parts["train"] / name for name in names}, size=IMAGE_SIZE)
    classes = {source.task: source.classes for source in train}
    others = {
        part: datasets.folders({name: path / name for name in names}, size=IMAGE_SIZE, classes=classes)
        for part, path in parts.items()
        if part != "train"
    }
    tasks = [classification(name, classes=len(classes[name])) for name in names]
    return MultiTaskData(tasks, train, others.get("validation"), others.get("test"))


IMAGE_SIZE = (64, 64)
"""Images of a folder are brought to this size: a batch needs one."""
