"""New layers of the same kind with other weights. Nothing is drawn: the random numbers of the caller stay where they are."""

from typing import Any

import torch
from torch import Tensor, nn

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def renewed(layer: nn.Module, weight: Tensor, bias: Tensor, groups: int = 1) -> nn.Module:
    """A convolution or linear layer like `layer` with these weights.

    Args:
        layer: A convolution or linear layer; a parametrized one gives a plain one.
        weight: Float64.
        bias: Float64; left out if it is all zero and `layer` had none.
        groups: Groups of a convolution.

    Examples:
        >>> renewed(nn.Conv2d(3, 4, 3, bias=False), torch.zeros(2, 1, 3, 3), torch.zeros(2))
        Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1), bias=False)
    """
    old: Any = layer
    biased = old.bias is not None or bool((bias != 0).any())
    dtype, device = old.weight.dtype, old.weight.device
    if isinstance(layer, nn.Linear):
        new: Any = nn.utils.skip_init(nn.Linear, weight.shape[1], len(weight), bias=biased, dtype=dtype, device=device)
    else:
        new = nn.utils.skip_init(
            _CONVOLUTIONS[weight.ndim - 2],
            weight.shape[1] * groups,
            len(weight),
            old.kernel_size,
            stride=old.stride,
            padding=old.padding,
            dilation=old.dilation,
            groups=groups,
            bias=biased,
            padding_mode=old.padding_mode,
            dtype=dtype,
            device=device,
        )
    with torch.no_grad():
        new.weight.copy_(weight)
        if biased:
            new.bias.copy_(bias)
    new.requires_grad_(old.weight.requires_grad)
    return new.eval()
