"""Options of the subcommands: plain dataclasses, whose docstrings are the help.

tyro reads them. A method's own options are the fields of its `Config`, put beside the kit's into one flat dataclass.
"""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

Precision = Literal["float32", "float64", "bfloat16", "float16"]


@dataclass(frozen=True)
class Common:
    """What `fit` and `demo` share.

    Args:
        seed: Seeds weights, order and augmentation.
        device: cpu, cuda, cuda:1, ...; default: the GPU where there is one.
        checkpoint_seconds: Time between checkpoints.
        again: Forget what the folder holds and start afresh.
        dense: Train the plain model beside it for as many epochs, and compare.
        dry_run: Say what would be trained, how long it would take and what it would leave on disk; train and write nothing.
    """

    seed: int = 0
    device: str | None = None
    checkpoint_seconds: float = 60.0
    again: bool = False
    dense: bool = True
    dry_run: bool = False


@dataclass(frozen=True)
class Training(Common):
    """What only `fit` has.

    Args:
        data: Name of a data set (digits, domains, fashion, rooms, scripts), PRESET@FOLDER (as nyuv2@FOLDER), a folder of
            images (train/TASK/CLASS/*.png and test/...), or module:function that gives a MultiTaskData.
        workers: Processes that decode data ahead; they change no result.
        tasks: Some of the data's tasks; default all (rooms: segmentation, depth, normals).
        backbone: mobilenet_v2, resnet10, -14, -18, -34, -50, resnet50_d, small_resnet, tiny, vgg16, vit, vit_b16, xception,
            or module:function that gives one.
        width: Multiplies the backbone's channels.
        output_stride: Image pixels per feature; default 8 where a task predicts a map, else 32.
        head: aspp, deeplab_v2, transposed or two_layer; image-level tasks have a linear head under all but the last.
        head_width: Channels of the heads.
        out: Folder of checkpoints, model and report.
        precision: Type of the arithmetic.
        deterministic: Take deterministic kernels (needed for bit-identical resuming on a GPU).
    """

    data: str = "rooms"
    workers: int = 0
    tasks: tuple[str, ...] = ()
    backbone: str = "resnet18"
    width: float = 0.25
    output_stride: int | None = None
    head: str = "aspp"
    head_width: int = 64
    out: Path = Path("runs/fit")
    precision: Precision = "float32"
    deterministic: bool = False


@dataclass(frozen=True)
class Demo(Common):
    """What only `demo` has.

    Args:
        data: rooms (segmentation, depth and normals of rendered rooms) or domains (digits, clothes, two scripts); default
            what suits the method.
        out: Folder of checkpoints, model and report; default NAME-demo, or NAME-demo-DATA for other data than the default.
        epochs: Passes over the data; default about half a minute's.
    """

    data: Literal["rooms", "domains"] | None = None
    out: Path | None = None
    epochs: int | None = None


@dataclass(frozen=True)
class Report:
    """What `report` has.

    Args:
        folders: What `fit` or `demo` has written; several, of any methods, are put side by side on one page.
        out: That page.
    """

    folders: tyro.conf.Positional[tuple[Path, ...]]
    out: Path = Path("comparison.html")


@dataclass(frozen=True)
class Measure:
    """What `measure` has.

    Args:
        folder: What `fit` or `demo` has written.
        batch: Samples of a pass.
        repeats: Passes that are timed.
        device: Where it is measured: cpu, cuda, ...; default cpu.
        backbone: Your own module:function again, where it was trained with one.
    """

    folder: tyro.conf.Positional[Path]
    batch: int = 1
    repeats: int = 30
    device: str | None = None
    backbone: str | None = None


@dataclass(frozen=True)
class Export:
    """What `export` has.

    Args:
        folder: What `fit` or `demo` has written.
        path: The file: .onnx (needs the extra mtl-core[export]) or .pt2.
        backbone: Your own module:function again, where it was trained with one.
    """

    folder: tyro.conf.Positional[Path]
    path: tyro.conf.Positional[Path]
    backbone: str | None = None


@dataclass(frozen=True)
class DemoSetting:
    """An architecture and a training that take less than a minute on two cores, the plain model included."""

    backbone: str
    width: float
    head_width: int
    epochs: int
    batch_size: int = 16
    lr: float = 1e-3
    output_stride: int = 8


DEMOS: dict[str, DemoSetting] = {
    "rooms": DemoSetting("resnet10", width=0.25, head_width=32, epochs=20, lr=2e-3),
    "domains": DemoSetting("resnet10", width=0.25, head_width=32, epochs=9, batch_size=32, lr=3e-3, output_stride=32),
}


def fit_options(config_class: type[Any], backbones: Sequence[str] = ()) -> type[Any]:
    """The options of `fit`: those of `Training`, and the fields of a method's configuration that are not functions.

    Args:
        config_class: A dataclass whose fields have defaults.
        backbones: What `--backbone` may name where a method has its own; the first is the default.

    Raises:
        TypeError: If a field has the name of an option of the kit.
    """
    fields: list[tuple[str, Any, Any]] = []
    hints = typing.get_type_hints(config_class)
    taken = {field.name for field in dataclasses.fields(Training)}
    for field in option_fields(config_class):
        if field.name in taken:
            raise TypeError(
                f"`{config_class.__name__}` must have other fields than the kit's options. Got `{field.name}`."
            )
        hint = hints[field.name]
        if field.name.endswith("_"):  # a word of Python, as `lambda_`
            hint = Annotated[hint, tyro.conf.arg(name=field.name.rstrip("_"))]
        factory = field.default_factory
        plain = dataclasses.field(default=field.default)
        made = plain if factory is dataclasses.MISSING else dataclasses.field(default_factory=factory)
        fields.append((field.name, hint, made))
    if backbones:
        said = tyro.conf.arg(help=f"{', '.join(backbones)}, or module:function that gives one.")
        fields.append(("backbone", Annotated[str, said], dataclasses.field(default=backbones[0])))
    options = dataclasses.make_dataclass("Fit", fields, bases=(Training,), frozen=True)
    options.__doc__ = config_class.__doc__
    return options


def option_fields(config_class: type[Any]) -> list[dataclasses.Field[Any]]:
    """Fields of a configuration that can be given on a command line: those that are not functions."""
    hints = typing.get_type_hints(config_class)
    return [field for field in dataclasses.fields(config_class) if not _is_function(hints[field.name])]


def config_of(config_class: type[Any], options: Any, changes: Mapping[str, Any] | None = None) -> Any:
    """The configuration that options ask for.

    Args:
        config_class: The method's.
        options: An object that has some of its fields.
        changes: Further values; names that the configuration lacks are left out.

    Raises:
        ValueError: As the configuration itself raises it.
    """
    fields = {field.name for field in option_fields(config_class)}
    values = {name: getattr(options, name) for name in fields if hasattr(options, name)}
    return config_class(**values | {k: v for k, v in (changes or {}).items() if k in fields})


def _is_function(hint: Any) -> bool:
    origin = typing.get_origin(hint) or hint
    if origin in (typing.Union, types.UnionType):
        return any(_is_function(part) for part in typing.get_args(hint))
    return origin in (Callable, typing.Callable)
