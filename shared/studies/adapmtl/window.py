"""Windows of 1, 50, 400 and 1,000 steps at 90 % (Figure 6), in 1,504 steps, so that the longest fills; one seed.

The network is that of the study `rules`.
"""

from pathlib import Path
from typing import Any

from pruned import THREE, adaptive, build, dense, gain
from rows import Rows, mean_and_deviation
from study import Study

from mtl_core import datasets

EPOCHS = 94
WINDOWS = (1, 50, 400, 1000)


def train(folder: Path, *, window: int, epochs: int = EPOCHS) -> dict[str, Any]:
    data = datasets.rooms(THREE)
    if not window:
        return dense(folder, build, data, seed=0, epochs=epochs).found
    found = adaptive(folder, build, data, seed=0, epochs=epochs, sparsity=0.9, window=window).found
    del found["curves"]
    return found


def table(rows: Rows) -> str:
    """Δ by task and in all."""
    lines = ["| `window` | Δ segmentation | Δ depth | Δ normals | Δ, % |", "|---|---|---|---|---|"]
    other = rows.find(window=0)
    for window in WINDOWS:
        mine = rows.find(window=window)
        if mine and other:
            found = gain(mine, other)
            cells = [mean_and_deviation([value]) for value in (*found.tasks.values(), found.overall)]
            lines.append(f"| {window} | {' | '.join(cells)} |")
    return "\n".join(lines)


STUDY = Study(
    key=("window",),
    trainings=[{"window": window} for window in (0, *WINDOWS)],
    train=train,
    seconds=170,
    tiny={"window": 50, "epochs": 1},
    tables={"window": table},
)
