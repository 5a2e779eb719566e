"""The features of a batch as a block of labels needs them: three products, dense or sparse."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mlc.rows import SparseRows


class Features(ABC):
    """B rows x of D features, and the products of them that a block of C labels needs."""

    @abstractmethod
    def times(self, block_DC: Tensor) -> Tensor:
        """X W, B×C: the logits without their bias."""

    @abstractmethod
    def outer(self, gradient_BC: Tensor, out_DC: Tensor | None = None) -> Tensor:
        """Xᵀ G, D×C: the gradient of the block's weights.

        Args:
            gradient_BC: G.
            out_DC: where it is to be; None for a place that the next call may use again.
        """

    @abstractmethod
    def add_gradient(self, gradient_BC: Tensor, block_DC: Tensor) -> None:
        """Add G Wᵀ to the gradient of the features, where anybody asks for it."""

    @abstractmethod
    def finite(self) -> bool:
        """Whether all numbers are finite."""

    @property
    @abstractmethod
    def gradient(self) -> Tensor | None:
        """B×D, what `add_gradient` has added up; None where nobody asks for it."""


class DenseFeatures(Features):
    """Features in one tensor.

    Args:
        x_BD: the features.
        dtype: of what comes out of the products, and of the features' gradient: a sum over many blocks loses
            its last addends in the features' own format, where they are bf16 or fp16.
        precision: of the numbers that are multiplied; None for the same.
    """

    def __init__(self, x_BD: Tensor, dtype: torch.dtype, precision: torch.dtype | None = None):
        self._x_BD = x_BD.detach().to(precision or dtype)
        wanted = x_BD.requires_grad
        self._gradient_BD = torch.zeros_like(x_BD, dtype=dtype, requires_grad=False) if wanted else None
        self._out = dtype
        self._scratch: Tensor | None = None

    def times(self, block_DC: Tensor) -> Tensor:
        """X W."""
        return (self._x_BD @ block_DC.to(self._x_BD.dtype)).to(self._out)

    def outer(self, gradient_BC: Tensor, out_DC: Tensor | None = None) -> Tensor:
        """Xᵀ G."""
        x_BD = self._x_BD
        if (
            out_DC is None and self._scratch is None
        ):  # made once: a new place for each block costs page faults
            self._scratch = gradient_BC.new_empty(x_BD.shape[1], gradient_BC.shape[1], dtype=self._out)
        to_DC = self._scratch if out_DC is None else out_DC
        assert to_DC is not None, "made above"
        if x_BD.dtype == to_DC.dtype:
            return torch.mm(x_BD.T, gradient_BC, out=to_DC)
        return to_DC.copy_(x_BD.T @ gradient_BC.to(x_BD.dtype))

    def add_gradient(self, gradient_BC: Tensor, block_DC: Tensor) -> None:
        """Add G Wᵀ, multiplied in the features' precision."""
        if self._gradient_BD is None:
            return
        dtype = self._x_BD.dtype
        if dtype == gradient_BC.dtype:
            self._gradient_BD.addmm_(gradient_BC, block_DC.T)
        else:
            self._gradient_BD += gradient_BC.to(dtype) @ block_DC.to(dtype).T

    def finite(self) -> bool:
        """By their sum."""
        return bool(self._x_BD.sum().isfinite())

    @property
    def gradient(self) -> Tensor | None:
        """B×D."""
        return self._gradient_BD


class SparseFeatures(Features):
    """Sparse rows, at the cost of the entries that are there; they are data and have no gradient.

    Both products are sums of weighted rows, an embedding bag: the logits add up the rows of W that a row of X
    names; the gradient adds up the rows of G that a column of X names, for which X is turned around once a
    batch.

    Args:
        x_BD: the features.
        dtype: of the values, float32 unless it is for a comparison.
    """

    def __init__(self, x_BD: SparseRows, dtype: torch.dtype = torch.float32):
        values_M = x_BD.numbers().to(dtype)
        column_M = x_BD.ids_M.long()
        row_M = torch.repeat_interleave(
            torch.arange(len(x_BD), device=column_M.device), x_BD.length_N.long(), output_size=len(column_M)
        )
        self._by_row = _Bags(column_M, x_BD.start_N.long(), values_M)
        self._by_column = _Bags.sorted_by(column_M, row_M, values_M, bags=x_BD.width)

    def times(self, block_DC: Tensor) -> Tensor:
        """X W."""
        return self._by_row.sums(block_DC)

    def outer(self, gradient_BC: Tensor, out_DC: Tensor | None = None) -> Tensor:
        """Xᵀ G."""
        sums_DC = self._by_column.sums(gradient_BC)
        return sums_DC if out_DC is None else out_DC.copy_(sums_DC)

    def add_gradient(self, gradient_BC: Tensor, block_DC: Tensor) -> None:
        """Nothing: sparse rows are data."""

    def finite(self) -> bool:
        """By the sum of the entries."""
        return bool(self._by_row.value_M.sum().isfinite())

    @property
    def gradient(self) -> Tensor | None:
        """None."""
        return None


@dataclass(frozen=True)
class _Bags:
    """Weighted sums of rows of a matrix: bag i adds up value_M · matrix[row_M] from start_N[i] on."""

    row_M: Tensor
    start_N: Tensor
    value_M: Tensor

    @classmethod
    def sorted_by(cls, bag_M: Tensor, row_M: Tensor, value_M: Tensor, *, bags: int) -> "_Bags":
        """Entries in any order, each with the bag that it is for."""
        sorted_M, order_M = bag_M.sort(stable=True)
        start_N = torch.searchsorted(sorted_M, torch.arange(bags, device=bag_M.device))
        return cls(row_M[order_M], start_N, value_M[order_M])

    def sums(self, matrix: Tensor) -> Tensor:
        return F.embedding_bag(self.row_M, matrix, self.start_N, mode="sum", per_sample_weights=self.value_M)
