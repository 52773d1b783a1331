"""Few small networks for many tasks: similar tasks share one, and each keeps as many weights as it is difficult.

Choi, Jin, Kim, *Task-Aware Dynamic Model Optimization for Multi-Task Learning*.
"""

from dmo.allocation import Allocation, Merged, allocate, keep_ratio, magnitude_mask, merge, survivors
from dmo.config import Config
from dmo.fit import fit, fit_groups, fit_singles
from dmo.grouping import extremes, group_tasks, nearest_change
from dmo.similarity import (
    difficulty,
    feature_similarity,
    loss_similarity,
    loss_threshold,
    similarity,
    weight_similarity,
)
from dmo.single import Single

__version__ = "0.1.0"

__all__ = [
    "Allocation",
    "Config",
    "Merged",
    "Single",
    "__version__",
    "allocate",
    "difficulty",
    "extremes",
    "feature_similarity",
    "fit",
    "fit_groups",
    "fit_singles",
    "group_tasks",
    "keep_ratio",
    "loss_similarity",
    "loss_threshold",
    "magnitude_mask",
    "merge",
    "nearest_change",
    "similarity",
    "survivors",
    "weight_similarity",
]
