"""Depth and width of the network (Table 4): ResNet-10, -14 and -18, and three widths of ResNet-18, on `domains`; one seed."""

from pathlib import Path
from typing import Any

from allocations import Setting, cells_at
from rows import Rows
from study import Study

from mtl_core import SharedBackbone, Task, backbones, datasets, heads
from mtl_core.commands.names import group_norm

BACKBONES = {"ResNet-10": backbones.resnet10, "ResNet-14": backbones.resnet14, "ResNet-18": backbones.resnet18}
SIZES = [("ResNet-10", 0.25), ("ResNet-14", 0.25), ("ResNet-18", 0.25), ("ResNet-18", 0.125), ("ResNet-18", 0.5)]
TAU_SIM = 0.9


def train(folder: Path, *, backbone: str, width: float, **other: Any) -> dict[str, Any]:
    def build(tasks: dict[str, Task]) -> SharedBackbone:
        made = BACKBONES[backbone](width=width, in_channels=1, norm=group_norm)
        return SharedBackbone(made, tasks, heads.linear())

    setting = Setting(datasets.domains, build, epochs=20, batch=16, lr=0.01, tau_sims=[TAU_SIM])
    return setting.row(folder, method="dmo", seed=0, **other)


def table(rows: Rows) -> str:
    """Mean accuracy and parameters of single-task networks and of DMO."""
    lines = ["| network | width | single tasks, % | parameters | DMO, % | parameters | ratio |", "|---" * 7 + "|"]
    for backbone, width in SIZES:
        found = rows.find(backbone=backbone, width=width)
        if found:
            row = cells_at(found, TAU_SIM)
            cells = [
                f"{100 * float(row[f'{kind}.accuracy']):.1f} | {int(row[f'{kind}.parameters']):,}"
                for kind in ("single", "dmo")
            ]
            lines.append(f"| {backbone} | {width:g} | {' | '.join(cells)} | {float(row['ratio']):.3f} |")
    return "\n".join(lines)


STUDY = Study(
    key=("backbone", "width"),
    trainings=[{"backbone": backbone, "width": width} for backbone, width in SIZES],
    train=train,
    seconds=240,
    tiny={"backbone": "ResNet-10", "width": 0.125, "epochs": 3, "batch": 100, "tasks": ("devanagari", "georgian")},
    tables={"ablation": table},
)
