"""DAG-MTL does what every method must do, on spaces of its own that are hostile in the ways of the zoo."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor, nn

import dagmtl
from dagmtl import CentralNetwork, State, stem
from mtl_core import Task
from mtl_core.testing import CHECKS, Method, common
from mtl_core.testing.models import head, network

STATES = [State(4)] * 4


def plain(source: State, target: State) -> nn.Module:
    """A layer without a norm and without adapters: what a sample gives does not depend on its batch."""
    return nn.Sequential(nn.Conv2d(source.channels, target.channels, 3, padding=1), nn.Tanh())


def space(tasks: dict[str, Task], flow: int | None) -> CentralNetwork:
    return CentralNetwork(stem(1, 4), STATES, flow, tasks, head, layer=plain)


def with_batch_norm_and_dropout_at_the_ends(tasks: dict[str, Task], flow: int | None) -> CentralNetwork:
    """The stem is computed once for all tasks, so its running means are those of the images; heads drop at random."""

    def dropped(channels: int, task: Task) -> nn.Module:
        return nn.Sequential(nn.Dropout(0.2), head(channels, task))

    return CentralNetwork(stem(1, 4, norm=nn.BatchNorm2d), STATES, flow, tasks, dropped, layer=plain)


def with_batch_norm_in_layers(tasks: dict[str, Task], flow: int | None) -> CentralNetwork:
    return CentralNetwork(stem(1, 4), STATES, flow, tasks, head, layer=partial(dagmtl.layer, norm=nn.BatchNorm2d))


def with_states_of_several_shapes(tasks: dict[str, Task], flow: int | None) -> CentralNetwork:
    return CentralNetwork(stem(1, 4), [State(4), State(6), State(8), State(6)], flow, tasks, head)


def with_a_frozen_stem(tasks: dict[str, Task], flow: int | None) -> CentralNetwork:
    model = space(tasks, flow)
    model.stem.requires_grad_(False)
    return model


def with_a_shared_parameter(tasks: dict[str, Task], flow: int | None) -> CentralNetwork:
    """All layers have one bias."""
    model = space(tasks, flow)
    layers: list[Any] = [made[0] for made in model.layers.values()]  # type: ignore[index]
    for other in layers[1:]:
        other.bias = layers[0].bias
    return model


def with_a_layer_used_twice(tasks: dict[str, Task], flow: int | None) -> CentralNetwork:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, v: Tensor) -> Tensor:
            return self.inner(self.inner(v).tanh()).tanh()

    return CentralNetwork(stem(1, 4), STATES, flow, tasks, head, layer=lambda source, target: Twice())


def with_an_unused_module(tasks: dict[str, Task], flow: int | None) -> CentralNetwork:
    model = space(tasks, flow)
    model.stem.add_module("forgotten", _Beside())
    return model


class _Beside(nn.Module):
    """Has weights and gives what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(3, 3)

    def forward(self, v: Tensor) -> Tensor:
        return v


def with_two_states(tasks: dict[str, Task], flow: int | None) -> CentralNetwork:
    return CentralNetwork(stem(1, 4), STATES[:2], flow, tasks, head)


def with_one_state(tasks: dict[str, Task], flow: int | None) -> CentralNetwork:
    return CentralNetwork(stem(1, 4), STATES[:1], flow, tasks, head)


def of_one_task_only(tasks: dict[str, Task], flow: int | None) -> CentralNetwork:
    return space(dict(list(tasks.items())[:1]), flow)


def no_space(tasks: dict[str, Task], flow: int | None) -> nn.Module:
    return network(tasks)


MODELS: dict[str, Any] = {
    "batch norm and dropout at the ends": with_batch_norm_and_dropout_at_the_ends,
    "batch norm in layers": with_batch_norm_in_layers,
    "several shapes": with_states_of_several_shapes,
    "frozen stem": with_a_frozen_stem,
    "shared parameter": with_a_shared_parameter,
    "layer used twice": with_a_layer_used_twice,
    "unused module": with_an_unused_module,
    "two states": with_two_states,
    "one state": with_one_state,
    "one task only": of_one_task_only,
    "no space": no_space,
}

METHOD = Method(
    __file__,
    dagmtl.fit,
    dagmtl.Config(
        flow=2, kappa=1.0, lambda_sq=0.1, warmup_epochs=1, search_epochs=2, epochs=1, batch_size=3, upper_lr=0.3
    ),
    build=space,  # type: ignore[arg-type]
    models=MODELS,
    refuses=("batch norm in layers", "one state", "one task only", "no space"),
    loads=lambda tasks: space(tasks, None),
)


def test_the_method_under_test_finds_graphs_that_differ() -> None:
    """Otherwise the suite would look at one graph for all tasks; the squeeze loss is above its budget at the start."""
    report = METHOD(common()).report
    assert len({str(path) for path in report.paths.values()}) > 1
    assert sum(len(path["layers"]) for path in report.paths.values()) > len(report.paths)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conformance(check: Callable[[Method, Path], None], tmp_path: Path) -> None:
    """The suite that core ships."""
    check(METHOD, tmp_path)
