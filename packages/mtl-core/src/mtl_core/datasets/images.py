"""Small sets of labelled images: `digits`, `fashion`, `scripts`, and `domains`, which is made of them.

All have one channel, 0 is the background and 1 is ink or cloth. The parts are fixed; the test part is for the end.

| Set | Tasks | Classes | Size | Train / validation / test |
|---|---|---|---|---|
| `digits` | 1 | 10 | 8×8 | 1,197 / 200 / 400 |
| `fashion` | 1 | 10 | 28×28 | 1,700 / 300 / 1,000 |
| `scripts` | 8, a data set each | 22-30 | 28×28 | 10 / 4 / 6 drawings of each character |
| `domains` | 4, a data set each | 10-30 | 32×32 | as above |
"""

import numpy as np
import torch

from mtl_core.data import MultiTaskData
from mtl_core.datasets.arrays import arrays
from mtl_core.datasets.embedded import load
from mtl_core.task import classification
from mtl_core.types import Tensor

DOMAIN_SCRIPTS = ("devanagari", "georgian")
"""The writing systems in `domains`: one whose letters hang from a bar, one of round letters."""

DOMAIN_SIZE = 32


def digits() -> MultiTaskData:
    """Handwritten digits, 8×8: one task `digits`.

    Of UCI's *Optical Recognition of Handwritten Digits* as it comes with scikit-learn (CC BY 4.0).

    Examples:
        >>> data = digits()
        >>> image, targets = data.test.sources[0].data[0]
        >>> image.shape, int(targets["digits"])
        (torch.Size([1, 8, 8]), 5)
    """
    return _one_data_set_per_task({"digits": _digits()})


def fashion() -> MultiTaskData:
    """Clothes, 28×28: one task `fashion`; as many images of each class in every part.

    A part of Fashion-MNIST (Zalando SE, MIT licence).
    """
    return _one_data_set_per_task({"fashion": _fashion()})


def scripts() -> MultiTaskData:
    """Characters of eight writing systems, 28×28: one task and one data set for each.

    These are rendered fonts with distortion, not handwriting (Noto fonts, SIL Open Font License). The tasks are
    `armenian`, `cyrillic`, `devanagari`, `ethiopic`, `georgian`, `greek`, `hebrew` and `thai`; the classes of each are
    its 22 to 30 characters.
    """
    return _one_data_set_per_task(_scripts())


def domains() -> MultiTaskData:
    """Four domains of different difficulty, a task and a data set each, 32×32.

    `digits` and `fashion`, and of `scripts` `devanagari` and `georgian` (rendered fonts with distortion, not
    handwriting). All are resized (bilinear) to 32×32 with one channel.
    """
    all_scripts = _scripts()
    parts = {"digits": _digits(), "fashion": _fashion(), **{script: all_scripts[script] for script in DOMAIN_SCRIPTS}}
    return _one_data_set_per_task(
        {task: [(_resized(images), labels) for images, labels in each] for task, each in parts.items()}
    )


def _digits() -> list[tuple[Tensor, Tensor]]:
    stored = load("digits")
    images = torch.from_numpy(stored["images"]).unsqueeze(1).float() / 16  # the scanner counted 0 to 16
    return _cut(images, torch.from_numpy(stored["labels"]), 1197, 200)


def _fashion() -> list[tuple[Tensor, Tensor]]:
    stored = load("fashion")
    return _cut(torch.from_numpy(stored["images"]).unsqueeze(1), torch.from_numpy(stored["labels"]), 1700, 300)


def _scripts() -> dict[str, list[tuple[Tensor, Tensor]]]:
    """Read the drawings, `[characters, drawings, h, w]`: of each character 10 to train, 4 to validate, 6 to test."""
    stored = load("scripts")
    names = sorted(name for name in stored if not name.endswith("_characters"))
    return {name: [_drawings(part) for part in np.split(stored[name], [10, 14], axis=1)] for name in names}


def _drawings(images: np.ndarray) -> tuple[Tensor, Tensor]:
    characters, drawings = images.shape[:2]
    return torch.from_numpy(images).flatten(0, 1).unsqueeze(1), torch.arange(characters).repeat_interleave(drawings)


def _cut(images: Tensor, labels: Tensor, train: int, validation: int) -> list[tuple[Tensor, Tensor]]:
    cuts = [train, train + validation]
    return list(zip(images.tensor_split(cuts), labels.tensor_split(cuts), strict=True))


def _resized(images: Tensor) -> Tensor:
    values = images.float() / 255 if images.dtype == torch.uint8 else images
    return torch.nn.functional.interpolate(values, (DOMAIN_SIZE, DOMAIN_SIZE), mode="bilinear")


def _one_data_set_per_task(parts: dict[str, list[tuple[Tensor, Tensor]]]) -> MultiTaskData:
    """Put the images and labels of each task's three parts together."""
    train, validation, test = (
        [arrays(each[part][0], {task: each[part][1]}) for task, each in parts.items()] for part in range(3)
    )
    tasks = [classification(task, classes=int(each[0][1].max()) + 1) for task, each in parts.items()]
    return MultiTaskData(tasks, train, validation, test)
