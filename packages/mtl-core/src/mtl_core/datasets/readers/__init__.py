"""Readers of public data sets from the folders that people have: samples decoded when asked for, one convention for all.

| Function | What | A source |
|---|---|---|
| `nyuv2` | indoor scenes: segmentation, depth, normals, edges; three layouts | one |
| `cityscapes` | street scenes: segmentation, disparity; two layouts | one |
| `taskonomy` | rooms: segmentation, depth, normals, keypoints, edges | one |
| `pascal_context` | segmentation, human parts, normals, saliency, edges | one |
| `celeba`, `celebamask` | faces: 40 attributes; and a map of their parts | one |
| `omniglot` | characters of 20 alphabets | each alphabet |
| `cifar100_superclasses` | CIFAR-100 as 20 tasks of five classes | each task |
| `decathlon` | ten sets of the Visual Decathlon | each set |
| `cifar10`, `cifar100`, `stl10`, `usps`, `svhn`, `mnist`, `fashion_mnist` | one task each | one |

Nothing is downloaded by a reader (`download` does, where it is called), nothing is unpickled, and a file that cannot be used is
named with its sample and task. `python -m mtl_core.datasets check ROOT --layout NAME` says what a folder holds.
"""

from mtl_core.datasets.readers.celeba import celeba, celebamask
from mtl_core.datasets.readers.characters import omniglot
from mtl_core.datasets.readers.cifar import cifar10, cifar100, cifar100_superclasses
from mtl_core.datasets.readers.cityscapes import cityscapes
from mtl_core.datasets.readers.decathlon import decathlon
from mtl_core.datasets.readers.decoding import Malformed
from mtl_core.datasets.readers.download import download
from mtl_core.datasets.readers.idx import fashion_mnist, mnist
from mtl_core.datasets.readers.nyuv2 import nyuv2
from mtl_core.datasets.readers.pascal import pascal_context
from mtl_core.datasets.readers.reader import Reader
from mtl_core.datasets.readers.stl10 import stl10
from mtl_core.datasets.readers.svhn import svhn
from mtl_core.datasets.readers.taskonomy import taskonomy
from mtl_core.datasets.readers.usps import usps

__all__ = [
    "Malformed", "Reader", "celeba", "celebamask", "cifar10", "cifar100", "cifar100_superclasses", "cityscapes", "decathlon",
    "download", "fashion_mnist", "mnist", "nyuv2", "omniglot", "pascal_context", "stl10", "svhn", "taskonomy", "usps",
]  # fmt: skip
