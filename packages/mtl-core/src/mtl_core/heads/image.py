"""Heads for tasks with one prediction per image: classification and attributes."""

from torch import Tensor, nn

from mtl_core.components import Head
from mtl_core.heads.kinds import refuse_task, require_map
from mtl_core.task import Task
from mtl_core.types import Float


def linear(grid: int = 1) -> Head:
    """Average pool (where the features are a map), then one linear layer.

    Args:
        grid: The map is averaged to `grid` rows and columns, whose features the layer takes one by one; 1: global average.

    Raises:
        ValueError: If `grid` is not positive; when a head is made for a dense task.

    Examples:
        >>> import torch
        >>> from mtl_core.task import attribute
        >>> linear()(8, attribute("tall"))(torch.zeros(2, 8, 4, 4)).shape
        torch.Size([2, 1])
    """

    if grid < 1:
        raise ValueError(f"`grid` must be at least 1. Got `grid = {grid}`.")

    def head(channels: int, task: Task) -> nn.Module:
        refuse_task(task, dense=True, name="linear")
        return LinearHead(channels, task) if grid == 1 else GridHead(channels, task, grid)

    return head


def two_layer(hidden: int = 32, *, width: int = 64, dropout: tuple[float, float] = (0.6, 0.4)) -> Head:
    """LOMT's classification head: 3×3 convolution, 2×2 max-pool, global average pool, and two linear layers.

    Args:
        hidden: Channels between the two linear layers.
        width: Channels of the convolution.
        dropout: Shares dropped before the first and before the second linear layer; LOMT's.

    Raises:
        ValueError: When a head is made for a dense task.

    Examples:
        >>> import torch
        >>> from mtl_core.task import attribute
        >>> two_layer()(8, attribute("tall"))(torch.zeros(2, 8, 4, 4)).shape
        torch.Size([2, 1])
    """

    def head(channels: int, task: Task) -> nn.Module:
        refuse_task(task, dense=True, name="two_layer")
        return TwoLayerHead(channels, task, hidden, width, dropout)

    return head


class LinearHead(nn.Module):
    """The head that `linear` makes."""

    def __init__(self, channels: int, task: Task) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, task.channels)

    def forward(self, features: Float[Tensor, "batch channels *hw"]) -> Float[Tensor, "batch _"]:
        """Predict from a map or from vectors."""
        # One expression for both: vectors are maps of a single position. A branch would hide the other from torch.fx.
        return self.linear(features.unsqueeze(-1).flatten(2).mean(2))


class GridHead(nn.Module):
    """The head that `linear` makes for a grid of several positions."""

    def __init__(self, channels: int, task: Task, grid: int) -> None:
        super().__init__()
        self.name = task.name
        self.pool = nn.AdaptiveAvgPool2d(grid)
        self.linear = nn.Linear(channels * grid**2, task.channels)

    def forward(self, features: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch _"]:
        """Predict from a map."""
        require_map(features, self.name)
        return self.linear(self.pool(features).flatten(1))


class TwoLayerHead(nn.Module):
    """The head that `two_layer` makes."""

    def __init__(self, channels: int, task: Task, hidden: int, width: int, dropout: tuple[float, float]) -> None:
        super().__init__()
        self.name = task.name
        self.conv = nn.Conv2d(channels, width, 3, padding=1)
        # Rounded upwards, a map of one position can be pooled, too.
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.dropout1 = nn.Dropout(dropout[0])
        self.linear1 = nn.Linear(width, hidden)
        self.dropout2 = nn.Dropout(dropout[1])
        self.linear2 = nn.Linear(hidden, task.channels)

    def forward(self, features: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch _"]:
        """Predict from a map."""
        require_map(features, self.name)
        x = self.pool(self.conv(features).relu()).mean((2, 3))
        x = self.linear1(self.dropout1(x)).relu()
        return self.linear2(self.dropout2(x))
