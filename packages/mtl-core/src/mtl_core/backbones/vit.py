r"""A small vision transformer whose tokens are given back as a map.

The image is cut into patches, each a token; every block lets the tokens exchange, then works on each by itself:

$$x \leftarrow x + \operatorname{attention}(\operatorname{norm}(x)), \qquad
x \leftarrow x + \operatorname{mlp}(\operatorname{norm}(x))$$

Heads pool the map themselves; a class token is there on demand, for weights that were trained with one. The learned
positions belong to one grid of patches and are interpolated bilinearly for any other, which changes nothing on their own grid.

Dosovitskiy et al., *An image is worth 16×16 words*, 2021.
"""

from typing import TypedDict, Unpack

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, pad, scaled_dot_product_attention

from mtl_core.backbones.normalize import Normalization, input_normalization
from mtl_core.backbones.weights import Weights, load_weights
from mtl_core.types import Float

EPSILON = 1e-6
"""Of the layer norms: the paper's code."""


class Attention(nn.Module):
    r"""Self-attention of several heads, $\operatorname{softmax}(Q K^\top / \sqrt{d})\,V$ in each.

    Plain linear layers throughout, so that what prunes or counts linear layers sees them.

    Args:
        dim: Channels of a token.
        heads: Heads; `dim` is a multiple of it.

    Examples:
        >>> Attention(dim=8, heads=2)(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (_linear(dim, dim) for _ in range(4))

    def forward(self, tokens: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens channels"]:
        """Let the tokens exchange."""
        query, key, value = (
            layer(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        return self.out(scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class EncoderBlock(nn.Module):
    """Attention and a two-layer perceptron, each added to its input.

    Args:
        dim: Channels of a token.
        heads: Attention heads.
        hidden: Channels of the perceptron's hidden layer.

    Examples:
        >>> EncoderBlock(dim=8, heads=2, hidden=16)(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPSILON)
        self.attention = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=EPSILON)
        self.linear1 = _linear(dim, hidden)
        self.linear2 = _linear(hidden, dim)

    def forward(self, tokens: Float[Tensor, "batch tokens channels"]) -> Float[Tensor, "batch tokens channels"]:
        """Add both corrections."""
        tokens = tokens + self.attention(self.norm1(tokens))
        return tokens + self.linear2(gelu(self.linear1(self.norm2(tokens))))


class VisionTransformer(nn.Module):
    """A vision transformer without its classifier; `vit()` makes one.

    Args:
        image_size: Side in pixels of the images whose grid of patches the positions belong to; any other size works.
        patch: Side of a patch in pixels. An image that is no multiple of it is padded with zeros, right and below.
        dim: Channels of a token, a multiple of `heads`.
        depth: Blocks.
        heads: Attention heads.
        class_token: Whether one more token takes part in the exchange; it is no part of the map.
        in_channels: Channels of the images.
        normalize: Mean and standard deviation of each input channel, kept as first submodule `normalize`.
        weights: File of safetensors to start from; default random.

    Attributes:
        channels: Channels of the features: `dim`.

    Raises:
        ValueError: If a size is not positive, `dim` is no multiple of `heads`, `normalize` is not usable, or
            `weights` do not fit.
    """

    def __init__(
        self,
        *,
        image_size: int = 32,
        patch: int = 4,
        dim: int = 64,
        depth: int = 4,
        heads: int = 4,
        class_token: bool = False,
        in_channels: int = 3,
        normalize: Normalization | None = None,
        weights: Weights | None = None,
    ) -> None:
        super().__init__()
        for name, value in {
            "image_size": image_size,
            "patch": patch,
            "dim": dim,
            "depth": depth,
            "heads": heads,
        }.items():
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1. Got `{name} = {value}`.")
        if dim % heads:
            raise ValueError(f"`dim` must be a multiple of `heads`. Got `dim = {dim}`, `heads = {heads}`.")
        self.channels = dim
        self.patch = patch
        self.normalize = input_normalization(normalize, in_channels)
        self.embedding = nn.Conv2d(in_channels, dim, patch, stride=patch)
        grid = -(-image_size // patch)
        self.position = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, dim, grid, grid), std=0.02))
        self.class_token = (
            nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, dim), std=0.02)) if class_token else None
        )
        # Perceptrons four times as wide as the tokens: the paper's ratio.
        self.blocks = nn.Sequential(*(EncoderBlock(dim, heads, 4 * dim) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim, eps=EPSILON)
        load_weights(self, weights)

    def forward(self, images: Float[Tensor, "batch channels h w"]) -> Float[Tensor, "batch _ _ _"]:
        """Features of a batch of images, `[batch, channels, ceil(h / patch), ceil(w / patch)]`."""
        images = self.normalize(images)
        images = pad(images, (0, -images.shape[3] % self.patch, 0, -images.shape[2] % self.patch))
        patches = self.embedding(images)
        # No branch on the size, so that torch.fx can trace it: on its own grid the interpolation is the identity.
        position = interpolate(self.position, size=patches.shape[2:], mode="bilinear", align_corners=False)
        tokens = (patches + position).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            # Put behind the patches, where it is cut off again: among tokens there is no order.
            tokens = torch.cat([tokens, self.class_token.expand(tokens.shape[0], -1, -1)], dim=1)
            tokens = self.blocks(tokens)[:, :-1]
        else:
            tokens = self.blocks(tokens)
        tokens = self.norm(tokens)
        return tokens.transpose(1, 2).unflatten(2, patches.shape[2:])


class Options(TypedDict, total=False):
    """The keyword arguments of `VisionTransformer`."""

    image_size: int
    patch: int
    dim: int
    depth: int
    heads: int
    class_token: bool
    in_channels: int
    normalize: Normalization | None
    weights: Weights | None


def vit(**options: Unpack[Options]) -> VisionTransformer:
    """A small vision transformer.

    Args:
        options: As in `VisionTransformer`.

    Examples:
        >>> backbone = vit(patch=8, dim=32, depth=2)
        >>> backbone(torch.zeros(1, 3, 48, 64)).shape, backbone.channels
        (torch.Size([1, 32, 6, 8]), 32)
    """
    return VisionTransformer(**options)


def vit_b16(**options: Unpack[Options]) -> VisionTransformer:
    """ViT-B/16: twelve blocks of 768 channels and twelve heads, patches of 16 pixels, a class token; 85,797,888 parameters.

    Args:
        options: As in `VisionTransformer`; `image_size` is 224 by default.
    """
    given: Options = {"image_size": 224, "patch": 16, "dim": 768, "depth": 12, "heads": 12, "class_token": True}
    given.update(options)
    return VisionTransformer(**given)


def _linear(in_channels: int, channels: int) -> nn.Linear:
    """A linear layer with Glorot's initial weights and a bias of zero."""
    layer = nn.Linear(in_channels, channels)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
