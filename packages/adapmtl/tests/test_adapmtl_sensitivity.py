"""Pruning by size alone: what is cut, what it costs, and that the model is left as it was."""

import copy

import pytest
import torch
from torch import nn

from adapmtl import sensitivity, sparsity
from adapmtl.plots import sensitivity_map
from adapmtl.sensitivity import prune_smallest
from mtl_core import MultiTaskData, SharedBackbone
from mtl_core.datasets import arrays
from mtl_core.task import classification


def model_and_data() -> tuple[SharedBackbone, MultiTaskData]:
    """A model that is right by construction: the class is the larger of two inputs."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(64, 2, generator=generator)
    source = arrays(x, {"larger": x.argmax(1)})
    data = MultiTaskData([classification("larger", 2)], source, validation=source)
    model = SharedBackbone(nn.Linear(2, 2, bias=False), data.tasks, lambda c, t: nn.Linear(c, 2, bias=False), example=x)
    with torch.no_grad():
        model.backbone.weight.copy_(torch.tensor([[1.0, 0.1], [0.1, 1.0]]))
        model.heads["larger"].weight.copy_(torch.tensor([[1.0, 0.1], [0.1, 1.0]]))
    return model, data


def test_what_is_not_needed_costs_nothing_and_what_is_needed_does() -> None:
    """Half of the weights are idle by construction; three quarters are not."""
    model, data = model_and_data()
    before = copy.deepcopy(model.state_dict())
    found = sensitivity(model, data, backbone=[0.0, 0.5, 0.75], heads=[0.0, 0.5])
    assert found[0.0, 0.0] == found[0.5, 0.5] == 0.0
    assert found[0.75, 0.0] < -1
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_smallest_weights_go_ties_by_position() -> None:
    """Exactly the asked share becomes zero, over all named weights together."""
    model, _ = model_and_data()
    prune_smallest(model, ["backbone.weight", "heads.larger.weight"], 0.25)
    assert sparsity(model)["overall"] == 0.25
    assert model.backbone.weight.tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_a_share_out_of_range_is_refused() -> None:
    """The message names the argument."""
    model, data = model_and_data()
    with pytest.raises(ValueError, match=r"`heads` must hold shares in \[0, 1\). Got 1.0"):
        sensitivity(model, data, backbone=[0.0], heads=[1.0])


def test_the_map_has_a_cell_for_each_pair() -> None:
    """Backbone up, heads across, and the figure of each cell written in it."""
    figure = sensitivity_map({(0.0, 0.0): 0.0, (0.5, 0.0): -7.0}, backbone=[0.0, 0.5], heads=[0.0])
    assert [text.get_text() for text in figure.axes[0].texts] == ["0", "-7"]
