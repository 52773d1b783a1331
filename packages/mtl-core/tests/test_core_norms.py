"""Running statistics of batch norms, estimated anew."""

import pytest
import torch
from torch import nn

from mtl_core import MultiTaskData, SharedBackbone, estimate_norms
from mtl_core.datasets import arrays
from mtl_core.task import attribute


def data() -> MultiTaskData:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(32, 2, 4, 4, generator=generator)
    source = arrays(images, {"bright": (images.mean((1, 2, 3)) > 0.5).float()})

    def never(*_: object) -> None:
        raise AssertionError("augmented")

    return MultiTaskData([attribute("bright")], source, augment=never)  # type: ignore[arg-type]


def model() -> SharedBackbone:
    backbone = nn.Sequential(nn.BatchNorm2d(2, momentum=0.3), nn.Dropout(0.9), nn.Flatten())
    return SharedBackbone(backbone, data().tasks, lambda c, t: nn.Linear(c, 1), example=torch.zeros(1, 2, 4, 4))


def test_the_statistics_are_means_over_one_pass() -> None:
    """Means of the batches' means and variances, whatever stood there; modes and momentum as before."""
    net = model().train()
    norm = net.backbone[0]
    norm.running_var.fill_(1e-12)
    estimate_norms(net, data().train, batch_size=8)
    images = torch.stack([data().train.sources[0].data[i][0] for i in range(32)])
    assert torch.allclose(norm.running_mean, images.mean((0, 2, 3)), atol=1e-6)
    assert torch.allclose(norm.running_var, images.var((0, 2, 3)), rtol=0.1)
    assert norm.momentum == 0.3
    assert all(module.training for module in net.modules())


def test_it_is_a_function_of_weights_data_and_seed() -> None:
    """Twice the same, whatever the global generator."""
    found = []
    for start in (1, 2):
        torch.manual_seed(start)
        net = model().train()
        estimate_norms(net, data().train, batch_size=8, seed=3)
        found.append(net.backbone[0].running_mean)
    assert torch.equal(*found)


def test_a_norm_in_evaluation_mode_keeps_its_statistics() -> None:
    """A frozen part is left alone, and a model without norms, too."""
    net = model().eval()
    before = net.backbone[0].running_mean.clone()
    estimate_norms(net, data().train, batch_size=8)
    assert torch.equal(net.backbone[0].running_mean, before)
    estimate_norms(nn.Linear(2, 2), data().train, batch_size=8)


def test_momentum_comes_back_after_an_error() -> None:
    """A model that fails leaves the norm as it was configured."""
    net = model().train()
    net.heads["bright"] = nn.Linear(1, 1)
    with pytest.raises(RuntimeError):
        estimate_norms(net, data().train, batch_size=8)
    assert net.backbone[0].momentum == 0.3
