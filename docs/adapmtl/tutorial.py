# %% [markdown]
# # Prune a multi-task network with AdapMTL
#
# Segmentation, depth and normals of small rendered rooms, one network, and nine tenths of its weights gone. Everything
# on this page ran while it was built, on one thread, with few steps: the figures show how it works, not what it can do.
# What it can do is measured in [the method card](README.md#results).

# %%
import torch

import adapmtl
import mtl_core
from adapmtl import plots
from mtl_core import Run, SharedBackbone, backbones, datasets, heads

data = datasets.rooms(("segmentation", "depth", "normals"))


def build(tasks):
    backbone = backbones.resnet10(width=0.25, output_stride=8)
    return SharedBackbone(backbone, tasks, heads.aspp(width=32, rates=(1, 2, 3)), example=torch.zeros(1, 3, 48, 64))


# %% [markdown]
# The dense network, for as many passes as the pruned one will have. The running statistics of its batch norms are
# estimated anew at the end, as AdapMTL does, so that nothing else differs.

# %%
dense = mtl_core.fit(build, data, mtl_core.Config(epochs=6, lr=2e-3), Run(seed=0))
mtl_core.estimate_norms(dense.model.train(), data.train, batch_size=16)
dense.model.eval()
print({task: f"{sum(p.numel() for p in head.parameters()):,}" for task, head in dense.model.heads.items()})

# %% [markdown]
# AdapMTL is the same call with what you ask for: 90 % zeros in all. Which component gives how much is learned.

# %%
result = adapmtl.fit(build, data, adapmtl.Config(sparsity=0.9, epochs=6, lr=2e-3), Run(seed=0))
for component, share in adapmtl.sparsity(result.model).items():
    print(f"{component:18} {100 * share:.1f} % zeros")

# %% [markdown]
# The sparsity follows a schedule to what was asked, and is held there:

# %%
plots.sparsity_over_training(result.report)

# %% [markdown]
# ## Is it as good?
#
# Δ is the mean relative change against the dense network, + for better:

# %%
ours, theirs = (mtl_core.evaluate(model, data.test) for model in (result.model, dense.model))
for task in data.tasks:
    metric = next(iter(ours[task]))
    print(f"{task:13} {metric:15} {ours[task][metric]:.3f}  dense {theirs[task][metric]:.3f}")
print(f"Δ = {mtl_core.delta(ours, theirs, data.tasks).overall:+.1f} %")

# %% [markdown]
# ## A file
#
# `compact` makes something of the zeros; the outputs are compared before it gives the model back.

# %%
example = torch.rand(1, 3, 48, 64)
small = mtl_core.compact(result.model, example)
print(mtl_core.measure(small, example))
print(mtl_core.export(small, example, "model.pt2"))
