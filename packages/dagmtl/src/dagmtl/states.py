"""Hidden states: how many channels each has and at which resolution, and what leads from one to another.

A layer is [max-pooling by the ratio of the strides,] a 3×3 convolution with a bias, and a ReLU; read-in and read-out have light
adapters, and only where shapes differ. Choi and Im, *Dynamic Neural Network for Multi-Task Learning Searching across Diverse
Network Topologies*, Section 4.1, names the numbers of states; channels and strides are read off the networks that it names.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mtl_core.backbones.layers import Norm, conv, scale_channels


class State(NamedTuple):
    """The shape of a hidden state.

    Attributes:
        channels: Channels.
        stride: Positions of the input state for each of its own, in each direction.
    """

    channels: int
    stride: int = 1


Layer: TypeAlias = Callable[[State, State], nn.Module]
"""`layer(source, target) -> Module`: leads from one state to another."""


def group_norm(channels: int) -> nn.Module:
    """Group norm in up to four groups: a sample's, so that it does not matter which tasks' features pass a layer."""
    return nn.GroupNorm(math.gcd(4, channels), channels)


def omniglot_states(channels: int = 48, output_stride: int = 32) -> list[State]:
    """Eight states, for drawings of characters: strides that take 105×105 pixels down to 4×4.

    Args:
        channels: Of every state.
        output_stride: Largest stride: drawings of 28×28 pixels are 4×4 at 8.

    Examples:
        >>> [state.stride for state in omniglot_states()]
        [2, 4, 4, 8, 16, 16, 32, 32]
    """
    return [State(channels, min(stride, output_stride)) for stride in (2, 4, 4, 8, 16, 16, 32, 32)]


def vgg16_states(width: float = 1.0, output_stride: int = 16) -> list[State]:
    """Twelve states: VGG-16's convolutions after the first, whose output is the input state; pooled ones are no states.

    Args:
        width: Multiplies the channels (to the nearest multiple of 8).
        output_stride: Largest stride: where a task predicts maps, 16 is coarse.

    Examples:
        >>> [tuple(state) for state in vgg16_states(width=0.25, output_stride=4)][:4]
        [(16, 1), (32, 2), (32, 2), (64, 4)]
    """
    stages = [(64, 1)] + 2 * [(128, 2)] + 3 * [(256, 4)] + 3 * [(512, 8)] + 3 * [(512, 16)]
    return [State(scale_channels(channels, width), min(stride, output_stride)) for channels, stride in stages]


def stem(in_channels: int, channels: int, *, stride: int = 1, kernel: int = 3, norm: Norm = group_norm) -> nn.Module:
    """The layer that makes the input state of images: convolution, norm, ReLU.

    Args:
        in_channels: Channels of the images.
        channels: Channels of the input state.
        stride: Pixels for each of its positions, in each direction.
        kernel: Side of the convolution's kernel, odd.
        norm: `channels -> Module`: the norm.

    Examples:
        >>> import torch
        >>> made = stem(3, 16, stride=2)
        >>> made(torch.zeros(1, 3, 9, 9)).shape, made.channels
        (torch.Size([1, 16, 5, 5]), 16)
    """
    made = nn.Sequential(conv(in_channels, channels, kernel, stride=stride), norm(channels), nn.ReLU())
    made.channels = channels  # type: ignore[assignment]
    return made


def layer(source: State, target: State, norm: Norm | None = None) -> nn.Module:
    r"""What transfers one state to another, $e_{ij}$: pooling where the stride grows, convolution, norm if any, ReLU.

    A norm ignores the scale of what enters: with one, a connection before a layer has a weight that says nothing. That of the
    first state's read-in, $\sigma(\alpha_1)$, then has no gradient, and the reduction seldom begins there.

    Args:
        source: Where it starts.
        target: Where it ends.
        norm: `channels -> Module`: a norm instead of the convolution's bias; not one over the batch.
    """
    made = conv(source.channels, target.channels, 3)
    if norm is None:
        made.bias = nn.Parameter(made.weight.new_zeros(target.channels))
    norms = [norm(target.channels)] if norm else []
    return nn.Sequential(*_pooling(source, target), made, *norms, nn.ReLU())


def check_layer(made: nn.Module) -> nn.Module:
    """Refuse a layer that keeps statistics over the batch, and give any other back.

    Raises:
        ValueError: If it holds a batch norm.
    """
    for module in made.modules():
        if isinstance(module, _BatchNorm):
            # In training each task's features would have their own statistics, in evaluation all tasks one mixture.
            raise ValueError(
                "`layer` must not keep statistics over the batch: a layer is passed by several tasks with different "
                f"inputs. Got {type(module).__name__}. Leave it out, or take `group_norm`."
            )
    return made


def adapter(source: State, target: State) -> nn.Module:
    """What gives one state the shape of another, with as few weights as can be; none where shapes agree.

    Args:
        source: What there is.
        target: What is wanted.
    """
    parts = _pooling(source, target)
    if source.channels != target.channels:
        parts.append(conv(source.channels, target.channels, 1))
    return nn.Sequential(*parts) if parts else nn.Identity()


def check_states(states: Sequence[State]) -> None:
    """Refuse states between which there are no layers.

    Raises:
        ValueError: If there are fewer than two, a size is not positive, or a stride is no multiple of the one before.
    """
    if len(states) < 2:
        raise ValueError(f"`states` must be at least two. Got {len(states)}.")
    before = 1
    for state in states:
        if state.channels < 1 or state.stride < 1 or state.stride % before:
            raise ValueError(
                f"`states` must have positive sizes, each stride a multiple of the one before. Got {list(states)}."
            )
        before = state.stride


def _pooling(source: State, target: State) -> list[nn.Module]:
    ratio = target.stride // source.stride
    return [nn.MaxPool2d(ratio, ceil_mode=True)] if ratio > 1 else []  # upwards: no row of a small map is lost
