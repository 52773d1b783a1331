"""Layer-optimized multi-task models: group sparsity finds the layer of the backbone where each task's decoder belongs.

Upadhyay, Phlypo, Saini, Liwicki, *Giving each task what it needs - leveraging structured sparsity for tailored multi-task
learning*.
"""

from lomt.attach import attach, compression, prefix_parameters, with_layers
from lomt.branch import main_branch
from lomt.cam import grad_cam
from lomt.config import Config
from lomt.fit import fit, fit_attached, fit_sparse
from lomt.grid import choose_lambda, lambda_grid
from lomt.lasso import GroupLasso
from lomt.layers import active_layers, choose_layer, densities, last_layer, prefix_layer, zeros
from lomt.prox import group_norms, group_size, penalty, prox_group_lasso, prox_group_lasso_weighted

__version__ = "0.1.0"

__all__ = [
    "Config",
    "GroupLasso",
    "__version__",
    "active_layers",
    "attach",
    "choose_lambda",
    "choose_layer",
    "compression",
    "densities",
    "fit",
    "fit_attached",
    "fit_sparse",
    "grad_cam",
    "group_norms",
    "group_size",
    "lambda_grid",
    "last_layer",
    "main_branch",
    "penalty",
    "prefix_layer",
    "prefix_parameters",
    "prox_group_lasso",
    "prox_group_lasso_weighted",
    "with_layers",
    "zeros",
]
