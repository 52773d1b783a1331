"""Adaptive pruning of a multi-task model: thresholds learned per component, to the sparsity that you ask for.

Xiang, Tang, Yang, Guan, Liu, *AdapMTL: Adaptive pruning framework for multitask learning model*, ACM Multimedia 2024.
"""

from adapmtl.authors import AuthorsWeights
from adapmtl.components import backbone_and_heads, one_for_all, per_component, per_layer, start_alike
from adapmtl.fit import Config, fit
from adapmtl.sensitivity import sensitivity
from adapmtl.threshold import soft_threshold
from adapmtl.thresholded import Thresholded, bake, sparsity
from adapmtl.weighting import AdaptiveWeights

__version__ = "0.1.0"

__all__ = [
    "AdaptiveWeights",
    "AuthorsWeights",
    "Config",
    "Thresholded",
    "__version__",
    "backbone_and_heads",
    "bake",
    "fit",
    "one_for_all",
    "per_component",
    "per_layer",
    "sensitivity",
    "soft_threshold",
    "sparsity",
    "start_alike",
]
