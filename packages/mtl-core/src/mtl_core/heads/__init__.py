r"""Heads: what turns features into the prediction of one task.

A head is made by a function `head(channels, task) -> Module`, because a decoder that moves to another layer meets
another number of channels. Each function here takes the options and gives such a function:

| Function | For | Prediction |
|---|---|---|
| `linear` | classification, attributes | `[batch, task.channels]` |
| `two_layer` | the same, with a convolution and a hidden layer | `[batch, task.channels]` |
| `aspp` | maps: DeepLab v3, one decoder over context of several sizes | `[batch, task.channels, h, w]` |
| `deeplab_v2` | maps: DeepLab v2, a sum of four decoders | `[batch, task.channels, h, w]` |
| `transposed` | maps: DMTG's, of transposed convolutions; finer than the features | `[batch, task.channels, s·h, s·w]` |
| `by_kind` | tasks of both kinds: picks by `task.dense` | |

Predictions have no activation, maps the resolution of the features if nothing else is said; losses and metrics resize
them to the targets.
"""

from mtl_core.heads.dense import aspp, deeplab_v2, transposed
from mtl_core.heads.image import linear, two_layer
from mtl_core.heads.kinds import by_kind

__all__ = ["aspp", "by_kind", "deeplab_v2", "linear", "transposed", "two_layer"]
