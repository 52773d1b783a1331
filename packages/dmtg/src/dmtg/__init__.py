"""Grouping of many tasks into a few networks, found by gradient in one training that also gives these networks.

Gao, Jiang, Li, Yu, Xia, *DMTG: One-Shot Differentiable Multi-Task Grouping*.
"""

from dmtg.annealing import AnnealedAssignment
from dmtg.fit import Config, fit
from dmtg.gain import norm_gain, relative_encoders, total_error, total_loss
from dmtg.grouping import Distribution, GroupDistribution, grouped_loss, relaxed_sample
from dmtg.network import BranchedModel, extract

__version__ = "0.1.0"

__all__ = [
    "AnnealedAssignment",
    "BranchedModel",
    "Config",
    "Distribution",
    "GroupDistribution",
    "__version__",
    "extract",
    "fit",
    "grouped_loss",
    "norm_gain",
    "relative_encoders",
    "relaxed_sample",
    "total_error",
    "total_loss",
]
