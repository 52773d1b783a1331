"""A planted truth, one seed of `shared/studies/dmo/planted.py` in small: tasks of one family are learned alike."""

import itertools

import torch

import dmo
from mtl_core import MultiTaskData, Run, SharedBackbone, backbones, heads
from mtl_core.datasets import arrays
from mtl_core.task import attribute


def scenes(count=192, side=16):
    """A disc or a square somewhere in a tinted image: colour is told at once, the shape takes longer."""
    g = torch.Generator().manual_seed(0)
    rows, columns = (t.float() for t in torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij"))
    tint = torch.rand(count, 3, 1, 1, generator=g)
    at = torch.rand(count, 2, generator=g) * (side - 10) + 5
    y, x = (rows - at[:, :1, None]).abs(), (columns - at[:, 1:, None]).abs()
    size = 2.5 + 1.5 * torch.rand(count, 1, 1, generator=g)
    round_ = torch.rand(count, generator=g) < 0.5
    mask = torch.where(round_[:, None, None], y**2 + x**2 <= size**2 * 4 / torch.pi, torch.maximum(y, x) <= size)
    images = 0.5 * tint + 0.1 * torch.rand(count, 3, side, side, generator=g) + 0.4 * mask[:, None]
    red, corners = tint[:, 0, 0, 0] - tint[:, 2, 0, 0], round_.float()
    targets = {f"colour{i}": (red > limit).float() for i, limit in enumerate((-0.1, 0.1))}
    flips = torch.rand(2, count, generator=g) < 0.02
    targets |= {f"shape{i}": torch.where(flips[i], 1 - corners, corners) for i in range(2)}
    return MultiTaskData([attribute(name) for name in targets], arrays(images, targets))


def build(tasks):
    return SharedBackbone(backbones.tiny(width=0.5), tasks, heads.linear())


def test_tasks_learned_at_one_speed_are_more_alike_than_those_of_two() -> None:
    """On average over pairs; the study asks for more, the smallest within above the largest between."""
    singles = dmo.fit_singles(build, scenes(), dmo.Config(epochs=10, batch_size=32, lr=0.05), Run(progress=False))
    found = dmo.allocate(singles, dmo.Config())
    pairs = list(itertools.combinations(range(4), 2))
    sides = {True: [], False: []}
    for i, j in pairs:
        sides[found.names[i][:-1] == found.names[j][:-1]].append(float(found.S[i, j]))
    within, between = (sum(values) / len(values) for values in (sides[True], sides[False]))
    assert within > between + 0.02
