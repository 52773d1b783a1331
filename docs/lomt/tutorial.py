# %% [markdown]
# # Find each task's layer with LOMT
#
# Edges can be seen in the first layers, depth cannot. LOMT trains a sparse network for each task, looks where its
# layers become empty, and puts each decoder there. Everything on this page ran while it was built, with few steps; what
# to expect is measured in [the method card](README.md#results).

# %%
import torch

import lomt
from lomt import plots
from mtl_core import Run, SharedBackbone, backbones, datasets, evaluate, heads

data = datasets.rooms(("depth", "edges"))


def build(tasks):
    backbone = backbones.resnet10(width=0.25, output_stride=8)
    return SharedBackbone(backbone, tasks, heads.aspp(width=32, rates=(1, 2, 3)), example=torch.zeros(1, 3, 48, 64))


# %% [markdown]
# The strength of the sparsity is the setting to find. Given several values, `fit` tries them and takes the best on the
# validation part.

# %%
config = lomt.Config(lambda_=0.01, sparse_epochs=5, epochs=5, lr=2e-3)
result = lomt.fit(build, data, config, Run(seed=0))
print(result.report.layers)

# %% [markdown]
# A column is a layer, a row a task; dark layers are full, white ones empty, and the mark is the layer that was taken:

# %%
plots.sparsity_pattern(result.report)

# %% [markdown]
# The model ends behind the deepest layer that a task takes:

# %%
whole, cut = (sum(p.numel() for p in m.backbone.parameters()) for m in (build(data.tasks), result.model))
print(f"backbone: {whole:,} parameters, now {cut:,}")
print({task: round(next(iter(figures.values())), 3) for task, figures in evaluate(result.model, data.test).items()})

# %% [markdown]
# ## Known layers
#
# Layers that you know need no search:

# %%
model = lomt.attach(build, data.tasks, {"edges": "layer1.0.conv2"})
print(model.taps)
