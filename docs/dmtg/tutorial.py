# %% [markdown]
# # Group tasks with DMTG
#
# Six attributes of small rendered rooms, at most two networks: which attribute belongs to which is learned while the
# networks are trained. Everything on this page ran while it was built, with few steps; what to expect is measured in
# [the method card](README.md#results).

# %%
import torch

import dmtg
import mtl_core
from dmtg import plots
from mtl_core import Run, SharedBackbone, backbones, datasets, heads

names = ("has_window", "has_picture", "sees_ceiling", "large_room", "wooden_floor", "has_books")
data = datasets.rooms(names)


def build(tasks):
    return SharedBackbone(backbones.tiny(), tasks, heads.linear(), example=torch.zeros(1, 3, 48, 64))


# %% [markdown]
# `logits_lr` is the one setting to think about: steps times `logits_lr` should be of the order of ten.

# %%
config = dmtg.Config(groups=2, epochs=12, lr=2e-3, logits_lr=0.05)
result = dmtg.fit(build, data, config, Run(seed=0))
for group, members in result.report.groups.items():
    print(group, *members)

# %% [markdown]
# How sure the distribution is, and when it became so:

# %%
plots.assignment_matrix(result.report)

# %%
plots.probabilities_over_training(result.report)

# %% [markdown]
# ## Is it better than one network for all?
#
# Trained for as long, and its batch norms' running statistics estimated anew at the end, as DMTG does.

# %%
naive = mtl_core.fit(build, data, mtl_core.Config(epochs=12, lr=2e-3), Run(seed=0))
mtl_core.estimate_norms(naive.model.train(), data.train, batch_size=16)
naive.model.eval()
accuracy = {}
for name, model in (("dmtg", result.model), ("one network", naive.model)):
    accuracy[name] = [figures["accuracy"] for figures in mtl_core.evaluate(model, data.test).values()]
    print(f"{name:12} total error {dmtg.total_error(accuracy[name]):.0f}")

# %% [markdown]
# One seed of a short training can say either. Only the groups that are asked for are computed:

# %%
example = torch.rand(1, 3, 48, 64)
first = next(iter(result.report.groups.values()))
print(list(result.model(example, first)))
