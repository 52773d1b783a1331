"""The command `dmo`: `demo`, `fit`, `report`, `measure` and `export`."""

from collections.abc import Sequence
from functools import partial

import torch

from dmo.config import Config
from dmo.fit import fit
from dmo.plots import PLOTS
from mtl_core import Config as PlainConfig
from mtl_core.commands import command_line


def plain(config: Config) -> PlainConfig:
    """Hard parameter sharing trained as DMO trains its groups: SGD's learning rate is none for Adam."""
    return PlainConfig(
        config.epochs,
        config.batch_size,
        config.lr,
        config.weight_decay,
        cosine=True,
        optimizer=partial(torch.optim.SGD, momentum=config.momentum),
    )


def stages(config: Config, tasks: Sequence[str]) -> dict[str, tuple[int, float]]:
    """A network for each task, then one for each group."""
    return {"single tasks": (config.epochs, len(tasks)), "groups": (config.epochs, len(tasks))}


main = command_line(
    "dmo",
    Config,
    fit,
    plots=PLOTS,
    description="Group similar tasks, and train for each group a network that keeps as many weights as its tasks need.",
    demo={
        "domains": {"epochs": 10, "batch_size": 64, "lr": 0.05, "tau_sim": 0.9},
        "rooms": {"epochs": 10, "lr": 0.02, "tau_sim": 0.9},
    },
    demo_data="domains",
    plain=plain,
    stages=stages,
)

if __name__ == "__main__":
    raise SystemExit(main())
