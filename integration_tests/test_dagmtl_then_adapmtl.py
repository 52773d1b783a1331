"""What DAG-MTL finds is a model like any other: AdapMTL prunes it, core saves, loads and compacts what is left."""

from pathlib import Path

import torch

import adapmtl
import dagmtl
import mtl_core
from mtl_core import Run
from mtl_core.testing import common
from mtl_core.testing.models import head


def space(tasks: dict[str, mtl_core.Task], flow: int | None) -> dagmtl.CentralNetwork:
    return dagmtl.CentralNetwork(dagmtl.stem(1, 8), [dagmtl.State(8)] * 4, flow, tasks, head)


def test_graphs_that_were_found_are_pruned_saved_loaded_and_compacted(tmp_path: Path) -> None:
    """The graphs stay, half of the weights go, and nothing but the space is needed to load."""
    data, run = common(), Run(progress=False)
    config = dagmtl.Config(flow=2, warmup_epochs=1, search_epochs=1, epochs=1, batch_size=4, upper_lr=0.2)
    found = dagmtl.fit(space, data, config, run.child("graphs"))
    pruning = adapmtl.Config(sparsity=0.5, epochs=4, batch_size=4)
    small = adapmtl.fit(lambda tasks: found.model, data, pruning, run.child("small"))
    shares = adapmtl.sparsity(small.model)
    assert max(shares.values()) > 0.3
    small.save(tmp_path)
    again = mtl_core.load(tmp_path, lambda tasks: space(tasks, 1))
    example = torch.rand(2, 1, 8, 8)
    compacted = mtl_core.compact(again, example)
    assert getattr(again, "paths", None) == found.report.paths
    for task, prediction in small.model(example).items():
        torch.testing.assert_close(again(example)[task], prediction)
        torch.testing.assert_close(compacted(example)[task], prediction, rtol=1e-4, atol=1e-5)
