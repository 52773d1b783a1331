"""The architecture that the command line's options ask for, as values that a report can keep: so that a folder is enough later.

A folder may come from somebody else, and must not name code to run: an architecture of a user's own function
(`module:function`) is made again only where the user names the function again.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mtl_core.checkpoint import StorageError
from mtl_core.commands.names import BACKBONES, Shape, find_backbone, find_head, group_norm
from mtl_core.commands.options import Training
from mtl_core.data import MultiTaskData
from mtl_core.model import SharedBackbone
from mtl_core.report import read_report
from mtl_core.task import Task

LARGEST = 2**27
"""Numbers of a sample that a folder may ask for: a file that says more is damaged."""


@dataclass(frozen=True)
class Parts:
    """What architectures are made of.

    Attributes:
        backbones: What makes a backbone, by the name that `--backbone` has.
        assemble: `assemble(backbone, tasks, head, example=...) -> model`.
    """

    backbones: Mapping[str, Callable[[Shape], nn.Module]] = field(default_factory=lambda: BACKBONES)
    assemble: Callable[..., nn.Module] = SharedBackbone


@dataclass(frozen=True)
class Architecture:
    """A backbone with heads, by the names of the command line.

    Attributes:
        backbone: Name, or `module:function`.
        width: Multiplies the backbone's channels.
        output_stride: Image pixels per feature.
        head: Name.
        head_width: Channels of the heads.
        norm: `batch`, or `group` where every task has a data set of its own.
        sample: Shape of one input.
        dtype: Its type.
        parts: What it is made of; not a value of the report.
    """

    backbone: str
    width: float
    output_stride: int
    head: str
    head_width: int
    norm: str
    sample: tuple[int, ...]
    dtype: str
    parts: Parts = field(default_factory=Parts, repr=False, compare=False)

    @staticmethod
    def asked(data: MultiTaskData, options: Training, parts: Parts | None = None) -> "Architecture":
        """What options ask for.

        Raises:
            ValueError: If a name is unknown, or a built-in backbone meets inputs that are not images.
        """
        sample = torch.as_tensor(data.train.sources[0].data[0][0])
        if ":" not in options.backbone and sample.ndim != 3:
            raise ValueError(
                f"`--backbone {options.backbone}` must have images [channels, h, w]. "
                f"Got inputs of shape {list(sample.shape)}."
            )
        dense = any(task.dense for task in data.tasks.values())
        stride = options.output_stride or (8 if dense else 32)
        norm = "batch" if len(data.train.sources) == 1 else "group"
        floating = sample.is_floating_point() or sample.dtype == torch.uint8  # images in bytes are divided by 255
        dtype = "float32" if floating else "int64"
        sizes = tuple(sample.shape)
        found = Architecture(
            options.backbone,
            options.width,
            stride,
            options.head,
            options.head_width,
            norm,
            sizes,
            dtype,
            parts or Parts(),
        )
        with torch.random.fork_rng(devices=[]):
            found.build(data.tasks)  # refuses now what does not fit, before a folder is made
        return found

    @staticmethod
    def stored(folder: Path, backbone: str | None = None, parts: Parts | None = None) -> "Architecture":
        """What a saved run was trained with.

        Args:
            folder: What `fit` or `demo` has written.
            backbone: The user's own function, where it was trained with one.
            parts: What it was made of.

        Raises:
            StorageError: If the folder does not say.
            ValueError: If the backbone is a function and was not named again, or is another one.
        """
        values = read_report(folder).get("architecture")
        kinds = {name: type(value) for name, value in DEFAULT.values().items()} | {"sample": list}
        if not isinstance(values, dict) or {name: type(value) for name, value in values.items()} != kinds:
            raise StorageError(
                f"`{folder / 'report.json'}` does not say with which architecture it was trained. "
                "Train again with this version, or call `mtl_core.load` with your own `build`."
            )
        sample = values["sample"]
        if not all(type(n) is int and n > 0 for n in sample) or math.prod(sample) > LARGEST:
            raise StorageError(f"`{folder / 'report.json'}` is damaged: no sample has the shape {sample}.")
        found = Architecture(**{**values, "sample": tuple(sample)}, parts=parts or Parts())
        if ":" in found.backbone and backbone is None:
            raise ValueError(
                f"`--backbone` must be given for `{folder}`: it was trained with {found.backbone}, and a folder names no "
                "code to run."
            )
        if backbone is not None and ":" not in backbone and backbone != found.backbone:
            raise ValueError(f"`--backbone` must be {found.backbone} for `{folder}`. Got `--backbone {backbone}`.")
        return replace(found, backbone=backbone or found.backbone)

    def build(self, tasks: dict[str, Task]) -> nn.Module:
        """Make a model for these tasks."""
        norm = nn.BatchNorm2d if self.norm == "batch" else group_norm
        channels, *sides = self.sample or (1,)
        backbone = find_backbone(
            self.backbone,
            Shape(self.width, self.output_stride, channels, min(sides, default=0), norm),
            self.parts.backbones,
        )
        head = find_head(self.head, self.head_width, norm)
        # The example is needed where a method splits the model or moves its heads.
        return self.parts.assemble(backbone, tasks, head, example=self.example())

    def plain(self, tasks: dict[str, Task]) -> nn.Module:
        """The plain model beside it: its shared bottom, where the architecture is a space to search in."""
        model: Any = self.build(tasks)
        plain: nn.Module = model.shared_bottom() if hasattr(model, "shared_bottom") else model
        return plain

    def example(self, batch: int = 1) -> Tensor:
        """A batch as the model takes it: images in [0, 1], always the same; of other inputs zeros."""
        sizes = (batch, *self.sample)
        if self.dtype != "float32":
            return torch.zeros(sizes, dtype=torch.int64)
        return torch.rand(sizes, generator=torch.Generator().manual_seed(0))

    def values(self) -> dict[str, Any]:
        """As JSON values, for the report's entry `architecture`."""
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "parts"}
        return {**found, "sample": list(self.sample)}

    def __str__(self) -> str:
        """In words."""
        return f"{self.backbone}, width {self.width:g}, heads {self.head} of {self.head_width} channels"


DEFAULT = Architecture("resnet18", 0.25, 8, "aspp", 64, "batch", (3, 48, 64), "float32")
