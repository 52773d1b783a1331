"""Backbones: networks that turn a batch of images into features `[batch, channels, h, w]`.

| Function | Parameters at width 1 | Channels | For |
|---|---|---|---|
| `tiny` | 45,280 | 32 | tests, demonstrations, images of 8 to 64 pixels |
| `resnet10`, `resnet14`, `resnet18`, `resnet34` | 4.9, 6.0, 11.2, 21.3 million | 512 | the usual choice |
| `resnet50`, `resnet50_d` | 23.5, 23.6 million | 2,048 | larger; the second with a stem of three convolutions |
| `mobilenet_v2` | 2.2 million | 1,280 | small and wide at the end |
| `vit` | 207,296 as it is by default | 64 | a transformer |

All have an int attribute `channels`, take images of any size and any number of channels (`in_channels`), and can be
traced by torch.fx. `width` multiplies the channels of all but `vit`; each is rounded to a multiple of 8, at least 8.
`normalize=(mean, std)` (for example `IMAGENET`) puts a `Normalize` first, so that a model takes images in [0, 1].
Weights start at random. Any other `nn.Module` that gives such features is a backbone, too.
"""

from mtl_core.backbones.layers import Norm
from mtl_core.backbones.mobilenet import MobileNetV2, mobilenet_v2
from mtl_core.backbones.normalize import IMAGENET, Normalization, Normalize
from mtl_core.backbones.resnet import ResNet, resnet10, resnet14, resnet18, resnet34, resnet50, resnet50_d
from mtl_core.backbones.tiny import TinyNet, tiny
from mtl_core.backbones.vit import VisionTransformer, vit

__all__ = [
    "IMAGENET",
    "MobileNetV2",
    "Norm",
    "Normalization",
    "Normalize",
    "ResNet",
    "TinyNet",
    "VisionTransformer",
    "mobilenet_v2",
    "resnet10",
    "resnet14",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet50_d",
    "tiny",
    "vit",
]
