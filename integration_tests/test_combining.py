"""Combining methods by plain calls: what one finds is the architecture, or the tasks, of the next.

Every ordered pair that makes sense, small, on `rooms`; what makes none is refused with the reason. The table of all pairs is in
the documentation (`combining.md`).
"""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Subset

import adapmtl
import dagmtl
import dmo
import dmtg
import lomt
import mtl_core
from mtl_core import MultiTaskData, Run, SharedBackbone, Task, TaskGroups, backbones, datasets, heads

NAMES = ("segmentation", "depth", "has_bed", "large_room")
EXAMPLE = torch.rand(2, 3, 48, 64, generator=torch.Generator().manual_seed(0))
Fit = Callable[[MultiTaskData, Run], nn.Module]


@pytest.fixture(scope="module")
def data() -> MultiTaskData:
    """48 scenes: enough for every step to be made, far too few to learn."""
    whole = datasets.rooms(NAMES)
    train, test = (Subset(split.sources[0].data, range(48)) for split in (whole.train, whole.test))
    return MultiTaskData(whole.tasks, train, test=test)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """So few steps leave graphs that say nothing and groups that are chance; the methods warn of it."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def head(channels: int, task: Task) -> nn.Module:
    return (heads.aspp(width=8, rates=(1, 2)) if task.dense else heads.linear())(channels, task)


def build(tasks: dict[str, Task]) -> SharedBackbone:
    return SharedBackbone(backbones.resnet10(width=0.125, output_stride=8), tasks, head, example=EXAMPLE[:1])


def space(tasks: dict[str, Task], flow: int | None) -> dagmtl.CentralNetwork:
    states = [dagmtl.State(8, stride) for stride in (1, 2, 2, 2)]
    return dagmtl.CentralNetwork(dagmtl.stem(3, 8, stride=4), states, flow, tasks, head)


LAYERS = {"segmentation": "layer1.0.conv2", "depth": "layer2.0.conv2", "has_bed": "layer2.0.conv2"}
LOMT = lomt.Config(lambda_=1e-5, epochs=1)
DAGMTL = dagmtl.Config(flow=2, warmup_epochs=1, search_epochs=1, epochs=1, upper_lr=0.2)
DMO = dmo.Config(epochs=3, lr=0.01, batch_size=16, tau_sim=0.5)
DMTG = dmtg.Config(groups=2, epochs=1, logits_lr=0.5)


def by_dmtg(build: mtl_core.Build, data: MultiTaskData, run: Run) -> mtl_core.Result:
    return dmtg.fit(build, data, DMTG, run)


def by_dmo(build: mtl_core.Build, data: MultiTaskData, run: Run) -> mtl_core.Result:
    return dmo.fit(build, data, DMO, run)


def with_layers(data: MultiTaskData, run: Run) -> nn.Module:
    return lomt.fit(build, data, LOMT, run).model


def with_graphs(data: MultiTaskData, run: Run) -> nn.Module:
    return dagmtl.fit(space, data, DAGMTL, run).model


def with_shares(data: MultiTaskData, run: Run) -> nn.Module:
    return by_dmo(build, data, run).model


def attached(tasks: dict[str, Task]) -> SharedBackbone:
    """An architecture that LOMT has found: each decoder at its layer."""
    return lomt.attach(build, tasks, {task: LAYERS[task] for task in tasks if task in LAYERS})


def close(model: nn.Module, other: Any, example: Tensor = EXAMPLE) -> None:
    """The same outputs."""
    with torch.no_grad():
        for task, prediction in model.eval()(example).items():
            torch.testing.assert_close(other(example)[task], prediction, rtol=1e-4, atol=1e-4)


def pruned_and_compacted(model: nn.Module, data: MultiTaskData, run: Run) -> mtl_core.Result:
    """AdapMTL on a model that is trained, and the same model compacted."""
    small = adapmtl.fit(lambda tasks: model, data, adapmtl.Config(sparsity=0.5, epochs=2), run)
    assert adapmtl.sparsity(small.model)["overall"] == pytest.approx(0.5, abs=0.01)
    close(small.model, mtl_core.compact(small.model, EXAMPLE))
    return small


@pytest.mark.parametrize("inside", [with_layers, with_graphs, with_shares], ids=["lomt", "dagmtl", "dmo"])
def test_groups_of_dmtg_are_trained_by_another_method_and_pruned(inside: Fit, data: MultiTaskData) -> None:
    """LOMT, DAG-MTL or DMO inside each group; AdapMTL prunes the whole."""
    run = Run(progress=False)
    groups = by_dmtg(build, data, run.child("groups")).report.groups
    assert sorted(name for names in groups.values() for name in names) == sorted(NAMES)
    model = TaskGroups({g: inside(data.select(names), run.child(g)) for g, names in groups.items()})
    pruned_and_compacted(model, data, run.child("small"))


@pytest.mark.parametrize("inside", [with_layers, with_graphs], ids=["lomt", "dagmtl"])
def test_groups_of_dmo_are_trained_by_another_method(inside: Fit, data: MultiTaskData) -> None:
    """The groups alone are taken: DMO's zeros belong to the networks that it has trained."""
    run = Run(progress=False)
    groups = by_dmo(build, data, run.child("groups")).report.groups
    model = TaskGroups({g: inside(data.select(names), run.child(g)) for g, names in groups.items()})
    assert set(model(EXAMPLE)) == set(NAMES)
    close(model, mtl_core.compact(model, EXAMPLE))


@pytest.mark.parametrize("fit", [by_dmtg, by_dmo], ids=["dmtg", "dmo"])
def test_what_a_grouping_method_trained_is_pruned_further(fit: Any, data: MultiTaskData) -> None:
    """AdapMTL's components are the groups' backbones and the heads."""
    run = Run(progress=False)
    grouped = fit(build, data, run.child("groups")).model
    small = pruned_and_compacted(grouped, data, run.child("small"))
    assert {name.rpartition(".")[2] for name in small.report.thresholds} == {"backbone", *NAMES}


def test_layers_of_lomt_are_the_architecture_of_dmtg(data: MultiTaskData) -> None:
    """Every branch has its decoders where LOMT has found them, and is cut behind the deepest."""
    result = by_dmtg(attached, data.select(list(LAYERS)), Run(progress=False))
    for model in result.model.groups.values():
        assert set(model.taps) <= set(LAYERS)
        assert "layer4" not in dict(model.backbone.named_children())


@pytest.mark.parametrize("fit", [with_layers, with_graphs], ids=["lomt", "dagmtl"])
def test_what_was_found_is_pruned_saved_loaded_compacted_and_exported(
    fit: Fit, data: MultiTaskData, tmp_path: Path
) -> None:
    """Layers and graphs stay, half of the weights go, and the folder and the architecture are enough to deploy."""
    run = Run(progress=False)
    found = fit(data, run.child("found"))
    small = pruned_and_compacted(found, data, run.child("small"))
    small.save(tmp_path / "small")
    fresh: mtl_core.Build = build if fit is with_layers else lambda tasks: space(tasks, None)
    again = mtl_core.load(tmp_path / "small", fresh)
    close(small.model, again)
    assert mtl_core.components.structure_of(again) == mtl_core.components.structure_of(found)
    path = mtl_core.export(mtl_core.compact(again, EXAMPLE), EXAMPLE, tmp_path / "model.pt2")
    assert path.stat().st_size > 0


def test_a_chain_of_three_methods_ends_in_a_file(data: MultiTaskData, tmp_path: Path) -> None:
    """Groups by DMTG, layers by LOMT inside each, pruned by AdapMTL, compacted, exported: as the documentation has it."""
    pytest.importorskip("onnxscript")
    run = Run(tmp_path / "run", progress=False)
    groups = dmtg.fit(build, data, DMTG, run.child("groups")).report.groups
    layered = TaskGroups({g: lomt.fit(build, data.select(n), LOMT, run.child(g)).model for g, n in groups.items()})
    small = adapmtl.fit(lambda tasks: layered, data, adapmtl.Config(sparsity=0.5, epochs=2), run.child("small")).model
    path = mtl_core.export(mtl_core.compact(small, EXAMPLE), EXAMPLE, tmp_path / "model.onnx")
    assert path.stat().st_size > 0


# What makes no sense ------------------------------------------------------------------------------------------------


def half_zero(data: MultiTaskData) -> nn.Module:
    """A model that AdapMTL has pruned."""
    config = adapmtl.Config(sparsity=0.5, epochs=2)
    return adapmtl.fit(build, data, config, Run(progress=False)).model


@pytest.mark.parametrize("again", [lambda model: model, copy.deepcopy], ids=["the model", "copies of it"])
@pytest.mark.parametrize(
    "fit",
    [lomt.fit, dmo.fit, dmtg.fit],
    ids=["lomt", "dmo", "dmtg"],
)
def test_a_pruned_model_is_no_architecture(again: Any, fit: Any, data: MultiTaskData) -> None:
    """These methods train anew, which would throw the zeros away: prune last."""
    pruned = half_zero(data)
    with pytest.raises(ValueError, match="prune last"):
        fit(lambda tasks: again(pruned), data)


def test_lomt_has_no_layers_to_choose_inside_graphs(data: MultiTaskData) -> None:
    """A task has no single path of layers there."""
    with pytest.raises(TypeError, match="single path of layers"):
        lomt.fit(lambda tasks: space(tasks, 2), data, LOMT)


def test_dmo_cannot_compare_backbones_that_lomt_has_cut(data: MultiTaskData) -> None:
    """It merges the weights of one and the same backbone, and LOMT's end behind each task's layer."""
    with pytest.raises(ValueError, match="one and the same backbone whatever the tasks are"):
        by_dmo(attached, data.select(list(LAYERS)), Run(progress=False))


def test_the_space_of_dag_mtl_is_no_other_methods_model(data: MultiTaskData) -> None:
    """It searches its own architecture."""
    with pytest.raises(TypeError, match="`space` must give a `CentralNetwork`"):
        dagmtl.fit(lambda tasks, flow: build(tasks), data, DAGMTL)  # type: ignore[arg-type, return-value]
