# %% [markdown]
# # Search a graph of layers for each task with DAG-MTL
#
# Three tasks on small rendered rooms, five states, and every layer between them that skips at most two: which task
# takes which layers is learned. Everything on this page ran while it was built, with few steps; what to expect is
# measured in [the method card](README.md#results).

# %%
import dagmtl
import mtl_core
from dagmtl import plots
from mtl_core import Run, datasets, heads

data = datasets.rooms(("segmentation", "depth", "edges"))


def space(tasks, flow):
    states = [dagmtl.State(16), dagmtl.State(16), dagmtl.State(24, 2), dagmtl.State(24, 2), dagmtl.State(24, 2)]
    stem = dagmtl.stem(3, 16, stride=4)
    return dagmtl.CentralNetwork(stem, states, flow, tasks, heads.aspp(width=32, rates=(1, 2, 3)))


# %%
config = dagmtl.Config(flow=3, warmup_epochs=1, search_epochs=6, epochs=4, lr=3e-3, upper_lr=0.04)
result = dagmtl.fit(space, data, config, Run(seed=0))
print(*result.report.headline, sep="\n")

# %% [markdown]
# Each task's graph, states from left to right:

# %%
plots.topologies(result.report)

# %% [markdown]
# How many layers each task would pay for, while the search went on:

# %%
plots.layers_over_training(result.report)

# %% [markdown]
# The network that is left computes a layer once for all tasks that mean the same by it:

# %%
print(
    {
        task: round(next(iter(figures.values())), 3)
        for task, figures in mtl_core.evaluate(result.model, data.test).items()
    }
)
print(result.model.evaluations(), "layers together;", {task: result.model.evaluations([task]) for task in data.tasks})

# %% [markdown]
# ## Another reduction
#
# The stages can be called one by one, and the weights of the search reduced in another way:

# %%
run = Run(seed=0)
central = dagmtl.search(space, data, config, run)
graph = dagmtl.reduce_threshold(*central.matrices("segmentation"), target_sparsity=0.5)
print(graph.removed, dagmtl.depth(graph), dagmtl.width(graph))
