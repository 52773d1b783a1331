r"""Weights that are exactly zero, and training on without reviving them.

A pruned weight is an exact zero of a prunable layer: of the weight of a convolution or a linear layer; biases and norms are
not pruned. Momentum and decay would move such zeros in the next step even without a gradient; `keep_zeros` puts them back
after each step of the optimizer.
"""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

PRUNABLE = (nn.modules.conv._ConvNd, nn.Linear)
"""Layers whose `weight` can be pruned."""


class Removable(Protocol):
    """What registering a hook gives."""

    def remove(self) -> None:
        """Take the hook away."""


def prunable_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of convolutions and linear layers by name; one that two layers share is named once.

    Examples:
        >>> list(prunable_weights(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))))
        ['0.weight']
    """
    found: dict[int, tuple[str, nn.Parameter]] = {}
    for name, layer in model.named_modules():
        weight = layer.weight if isinstance(layer, PRUNABLE) else None
        if isinstance(weight, nn.Parameter):
            found.setdefault(id(weight), (f"{name}.weight" if name else "weight", weight))
    return dict(found.values())


def count_zeros(model: nn.Module) -> dict[str, tuple[int, int]]:
    """Exact zeros and size of each prunable weight, by name.

    Examples:
        >>> layer = nn.Linear(2, 2)
        >>> _ = layer.weight.data.copy_(torch.tensor([[0.0, 1.0], [2.0, 0.0]]))
        >>> count_zeros(layer)
        {'weight': (2, 4)}
    """
    return {name: (int((weight == 0).sum()), weight.numel()) for name, weight in prunable_weights(model).items()}


def keep_zeros(
    model: nn.Module, optimizer: torch.optim.Optimizer, zeros: Mapping[str, Tensor] | None = None
) -> "KeptZeros":
    """Keep the prunable weights that are exactly zero now at zero, whatever the optimizer does.

    Call it before the phase that trains on: a resumed run then finds the same zeros again. It may be used as a context,
    at whose end the zeros are free again.

    Args:
        model: A pruned model.
        optimizer: Trains some or all of its weights; after each of its `step`s the zeros are put back.
        zeros: For some prunable weights, by name, which elements are held; default those that are zero now. So a weight
            that happens to be zero, as of a head that starts at zero, can be left free.

    Returns:
        What holds the zeros until its `remove()` is called.

    Raises:
        ValueError: If `zeros` names no prunable weight, or has another shape.
        TypeError: If the optimizer is not torch's: then nobody says when a step is done.

    Examples:
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> _ = layer.weight.data.copy_(torch.tensor([[0.0, 1.0]]))
        >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
        >>> with keep_zeros(layer, optimizer):
        ...     layer(torch.ones(1, 2)).sum().backward()
        ...     optimizer.step()
        >>> layer.weight.tolist()
        [[0.0, 0.5]]
    """
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"`optimizer` must be a torch optimizer. Got `{type(optimizer).__name__}`.")
    weights = prunable_weights(model)
    for name, zero in (zeros or {}).items():
        if name not in weights or weights[name].shape != zero.shape:
            raise ValueError(
                f"`zeros` must have the names and shapes of prunable weights. Got `{name}` of {list(zero.shape)}."
            )
    held = {name: weight.detach() == 0 for name, weight in weights.items()} if zeros is None else zeros
    return KeptZeros([(weights[name], zero) for name, zero in held.items()], optimizer)


class KeptZeros:
    """Holds zeros at zero; made by `keep_zeros`.

    Args:
        zeros: Weights, and which of their elements are held.
        optimizer: Trains them.
    """

    def __init__(self, zeros: Sequence[tuple[Tensor, Tensor]], optimizer: torch.optim.Optimizer) -> None:
        self._zeros = [(weight, zero) for weight, zero in zeros if bool(zero.any())]
        self._handle: Removable = optimizer.register_step_post_hook(self._restore)

    def remove(self) -> None:
        """Let the zeros free."""
        self._handle.remove()

    def __enter__(self) -> "KeptZeros":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def _restore(self, *_: Any) -> None:
        with torch.no_grad():
            for place, (weight, zero) in enumerate(self._zeros):
                if zero.device != weight.device:  # the model was placed after the zeros were looked for
                    zero = zero.to(weight.device)
                    self._zeros[place] = (weight, zero)
                _put_back(weight, zero)


def _put_back(weight: Tensor, zero: Tensor) -> None:
    weight.masked_fill_(zero, 0.0)  # not `mul_`: a zero times Inf would be NaN
