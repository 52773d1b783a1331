"""Readers of public data sets from the folders that people have: samples decoded when asked for, one convention for all.

Nothing is downloaded by a reader, nothing is unpickled, and a file that cannot be used is named with its sample and task.
`python -m mtl_core.datasets check ROOT --layout NAME` says what a folder holds.
"""

from mtl_core.datasets.readers.cityscapes import cityscapes
from mtl_core.datasets.readers.decoding import Malformed
from mtl_core.datasets.readers.nyuv2 import nyuv2
from mtl_core.datasets.readers.reader import Reader

__all__ = ["Malformed", "Reader", "cityscapes", "nyuv2"]
