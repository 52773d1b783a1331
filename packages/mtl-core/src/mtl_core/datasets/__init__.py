"""Data: sources made from arrays and from folders, and small sets that core carries or makes.

| Function | Regime | What |
|---|---|---|
| `rooms` | common images, many labels | indoor scenes 48×64: segmentation, depth, normals, edges, keypoints, attributes |
| `shapes` | common images, many labels | unlimited scenes of boxes and ellipsoids, exact labels, made on the fly |
| `scripts` | one data set per task | characters of eight writing systems: rendered fonts with distortion, not handwriting |
| `domains` | one data set per task | `digits`, `fashion` and two of `scripts` at 32×32 |
| `digits`, `fashion` | one task | handwritten digits 8×8; clothes 28×28 |
| `arrays` | yours | tensors, numpy arrays, `.npy` files that stay on disk |
| `folders` | yours | one folder per task, one folder per class, image files |
| `readers` | both | public data sets from the folders that people have |
| `presets` | both | the papers' experiments: data, tasks, sizes, augmentation |

Nothing is downloaded. A text beside each file in `files` says what it is, how it was made, and under which licence.
"""

from mtl_core.datasets import presets, readers
from mtl_core.datasets.arrays import Arrays, arrays
from mtl_core.datasets.augmentation import augment, jitter, mirror
from mtl_core.datasets.fitted import Fitted
from mtl_core.datasets.folders import Folder, folders
from mtl_core.datasets.images import digits, domains, fashion, scripts
from mtl_core.datasets.rooms import rooms
from mtl_core.datasets.shapes import Shapes, shapes

__all__ = [
    "Arrays", "Fitted", "Folder", "Shapes", "arrays", "augment", "digits", "domains", "fashion", "folders", "jitter", "mirror",
    "presets", "readers", "rooms", "scripts", "shapes",
]  # fmt: skip
