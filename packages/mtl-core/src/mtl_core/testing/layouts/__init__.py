"""Writers of small folders in the layouts of public data sets, for tests: what they hold is known, and made up.

`scene(index)` is what sample `index` of a part holds, in the project's conventions; a writer codes it as the data set does.

    root = layouts.nyuv2(tmp_path, "adashare")
    image, targets = readers.nyuv2(root, "train")[0]
"""

from mtl_core.testing.layouts.faces import celeba, celebamask
from mtl_core.testing.layouts.rooms import pascal_context, taskonomy
from mtl_core.testing.layouts.scenes import cityscapes, nyuv2
from mtl_core.testing.layouts.small import (
    cifar10,
    cifar100,
    cifar100_folders,
    decathlon,
    four_domains,
    idx,
    omniglot,
    picture,
    stl10,
    svhn,
    usps,
)
from mtl_core.testing.layouts.truth import SIZE, scene

__all__ = [
    "SIZE", "celeba", "celebamask", "cifar10", "cifar100", "cifar100_folders", "cityscapes", "decathlon", "four_domains", "idx",
    "nyuv2", "omniglot", "pascal_context", "picture", "scene", "stl10", "svhn", "taskonomy", "usps",
]  # fmt: skip
