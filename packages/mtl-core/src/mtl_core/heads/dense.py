"""Heads for tasks whose prediction is a map: DeepLab's, versions 3 and 2, and a decoder of transposed convolutions."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtl_core.backbones.layers import Norm, conv
from mtl_core.components import Head
from mtl_core.heads.kinds import refuse_task, require_map
from mtl_core.task import Task
from mtl_core.types import Float


def aspp(
    width: int = 256,
    rates: Sequence[int] = (12, 24, 36),
    *,
    dropout: float = 0.3,
    norm: Norm = nn.BatchNorm2d,
) -> Head:
    """DeepLab v3's head: parallel branches that see context of several sizes, then two convolutions.

    The branches are a 1×1 convolution, a dilated 3×3 for each rate, and the average of the whole map. The last has a
    bias instead of a norm: it is one position per image, which a batch norm cannot normalise in a batch of one.

    Args:
        width: Channels of every branch, of their projection and of the 3×3 convolution after it.
        rates: Dilation of each 3×3 branch, in positions; the paper's for output stride 8.
        dropout: Share dropped after the projection; LOMT's (DeepLab: 0.1, torchvision: 0.5).
        norm: `channels -> Module`: makes the norm after each convolution.

    Raises:
        ValueError: If `rates` is empty or not positive; when a head is made for a task that is not dense.

    References:
        Chen et al., *Rethinking atrous convolution for semantic image segmentation*, 2017 (figure 5).

    Examples:
        >>> from mtl_core.task import depth
        >>> aspp(width=8)(16, depth("depth"))(torch.zeros(2, 16, 6, 8)).shape
        torch.Size([2, 1, 6, 8])
    """
    rates = _positive(rates)

    def head(channels: int, task: Task) -> nn.Module:
        refuse_task(task, dense=False, name="aspp")
        return ASPPHead(channels, task, width, rates, dropout, norm)

    return head


def deeplab_v2(width: int = 1024, rates: Sequence[int] = (6, 12, 18, 24), *, dropout: float = 0.5) -> Head:
    """DeepLab v2's head, AdapMTL's: the sum of parallel decoders that differ in dilation.

    Each is a dilated 3×3 convolution to `width` channels, a 1×1 to as many and a 1×1 to the prediction, with ReLU and
    dropout between them and no norms. With the default width it outweighs a ResNet-34.

    Args:
        width: Channels of each branch.
        rates: Dilation of each branch, in positions.
        dropout: Share dropped after each ReLU.

    Raises:
        ValueError: If `rates` is empty or not positive; when a head is made for a task that is not dense.

    References:
        Chen et al., *DeepLab*, 2018 (figure 7), LargeFOV-style branches `fc6`, `fc7`, `fc8`.

    Examples:
        >>> from mtl_core.task import depth
        >>> deeplab_v2(width=8)(16, depth("depth"))(torch.zeros(2, 16, 6, 8)).shape
        torch.Size([2, 1, 6, 8])
    """
    rates = _positive(rates)

    def head(channels: int, task: Task) -> nn.Module:
        refuse_task(task, dense=False, name="deeplab_v2")
        return DeepLabV2Head(channels, task, width, rates, dropout)

    return head


def transposed(widths: Sequence[int] = (128, 64, 48, 32), *, norm: Norm = nn.BatchNorm2d) -> Head:
    """DMTG's decoder on Taskonomy: each stage doubles the map by a transposed convolution, and a last one predicts.

    A stage is a 2×2 transposed convolution of stride 2, a norm, ReLU and a 3×3 convolution. With the four stages of the released
    code features of stride 16 become a map of the image's size.

    Args:
        widths: Channels of each stage.
        norm: `channels -> Module`: makes the norms.

    Raises:
        ValueError: If `widths` is empty or not positive; when a head is made for a task that is not dense.

    References:
        Gao et al., *DMTG: One-Shot Differentiable Multi-Task Grouping*, 2024, released code.

    Examples:
        >>> from mtl_core.task import depth
        >>> transposed((16, 8))(32, depth("depth"))(torch.zeros(2, 32, 6, 8)).shape
        torch.Size([2, 1, 24, 32])
    """
    if not widths or min(widths) < 1:
        raise ValueError(f"`widths` must be one or more positive integers. Got `widths = {widths}`.")

    def head(channels: int, task: Task) -> nn.Module:
        refuse_task(task, dense=False, name="transposed")
        return TransposedHead(channels, task, tuple(widths), norm)

    return head


class ASPPHead(nn.Module):
    """The head that `aspp` makes."""

    def __init__(self, channels: int, task: Task, width: int, rates: Sequence[int], dropout: float, norm: Norm) -> None:
        super().__init__()
        self.name = task.name
        self.branches = nn.ModuleList([_unit(channels, width, 1, 1, norm)])
        self.branches.extend(_unit(channels, width, 3, rate, norm) for rate in rates)
        self.pooled = nn.Conv2d(channels, width, 1)
        self.project = _unit(width * (len(rates) + 2), width, 1, 1, norm)
        self.dropout = nn.Dropout(dropout)
        self.refine = _unit(width, width, 3, 1, norm)
        self.predict = nn.Conv2d(width, task.channels, 1)

    def forward(self, features: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch _ h w"]:
        """Predict a map of the features' size."""
        require_map(features, self.name)
        pooled = self.pooled(features.mean((2, 3), keepdim=True)).relu()
        context = [branch(features) for branch in self.branches]
        context.append(pooled.expand(-1, -1, features.shape[2], features.shape[3]))
        x = self.dropout(self.project(torch.cat(context, dim=1)))
        return self.predict(self.refine(x))


class DeepLabV2Head(nn.Module):
    """The head that `deeplab_v2` makes."""

    def __init__(self, channels: int, task: Task, width: int, rates: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.name = task.name
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, width, 3, padding=rate, dilation=rate),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Conv2d(width, width, 1),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Conv2d(width, task.channels, 1),
            )
            for rate in rates
        )

    def forward(self, features: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch _ h w"]:
        """Predict a map of the features' size."""
        require_map(features, self.name)
        first, *others = [branch(features) for branch in self.branches]
        for other in others:
            first = first + other
        return first


class TransposedHead(nn.Module):
    """The head that `transposed` makes."""

    def __init__(self, channels: int, task: Task, widths: Sequence[int], norm: Norm) -> None:
        super().__init__()
        self.name = task.name
        stages = []
        for width in widths:
            up = nn.ConvTranspose2d(channels, width, 2, stride=2)
            stages.append(nn.Sequential(up, norm(width), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)))
            channels = width
        self.stages = nn.Sequential(*stages)
        self.predict = nn.Conv2d(channels, task.channels, 3, padding=1)

    def forward(self, features: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch _ _ _"]:
        """Predict a map `2 ** len(widths)` times as fine as the features."""
        require_map(features, self.name)
        return self.predict(self.stages(features))


def _unit(in_channels: int, channels: int, kernel: int, dilation: int, norm: Norm) -> nn.Sequential:
    """Convolution, norm, ReLU."""
    return nn.Sequential(conv(in_channels, channels, kernel, dilation=dilation), norm(channels), nn.ReLU())


def _positive(rates: Sequence[int]) -> tuple[int, ...]:
    if not rates or min(rates) < 1:
        raise ValueError(f"`rates` must be one or more positive integers. Got `rates = {rates}`.")
    return tuple(rates)
