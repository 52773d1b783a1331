"""Making a trained model smaller and faster without changing what it computes.

`compact(model, example)` traces the model, finds which channels are constant and which anybody needs, removes the rest, folds
norms, picks the faster kernel for layers with single zeros, and compares the result with the model before it gives it back.
`mtl_core.dense.dense_form` turns sparse kernels into plain layers again, for formats that carry none.
"""

from mtl_core.compaction.choice import Choice, Kernels
from mtl_core.compaction.compacted import Compacted
from mtl_core.compaction.compaction import compact
from mtl_core.compaction.table import Layer, Table

__all__ = ["Choice", "Compacted", "Kernels", "Layer", "Table", "compact"]
