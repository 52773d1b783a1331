"""Figures over a whole set: sums first, the ratio last, exact under any split into batches and ranks.

One metric object gives all figures of a kind of task. Accuracies, intersections over unions and shares are fractions in
[0, 1], angles degrees, depths metres; a figure is NaN where nothing was labelled. Dense predictions are resized to the
target first, bilinearly on logits or values. What a figure makes of absent classes stands with its class.

| Class | Figures | Tasks |
|---|---|---|
| `Accuracy` | `accuracy` | classification |
| `Attribute` | `accuracy`, `f1` | binary attribute |
| `Segmentation` | `mIoU`, `pixel_accuracy` | semantic segmentation |
| `Depth` | `absolute_error`, `relative_error`, `delta_1`, `delta_2`, `delta_3` | depth |
| `Normals` | `mean_angle`, `median_angle`, `within_11`, `within_22`, `within_30` | surface normals |
| `Regression` | `mean_absolute_error` | edge strength, keypoints |
| `Binary` | `f_measure`, `mIoU_threshold` | edges, saliency |

`delta` makes one relative gain of them all. A metric of one's own is a `Metric`; where its state is a few sums, a
`Sums`.
"""

from mtl_core.metrics.binary import Binary
from mtl_core.metrics.classification import Accuracy, Attribute
from mtl_core.metrics.depth import Depth
from mtl_core.metrics.metric import Metric
from mtl_core.metrics.normals import Normals
from mtl_core.metrics.regression import Regression
from mtl_core.metrics.relative import Delta, delta
from mtl_core.metrics.segmentation import Segmentation, confusion_matrix
from mtl_core.metrics.sums import Sums

__all__ = [
    "Accuracy",
    "Attribute",
    "Binary",
    "Delta",
    "Depth",
    "Metric",
    "Normals",
    "Regression",
    "Segmentation",
    "Sums",
    "confusion_matrix",
    "delta",
]
