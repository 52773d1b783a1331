"""A planted truth in small: the easy task gets the shallower graph; `shared/studies/dagmtl/planted.py` has ten seeds."""

import torch
from torch import nn

import dagmtl
from dagmtl import CentralNetwork, State
from mtl_core import MultiTaskData, Run, heads
from mtl_core.datasets import arrays
from mtl_core.datasets.shapes import Shapes
from mtl_core.task import attribute, segmentation

STATES = [State(8), State(16, 2), State(24, 2), State(32, 4), State(32, 4), State(32, 4)]


def space(tasks, flow):
    head = heads.by_kind(dense=lambda c, task: nn.Conv2d(c, task.channels, 1), other=heads.linear())
    return CentralNetwork(dagmtl.stem(3, 8, kernel=1), STATES, flow, tasks, head)


def test_what_the_mean_colour_tells_gets_a_shallower_graph_than_what_every_pixel_shows() -> None:
    """Rather red or not, beside the segmentation; all of α and β have moved, or a warning would be an error here."""
    images, maps = Shapes(("segmentation",), 0, 192, (24, 32), 0).batch(torch.arange(192))
    red = (images[:, 0] - images[:, 2]).mean((1, 2))
    train = arrays(images, {"red": (red > red.median()).float(), "things": maps["segmentation"]})
    data = MultiTaskData([attribute("red"), segmentation("things", 5)], train)
    config = dagmtl.Config(flow=3, warmup_epochs=5, search_epochs=14, epochs=1, lr=3e-3, upper_lr=0.03)
    topology = dagmtl.fit(space, data, config, Run(seed=0, progress=False)).report.topology
    assert topology["red"]["depth"] < topology["things"]["depth"]
