"""A sparse matrix by rows: its numbers that are not zero, their columns, and where each row starts."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Csr(nn.Module):
    """A sparse matrix by rows.

    Args:
        matrix: Dense, with exact zeros.
    """

    values: Tensor
    columns: Tensor
    starts: Tensor

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.shape = (matrix.shape[0], matrix.shape[1])
        row, column = (matrix != 0).nonzero(as_tuple=True)
        counts = torch.bincount(row, minlength=self.shape[0])
        # With 64 bit, MKL's product would convert the indices at every call.
        self.register_buffer("starts", F.pad(counts.cumsum(0), (1, 0)).int())
        self.register_buffer("columns", column.int())
        self.register_buffer("values", matrix[row, column].detach().clone())
        self._made: tuple[Tensor, Tensor] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": None}  # torch cannot copy it; it is made again

    def matrix(self) -> Tensor:
        """As torch's own sparse tensor."""
        if self._made is None or self._made[0] is not self.values:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # torch calls its CSR tensors beta, once per process
                made = torch.sparse_csr_tensor(
                    self.starts, self.columns, self.values, self.shape, check_invariants=False
                )
            self._made = (self.values, made)
        return self._made[1]

    def dense(self) -> Tensor:
        """The matrix with its zeros."""
        dense = self.values.new_zeros(self.shape)
        row = torch.repeat_interleave(torch.arange(self.shape[0], device=dense.device), self.starts.diff().long())
        dense[row, self.columns.long()] = self.values
        return dense
