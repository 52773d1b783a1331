"""The core of a family of multi-task-learning packages.

Five ideas: a `Task`, `MultiTaskData`, models (`SharedBackbone`, `TaskGroups`), an architecture as a function
`build(tasks) -> model`, and a method as a function `fit(build, data, config, run) -> Result`. `Run` owns everything that is
not mathematics.
"""

from mtl_core import cuda, weighting
from mtl_core.checkpoint import StorageError
from mtl_core.compaction import compact
from mtl_core.components import Build, Builder, Head
from mtl_core.data import Batch, MultiTaskData, Split, View
from mtl_core.evaluate import evaluate, mean_losses, sample_losses
from mtl_core.export import export
from mtl_core.fit import Config, fit, fit_single_tasks
from mtl_core.measure import Measurement, measure
from mtl_core.metrics import Metric, delta
from mtl_core.model import SharedBackbone, TaskGroups
from mtl_core.norms import estimate_norms
from mtl_core.result import Report, Result, load, save
from mtl_core.run import Run, begin
from mtl_core.sparsity import keep_zeros
from mtl_core.task import Task
from mtl_core.version import __version__

__all__ = [
    "Batch",
    "Build",
    "Builder",
    "Config",
    "Head",
    "Measurement",
    "Metric",
    "MultiTaskData",
    "Report",
    "Result",
    "Run",
    "SharedBackbone",
    "Split",
    "StorageError",
    "Task",
    "TaskGroups",
    "View",
    "__version__",
    "begin",
    "compact",
    "cuda",
    "delta",
    "estimate_norms",
    "evaluate",
    "export",
    "fit",
    "fit_single_tasks",
    "keep_zeros",
    "load",
    "mean_losses",
    "measure",
    "sample_losses",
    "save",
    "weighting",
]
