"""The command `dagmtl`: `demo`, `fit`, `report`, `measure` and `export`."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from dagmtl.config import Config
from dagmtl.fit import fit
from dagmtl.network import CentralNetwork
from dagmtl.plots import PLOTS
from dagmtl.states import omniglot_states, stem, vgg16_states
from mtl_core import Build, MultiTaskData, Result, Run, Task
from mtl_core import Config as PlainConfig
from mtl_core.backbones.layers import scale_channels
from mtl_core.commands import command_line
from mtl_core.components import Head


def omniglot(shape: Any) -> nn.Module:
    """The input state and the eight states for drawings."""
    channels = scale_channels(48, shape.width)
    return _with_states(stem(shape.channels, channels), omniglot_states(channels, shape.output_stride))


def vgg16(shape: Any) -> nn.Module:
    """The input state and the twelve states of VGG-16."""
    made = stem(shape.channels, scale_channels(64, shape.width))
    return _with_states(made, vgg16_states(shape.width, shape.output_stride))


def assemble(backbone: nn.Module, tasks: Mapping[str, Task], head: Head, example: Tensor) -> CentralNetwork:
    """All layers between the states that a stem brings along.

    Raises:
        TypeError: If it brings none.
    """
    states: Any = getattr(backbone, "states", None)
    if states is None:
        raise TypeError("`--backbone` must give a stem with `channels` and a list of `states`. Got one without.")
    return CentralNetwork(backbone, states, None, tasks, head)


def fit_space(build: Build, data: MultiTaskData, config: Config, run: Run) -> Result:
    """`fit` on what the command line builds: the space of all layers, restricted to the flow constant."""

    def space(tasks: dict[str, Task], flow: int | None) -> CentralNetwork:
        whole: Any = build(tasks)
        restricted: CentralNetwork = whole.restricted(flow)
        return restricted

    return fit(space, data, config, run)


def _with_states(made: nn.Module, states: Any) -> nn.Module:
    made.states = states
    return made


def plain(config: Config) -> PlainConfig:
    """The shared bottom with as many steps as the three stages together."""
    epochs = config.warmup_epochs + config.search_epochs + config.epochs
    return PlainConfig(epochs, config.batch_size, config.lr, config.weight_decay)


def stages(config: Config, tasks: Sequence[str]) -> dict[str, tuple[int, float]]:
    """All layers twice, then those that are left."""
    epochs = {"warm-up": config.warmup_epochs, "search": config.search_epochs, "fine-tuning": config.epochs}
    return {name: (count, 1) for name, count in epochs.items()}


main = command_line(
    "dagmtl",
    Config,
    fit_space,
    plots=PLOTS,
    description="Search for each task's own graph of shared layers, and train the network of these graphs.",
    demo={
        "rooms": {"flow": 5, "warmup_epochs": 2, "search_epochs": 6, "epochs": 8, "upper_lr": 0.03, "lr": 3e-3},
        "domains": {"flow": 5, "warmup_epochs": 1, "search_epochs": 3, "epochs": 4, "upper_lr": 0.03},
    },
    backbones={"omniglot": omniglot, "vgg16": vgg16},
    assemble=assemble,
    plain=plain,
    stages=stages,
)

if __name__ == "__main__":
    raise SystemExit(main())
