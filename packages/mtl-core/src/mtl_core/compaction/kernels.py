r"""Convolutions and linear layers with many single zeros, as a product with a matrix in CSR form.

$$y = W_{\text{csr}}\, U(x) + b$$

The columns of $U(x)$ are the positions of the output, its rows what the kernel reads there. Two ways to the same product,
of which one or the other wins:

* `Gathered` writes $U(x)$ out for as many positions as the cache holds, and sums weighted rows of it, one bag of rows per
  output channel (`embedding_bag`, which has a fast kernel for exactly that).
* `Tapped` writes nothing out: one matrix for each position of the kernel, times a shifted view of the padded input; the
  products are added up (sparse `addmm`).

All act on any number of samples and any size of the map. They compute no gradients of weights.
"""

from abc import ABC, abstractmethod
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtl_core.compaction.csr import Csr

LARGEST = 4096
"""Positions of a map that a kernel larger than 1×1 is written out for at a time, at most."""


Dense = TypeVar("Dense", nn.Conv2d, nn.Linear)


class SparseLayer(nn.Module, ABC):
    """What the sparse layers share: the dense layer that they stand for.

    Args:
        layer: A convolution of one group or a linear layer.
    """

    bias: Tensor | None

    def __init__(self, layer: nn.Conv2d | nn.Linear) -> None:
        super().__init__()
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().clone())

    @abstractmethod
    def weight(self) -> Tensor:
        """The dense weight."""

    @abstractmethod
    def dense_layer(self) -> nn.Module:
        """The dense layer."""

    def _filled(self, layer: Dense) -> Dense:
        """A dense layer with the numbers of this one, for inference."""
        with torch.no_grad():
            layer.weight.copy_(self.weight())
            if self.bias is not None and layer.bias is not None:  # both, or neither
                layer.bias.copy_(self.bias)
        return layer.requires_grad_(False).eval()


class SparseConvolution(SparseLayer):
    """A convolution of one group; the subclasses say how it is computed.

    Args:
        layer: The dense convolution, padded with zeros or not at all.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__(layer)
        self.shape = tuple(layer.weight.shape)
        self.stride, self.dilation = layer.stride, layer.dilation
        rows, columns = _padding(layer)
        self.padding = (*columns, *rows)  # as `pad` takes it, the last dimension first

    def dense_layer(self) -> nn.Module:
        """The dense convolution."""
        left, right, above, below = self.padding
        if left != right or above != below:  # an even kernel with padding "same"
            return nn.Sequential(nn.ZeroPad2d(self.padding), self._plain((0, 0)))
        return self._plain((above, left))

    def _plain(self, padding: tuple[int, int]) -> nn.Conv2d:
        layer = nn.utils.skip_init(
            nn.Conv2d,
            self.shape[1],
            self.shape[0],
            self.shape[2:],
            stride=self.stride,
            padding=padding,
            dilation=self.dilation,
            bias=self.bias is not None,
            device=self.weight().device,
            dtype=self.weight().dtype,
        )
        return self._filled(layer)

    def padded(self, x: Tensor) -> Tensor:
        """The input with its border of zeros, channels first in memory."""
        return F.pad(x, self.padding).contiguous() if any(self.padding) else x.contiguous()

    def size(self, padded: Tensor) -> tuple[int, int]:
        """Rows and columns of the output."""
        height, width = (
            (extent - step * (kernel - 1) - 1) // stride + 1
            for extent, step, kernel, stride in zip(
                padded.shape[2:], self.dilation, self.shape[2:], self.stride, strict=True
            )
        )
        return height, width

    def with_gradient(self, x: Tensor) -> Tensor:
        """The same by the dense kernel, which gives gradients of the input."""
        return F.conv2d(F.pad(x, self.padding), self.weight(), self.bias, self.stride, 0, self.dilation)


class Gathered(SparseConvolution):
    """Sums weighted rows of the written-out input, some positions at a time.

    Args:
        layer: The dense convolution.
        tile: Positions that are written out at a time, of several images if one has fewer; None for an image (4096 at most).
    """

    def __init__(self, layer: nn.Conv2d, tile: int | None) -> None:
        super().__init__(layer)
        self.tile = tile
        self.csr = Csr(layer.weight.detach().flatten(1))

    def weight(self) -> Tensor:
        """The dense weight."""
        return self.csr.dense().view(self.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        if torch.is_grad_enabled() and x.requires_grad:
            return self.with_gradient(x)
        x = self.padded(x)
        height, width = self.size(x)
        # A larger kernel's written-out input is bounded, whatever the size of the map.
        tile = self.tile or (height * width if self.shape[2:] == (1, 1) else min(height * width, LARGEST))
        images = max(1, tile // (height * width))
        parts = -(-height * width // tile) if images == 1 else 1
        rows = -(-height // parts)
        if len(x) == 1 and parts == 1:
            return self._sums(x, 0, 1, 0, height, width).view(1, -1, height, width)
        result = x.new_empty(len(x), self.shape[0], height, width)
        for image in range(0, len(x), images):
            for row in range(0, height, rows):
                place = result[image : image + images, :, row : row + rows]
                count, lines = place.shape[0], place.shape[2]
                sums = self._sums(x, image, count, row, lines, width)
                place.copy_(sums.view(-1, count, lines, width).transpose(0, 1))
        return result

    def _sums(self, x: Tensor, image: int, images: int, row: int, rows: int, width: int) -> Tensor:
        """Some rows of some images of the output, `[channels, positions]`."""
        sample, channel, down, right = x.stride()
        strides = (channel, down * self.dilation[0], right * self.dilation[1])
        steps = (sample, down * self.stride[0], right * self.stride[1])
        start = x.storage_offset() + image * steps[0] + row * steps[1]
        window = x.as_strided((*self.shape[1:], images, rows, width), (*strides, *steps), start)
        sums = weighted_rows(self.csr, window.reshape(self.csr.shape[1], -1))
        return sums if self.bias is None else sums.add_(self.bias.unsqueeze(1))


class Tapped(SparseConvolution):
    """Adds up one sparse product for each position of the kernel.

    Args:
        layer: The dense convolution.
    """

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__(layer)
        weight = layer.weight.detach()
        self.taps = nn.ModuleList(Csr(tap) for tap in weight.flatten(2).unbind(2))

    def weight(self) -> Tensor:
        """The dense weight."""
        return torch.stack([tap.dense() for tap in self.taps], 2).view(self.shape)  # type: ignore[operator]

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        if torch.is_grad_enabled() and x.requires_grad:
            return self.with_gradient(x)
        x = self.padded(x)
        height, width = self.size(x)
        pitch = x.shape[3] if self.stride == (1, 1) else width
        # Rows follow each other with what hangs over at the right border in between; it is cut off in the end.
        length = (height - 1) * pitch + width
        result = x.new_empty(len(x), self.shape[0], height * pitch)
        for image, place in zip(x, result, strict=True):
            place = place[:, :length]
            if self.bias is not None:
                place.copy_(self.bias.unsqueeze(1).expand_as(place))
            add = self.bias is not None
            for tap, view in zip(self.taps, self._views(image, height, width, length), strict=True):
                torch.addmm(place, tap.matrix(), view, beta=int(add), out=place)  # type: ignore[operator]
                add = True
        return result.view(len(x), self.shape[0], height, pitch)[..., :width].contiguous()

    def _views(self, image: Tensor, height: int, width: int, length: int) -> Any:
        """What each position of the kernel reads, `[channels, positions]`, one after the other."""
        (down, right), flat = self.stride, image.flatten(1)
        for i in range(self.shape[2]):
            for j in range(self.shape[3]):
                top, left = i * self.dilation[0], j * self.dilation[1]
                if self.stride == (1, 1):
                    start = top * image.shape[2] + left
                    yield flat[:, start : start + length]
                else:
                    rows = image[:, top : top + down * (height - 1) + 1 : down]
                    yield rows[:, :, left : left + right * (width - 1) + 1 : right].reshape(len(image), -1)


class SparseLinear(SparseLayer):
    """A linear layer: a sparse product with a vector, or weighted rows as in `Gathered` for several.

    Args:
        layer: The dense layer.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer)
        self.csr = Csr(layer.weight.detach())

    def weight(self) -> Tensor:
        """The dense weight."""
        return self.csr.dense()

    def dense_layer(self) -> nn.Module:
        """The dense layer."""
        out, into = self.csr.shape
        values = self.csr.values
        layer = nn.utils.skip_init(
            nn.Linear, into, out, bias=self.bias is not None, device=values.device, dtype=values.dtype
        )
        return self._filled(layer)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply."""
        if torch.is_grad_enabled() and x.requires_grad:
            return F.linear(x, self.weight(), self.bias)
        rows = x.reshape(-1, x.shape[-1])
        if len(rows) == 1:
            result = self.csr.matrix() @ rows[0]
            result = result if self.bias is None else result + self.bias
        else:
            result = weighted_rows(self.csr, rows.t().contiguous())
            result = (result if self.bias is None else result.add_(self.bias.unsqueeze(1))).t().contiguous()
        return result.view(*x.shape[:-1], -1)


def weighted_rows(matrix: Csr, table: Tensor) -> Tensor:
    """The product of the matrix with a dense one: sums of weighted rows of it."""
    return F.embedding_bag(
        matrix.columns,
        table,
        matrix.starts,
        mode="sum",
        per_sample_weights=matrix.values,
        include_last_offset=True,
    )


def _padding(layer: nn.Conv2d) -> tuple[tuple[int, int], tuple[int, int]]:
    """Zeros above and below, left and right."""
    if layer.padding == "valid":
        return (0, 0), (0, 0)
    if layer.padding == "same":
        total = [step * (kernel - 1) for step, kernel in zip(layer.dilation, layer.kernel_size, strict=True)]
        above, left = total[0] // 2, total[1] // 2
        return (above, total[0] - above), (left, total[1] - left)
    rows, columns = (int(side) for side in layer.padding)
    return (rows, rows), (columns, columns)
