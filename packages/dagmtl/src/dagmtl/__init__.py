"""Multi-task networks in which every task runs along its own graph of shared layers, found by one gradient-based search.

Choi and Im, *Dynamic Neural Network for Multi-Task Learning Searching across Diverse Network Topologies*.
"""

from dagmtl.config import Config
from dagmtl.discrete import DiscreteNetwork
from dagmtl.fit import finetune, fit, search
from dagmtl.network import CentralNetwork
from dagmtl.reduction import Subgraph, flow_scores, keep_all, reduce_flow, reduce_random, reduce_threshold
from dagmtl.squeeze import squeeze_loss
from dagmtl.states import State, group_norm, layer, omniglot_states, stem, vgg16_states
from dagmtl.topology import depth, edges, shared_layers, skip_lengths, sparsity, width

__version__ = "0.1.0"

__all__ = [
    "CentralNetwork",
    "Config",
    "DiscreteNetwork",
    "State",
    "Subgraph",
    "__version__",
    "depth",
    "edges",
    "finetune",
    "fit",
    "flow_scores",
    "group_norm",
    "keep_all",
    "layer",
    "omniglot_states",
    "reduce_flow",
    "reduce_random",
    "reduce_threshold",
    "search",
    "shared_layers",
    "skip_lengths",
    "sparsity",
    "squeeze_loss",
    "stem",
    "vgg16_states",
    "width",
]
