"""Writers of small folders in the layouts of public data sets, for tests: what they hold is known, and made up.

`scene(index)` is what sample `index` of a part holds, in the project's conventions; a writer codes it as the data set does.

    root = layouts.nyuv2(tmp_path, "adashare")
    image, targets = readers.nyuv2(root, "train")[0]
"""

from mtl_core.testing.layouts.scenes import cityscapes, nyuv2
from mtl_core.testing.layouts.truth import SIZE, scene

__all__ = ["SIZE", "cityscapes", "nyuv2", "scene"]
