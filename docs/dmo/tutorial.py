# %% [markdown]
# # Group and prune with DMO
#
# Four data sets of small images, a task each: digits, clothes and two scripts. DMO trains each alone, groups those that
# are learned alike, and leaves each task as many weights as it is difficult. Everything on this page ran while it was
# built, with few steps; what to expect is measured in [the method card](README.md#results).

# %%
from functools import partial

from torch import nn

import dmo
import mtl_core
from dmo import plots
from mtl_core import Run, SharedBackbone, backbones, datasets, heads

data = datasets.domains()


def build(tasks):
    norm = partial(nn.GroupNorm, 4)  # of a sample: the data sets differ too much for statistics over a batch
    backbone = backbones.resnet10(width=0.25, in_channels=1, norm=norm)
    return SharedBackbone(backbone, tasks, heads.linear())


# %% [markdown]
# `tau_sim` has no absolute meaning: look at the similarities first, then choose.

# %%
config = dmo.Config(epochs=10, batch_size=32, lr=0.05, tau_sim=0.95)
result = dmo.fit(build, data, config, Run(seed=0))
plots.similarity_matrices(result.report)

# %%
for group, members in result.report.groups.items():
    print(group, *members)

# %% [markdown]
# How difficult each task is, and what it keeps:

# %%
plots.pruning_against_difficulty(result.report)

# %% [markdown]
# Pruned weights are exact zeros, and take no room in a file:

# %%
for task, figures in mtl_core.evaluate(result.model, data.test).items():
    print(f"{task:12} accuracy {figures['accuracy']:.3f}")
zeros = sum(int((p == 0).sum()) for p in result.model.parameters())
print(f"{zeros:,} of {sum(p.numel() for p in result.model.parameters()):,} parameters are zero")
