"""A toy method: learned weights of the tasks, noise on the network's weights, two phases. Tests plant faults in copies."""

from dataclasses import dataclass

import torch
from torch import nn

from mtl_core import Builder, begin
from mtl_core.testing import Method


@dataclass(frozen=True)
class Config:
    """A few steps of three samples."""

    epochs: int = 2
    batch_size: int = 3


class Weights(nn.Module):
    """Learned weights of the tasks, and a running mean of the loss that scales the noise."""

    def __init__(self, tasks):
        super().__init__()
        self.s = nn.ParameterDict({task: nn.Parameter(torch.zeros(())) for task in tasks})
        self.register_buffer("mean", torch.ones(()))

    def forward(self, losses, labelled):
        terms = [torch.exp(-self.s[t]) * loss + self.s[t] for t, loss in losses.items() if labelled[t]]
        loss = sum(terms, torch.zeros(()))
        self.mean.mul_(0.9).add_(0.1 * loss.detach())
        return loss


def fit(build, data, config, run=None):
    """Train twice: once on all, once more."""
    run = begin(run, "toy", config, data)
    with run.seeded("model"):
        model, weights = run.place(Builder(build)(data.tasks)), run.place(Weights(data.tasks))
    optimizer = torch.optim.Adam([*model.parameters(), *weights.parameters()], 0.01)
    for name in ("search", "tune"):
        with run.phase(name, model=model, optimizer=optimizer, state=[weights]) as phase:
            for batch in phase.batches(data.train, epochs=config.epochs, batch_size=config.batch_size):
                losses = phase.losses(model, batch)
                phase.step(weights(losses, phase.labelled), optimizer)
                generator = phase.generator("noise")
                with torch.no_grad():
                    for p in model.parameters():
                        p += 0.001 * weights.mean * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return phase.result(model, weights={task: s.detach() for task, s in weights.s.items()})


METHOD = Method(__file__, fit, Config())
