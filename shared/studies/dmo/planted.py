"""A planted truth and the limit of what can be told: two families of three yes-or-no tasks on common images.

`speed`: families that are learned at different speeds, on scenes of `shapes`: how red an image is, and whether round things or
boxes cover more of it. The smallest similarity within a family should exceed the largest between them.

`channels`: families that are equally hard on disjoint features: which of three shapes stands in the red channel, which in the
blue one. Nothing that DMO looks at tells them apart.
"""

import itertools
import warnings
from pathlib import Path
from typing import Any

import torch
from groupings import written
from rows import Rows, mean_and_deviation
from shape_attributes import SIZE, families
from study import Study

import dmo
from mtl_core import MultiTaskData, Run, SharedBackbone, Task, backbones, heads
from mtl_core.datasets import Arrays, arrays
from mtl_core.task import attribute

SEEDS = {"speed": range(10), "channels": range(8)}
FAMILIES = {"speed": ("red", "round"), "channels": ("first", "third")}
EPOCHS = 20
ALPHAS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def build(tasks: dict[str, Task]) -> SharedBackbone:
    return SharedBackbone(backbones.tiny(width=0.5), tasks, heads.linear())


def data(kind: str, seed: int, scenes: int) -> MultiTaskData:
    if kind == "speed":
        return families(FAMILIES["speed"], (0.35, 0.5, 0.65), train=scenes, test=16, seed=seed)
    tasks = [attribute(f"{family}{shape}") for family in FAMILIES["channels"] for shape in range(3)]
    return MultiTaskData(tasks, two_shapes(scenes, seed))


def two_shapes(count: int, seed: int) -> Arrays:
    """A disc, a square or a cross in the red channel, and another in the blue one, each where it likes; noise in all three."""
    g = torch.Generator().manual_seed(seed)
    rows, columns = (t.float() for t in torch.meshgrid(*map(torch.arange, SIZE), indexing="ij"))
    images = 0.2 * torch.rand(count, 3, *SIZE, generator=g)
    targets = {}
    for family, channel in zip(FAMILIES["channels"], (0, 2), strict=True):
        shape = torch.randint(0, 3, (count,), generator=g)
        at = torch.rand(count, 2, generator=g) * (torch.tensor(SIZE) - 13) + 6
        y, x = (rows - at[:, :1, None]).abs(), (columns - at[:, 1:, None]).abs()
        drawn = [
            y**2 + x**2 <= 25,
            torch.maximum(y, x) <= 4.4,
            (torch.minimum(y, x) <= 1.5) & (torch.maximum(y, x) <= 6),
        ]
        for index, mask in enumerate(drawn):
            images[:, channel] += 0.6 * (mask & (shape == index)[:, None, None])
            targets[f"{family}{index}"] = (shape == index).float()
    return arrays(images, targets)


def sides(S: torch.Tensor, names: list[str]) -> tuple[float, float]:
    """The smallest similarity within a family, and the largest between two."""
    pairs = [(S[i, j].item(), names[i][:-1] == names[j][:-1]) for i, j in itertools.combinations(range(len(names)), 2)]
    return min(s for s, same in pairs if same), max(s for s, same in pairs if not same)


def train(folder: Path, *, kind: str, seed: int, epochs: int = EPOCHS, scenes: int = 384) -> dict[str, Any]:
    config = dmo.Config(epochs=epochs, batch_size=32, lr=0.05)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The similarity of loss curves")
        singles = dmo.fit_singles(build, data(kind, seed, scenes), config, Run(folder, seed=seed, progress=False))
        found = dmo.allocate(singles, config)
    within, between = sides(found.S, found.names)
    tau_sim = (within + between) / 2
    groups = [[found.names[i] for i in group] for group in dmo.group_tasks(found.S, tau_sim)]
    told = [a for a in ALPHAS if (lambda w, b: w > b)(*sides(dmo.similarity(found.S_W, found.S_L, a), found.names))]
    return {
        "within": within,
        "between": between,
        "tau_sim": tau_sim,
        "found": written(groups),
        "families": int(sorted(map(sorted, groups)) == families_of(found.names)),
        "told_at_alpha": " ".join(f"{a:g}" for a in told),
        "loss": sum(single.curve[-1] for single in singles.values()) / len(singles),
    }


def families_of(names: list[str]) -> list[list[str]]:
    """The families, as they were planted."""
    return sorted(sorted(name for name in names if name[:-1] == family) for family in {name[:-1] for name in names})


def table(rows: Rows) -> str:
    """S within and between the families, and how often they are told apart."""
    words = {"speed": "colour and shape, learned at different speeds", "channels": "two channels, equally hard"}
    lines = [
        "| two families | S within, smallest | S between, largest | within > between | families found | told at any α |"
    ]
    lines.append("|---|---|---|---|---|---|")
    for kind, name in words.items():
        mine = rows.where(kind=kind)
        if not mine:
            continue
        apart = sum(float(row["within"]) > float(row["between"]) for row in mine)
        cells = [mean_and_deviation([float(row[side]) for row in mine], 3) for side in ("within", "between")]
        cells += [f"{n} of {len(mine)} seeds" for n in (apart, sum(row["families"] == "1" for row in mine))]
        cells.append(f"{sum(bool(row['told_at_alpha']) for row in mine)} of {len(mine)} seeds")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


STUDY = Study(
    key=("kind", "seed"),
    trainings=[{"kind": kind, "seed": seed} for kind, seeds in SEEDS.items() for seed in seeds],
    train=train,
    seconds=40,
    tiny={"kind": "channels", "seed": 0, "epochs": 3, "scenes": 48},
    tables={"planted": table},
)
