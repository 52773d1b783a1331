"""What a folder holds: parts, samples, labels, and what is missing or damaged.

Every sample's files are looked for; as many samples as asked for are decoded, evenly spaced, and brought through the checks of
their tasks.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mtl_core.collate import present
from mtl_core.datasets import readers
from mtl_core.datasets.readers import characters
from mtl_core.datasets.readers.decathlon import DOMAINS
from mtl_core.task import Task, classification
from mtl_core.types import Tensor

MOST = 5
"""So many problems of a part are told in words; the rest is counted."""


class Known(NamedTuple):
    """A layout: `read(root, part)` gives a source or several; the public set's parts, with their samples where that is known."""

    read: Callable[[Path, str], Any]
    parts: Mapping[str, int | None]


def layouts() -> dict[str, Known]:
    """Layouts by their names on the command line; those with several forms find out which is there."""
    both = {"train": 50000, "test": 10000}
    nyu = {"train": 795, "val": 654}
    made = {
        "celeba": Known(readers.celeba, {"train": 162770, "val": 19867, "test": 19962}),
        "celebamask": Known(readers.celebamask, {"train": 24183, "val": 2993, "test": 2824}),
        "cifar10": Known(readers.cifar10, both),
        "cifar100": Known(readers.cifar100_superclasses, both),
        "cityscapes": Known(readers.cityscapes, {"train": 2975, "val": 500}),
        "fashion_mnist": Known(readers.fashion_mnist, {"train": 60000, "test": 10000}),
        "mnist": Known(readers.mnist, {"train": 60000, "test": 10000}),
        "nyuv2": Known(readers.nyuv2, nyu),
        "nyuv2_adashare": Known(partial(_nyu, layout="adashare"), nyu),
        "nyuv2_npy": Known(partial(_nyu, layout="npy"), nyu),
        "nyud_mt": Known(partial(_nyu, layout="nyud_mt"), nyu),
        "omniglot": Known(readers.omniglot, dict.fromkeys(characters.SHARES)),
        "pascal": Known(readers.pascal_context, {"train": 4998, "val": 5105}),
        "stl10": Known(readers.stl10, {"train": 5000, "test": 8000}),
        "svhn": Known(readers.svhn, {"train": 73257, "test": 26032}),
        "taskonomy": Known(readers.taskonomy, {"train": None, "val": None, "test": None}),
        "usps": Known(readers.usps, {"train": 7291, "test": 2007}),
    }
    ten = {f"decathlon_{name}": Known(partial(_decathlon, name=name), {"train": None, "val": None}) for name in DOMAINS}
    return made | ten


@dataclass
class Part:
    """What was found of a part.

    Attributes:
        name: The part.
        expected: Samples of the public set; None where that is not known.
        samples: Samples that are there.
        looked_at: Samples that were decoded.
        labelled: Of these, how many have a label of a task.
        problems: What is missing or damaged, in words.
        more: Problems beyond these.
        shown: Samples for the picture: name, image, targets.
    """

    name: str
    expected: int | None
    samples: int = 0
    looked_at: int = 0
    labelled: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    more: int = 0
    shown: list[tuple[str, Tensor, dict[str, Tensor]]] = field(default_factory=list)

    def note(self, problem: str) -> None:
        """Keep a problem, or count it."""
        if len(self.problems) < MOST:
            self.problems.append(problem)
        else:
            self.more += 1

    def lines(self) -> Iterator[str]:
        """The part in words."""
        known = "" if self.expected is None else f" of {self.expected:,} in the public set"
        yield f"{self.name}: {self.samples:,} samples{known}, {self.looked_at:,} decoded"
        for task, count in self.labelled.items():
            yield f"    {task}: labelled in {count:,} of them"
        for problem in self.problems:
            first, *rest = problem.splitlines()
            yield f"    problem: {first}"
            yield from (f"        {line}" for line in rest)
        if self.more:
            yield f"    and {self.more:,} problems more"


def check(root: Path, layout: str, *, decode: int = 50, show: int = 4) -> list[Part]:
    """Look through a folder.

    Args:
        root: The folder.
        layout: A name of `layouts()`.
        decode: Samples of each part that are decoded, evenly spaced; all where there are not more.
        show: Samples of each part for the picture.

    Raises:
        ValueError: If there is no such layout.
    """
    known = layouts()
    if layout not in known:
        raise ValueError(f"`layout` must be one of {', '.join(sorted(known))}. Got `layout = {layout!r}`.")
    return [_part(known[layout].read, root, name, count, decode, show) for name, count in known[layout].parts.items()]


def _part(
    read: Callable[[Path, str], Any], root: Path, name: str, expected: int | None, decode: int, show: int
) -> Part:
    found = Part(name, expected)
    try:
        opened = read(root, name)
    except (ValueError, FileNotFoundError, ImportError) as error:
        found.note(str(error))
        return found
    sources = opened if isinstance(opened, list) else [opened]
    for source in sources:
        found.samples += len(source)
        tasks = (
            source.tasks if isinstance(source.tasks, dict) else {task: classification(task, 2) for task in source.tasks}
        )
        for missing in _missing(source):
            found.note(missing)
        share = max(1, decode // len(sources))
        for row in torch.linspace(0, len(source) - 1, min(share, len(source))).long().tolist():
            _look(found, source, row, tasks, show)
    return found


def _missing(source: Any) -> Iterator[str]:
    """Files of samples that are not there; a source of arrays has none."""
    for row in range(len(source)) if isinstance(source, readers.Reader) else ():
        for what, place in source.places(row).items():
            if not place.exists() and place.suffix:  # a place without a suffix stands for several files
                yield f"sample `{source.samples[row]}`, {what}: {str(place)!r} is missing"


def _look(found: Part, source: Any, row: int, tasks: Mapping[str, Task], show: int) -> None:
    try:
        image, targets = source[row]
    except FileNotFoundError as error:
        if not isinstance(source, readers.Reader) or all(
            p.exists() or not p.suffix for p in source.places(row).values()
        ):
            found.note(str(error))  # else it was told as missing
        return
    except (ValueError, ImportError) as error:
        found.note(str(error))
        return
    found.looked_at += 1
    for name, target in targets.items():
        task = tasks[name]
        labelled = bool((target != 0).any()) if task.missing == 0 else bool(present(target, task.missing).any())
        found.labelled[name] = found.labelled.get(name, 0) + labelled
    if len(found.shown) < show:
        said = source.samples[row] if isinstance(source, readers.Reader) else str(row)
        found.shown.append((f"{found.name} {said}", image, targets))


def _nyu(root: Path, part: str, layout: Any) -> readers.Reader:
    return readers.nyuv2(root, part, layout=layout)


def _decathlon(root: Path, part: str, name: str) -> readers.Reader:
    return readers.decathlon(root, name, part, normalize=False)
