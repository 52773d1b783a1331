"""Backbones: networks that turn a batch of images into features `[batch, channels, h, w]`.

| Function | Parameters at width 1 | Channels | For |
|---|---|---|---|
| `tiny` | 45,280 | 32 | tests, demonstrations, images of 8 to 64 pixels |
| `resnet10`, `resnet14`, `resnet18`, `resnet34` | 4.9, 6.0, 11.2, 21.3 million | 512 | the usual choice |
| `resnet50`, `resnet50_d` | 23.5, 23.6 million | 2,048 | larger; the second with a stem of three convolutions |
| `mobilenet_v2` | 2.2 million | 1,280 | small and wide at the end |
| `vgg16` | 14.7 million | 512 | no by-passes; fine maps with `pools` |
| `xception` | 14.4 million | 512 | DMTG's, for dense tasks |
| `small_resnet` | 75,840 | 64 | DMTG's, for CelebA |
| `vit` | 207,296 as it is by default | 64 | a transformer |
| `vit_b16` | 85.8 million | 768 | ViT-B/16 |
| `from_timm` | | | any network of timm, one level of its feature pyramid (`pip install timm`) |

All have an int attribute `channels`, take images of any size and any number of channels (`in_channels`), and can be
traced by torch.fx. `width` multiplies the channels of all but the
transformers and timm's; each is rounded to a multiple of 8, at least 8.
`normalize=(mean, std)` (for example `IMAGENET`) puts a `Normalize` first, so that a model takes images in [0, 1].
Weights start at random, or from a file of safetensors (`weights=path`; torchvision's are written into one by
`shared/convert_weights.py` of the repository: nothing is downloaded here). Any other `nn.Module` that gives such features
is a backbone, too.
"""

from mtl_core.backbones.layers import Norm
from mtl_core.backbones.mobilenet import MobileNetV2, mobilenet_v2
from mtl_core.backbones.normalize import IMAGENET, Normalization, Normalize
from mtl_core.backbones.pyramid import Pyramid, from_timm
from mtl_core.backbones.resnet import ResNet, resnet10, resnet14, resnet18, resnet34, resnet50, resnet50_d
from mtl_core.backbones.tiny import TinyNet, tiny
from mtl_core.backbones.vgg import VGG16, vgg16
from mtl_core.backbones.vit import VisionTransformer, vit, vit_b16
from mtl_core.backbones.weights import load_weights
from mtl_core.backbones.xception import SmallResNet, Xception, small_resnet, xception

__all__ = [
    "IMAGENET",
    "VGG16",
    "MobileNetV2",
    "Norm",
    "Normalization",
    "Normalize",
    "Pyramid",
    "ResNet",
    "SmallResNet",
    "TinyNet",
    "VisionTransformer",
    "Xception",
    "from_timm",
    "load_weights",
    "mobilenet_v2",
    "resnet10",
    "resnet14",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet50_d",
    "small_resnet",
    "tiny",
    "vgg16",
    "vit",
    "vit_b16",
    "xception",
]
