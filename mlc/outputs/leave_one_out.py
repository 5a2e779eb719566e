"""Products of all polynomials but one, for each of many polynomials at once.

The generating polynomial of a count is the product of one factor per label. Leaving a label out by dividing
its factor away cancels; here factors are only multiplied, in a binary tree.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Multiply = Callable[[Tensor, Tensor, int], Tensor]


def multiply(a: Tensor, b: Tensor, width: int) -> Tensor:
    """The first `width` coefficients of the product of polynomials, coefficients in the last dimension."""
    a, b = (a, b) if a.shape[-1] >= b.shape[-1] else (b, a)
    product = a.new_zeros(*a.shape[:-1], min(width, a.shape[-1] + b.shape[-1] - 1))
    for shift in range(min(b.shape[-1], product.shape[-1])):
        shifted = a[..., : product.shape[-1] - shift]
        product[..., shift : shift + shifted.shape[-1]] += shifted * b[..., shift, None]
    return product


def multiply_logs(a: Tensor, b: Tensor, width: int) -> Tensor:
    """`multiply` for logarithms of coefficients that are not negative; not differentiable."""
    a, b = (a, b) if a.shape[-1] >= b.shape[-1] else (b, a)
    product = a.new_full((*a.shape[:-1], min(width, a.shape[-1] + b.shape[-1] - 1)), -torch.inf)
    for shift in range(min(b.shape[-1], product.shape[-1])):
        shifted = a[..., : product.shape[-1] - shift]
        target = product[..., shift : shift + shifted.shape[-1]]
        torch.logaddexp(target, shifted + b[..., shift, None], out=target)
    return product


def products_without_each(factors_BL2: Tensor, width: int, *, one: Tensor, times: Multiply) -> Tensor:
    """B×L×K coefficients of the product of all factors but that of each label, the first `width` of them.

    Up the tree, each node is the product of its two children; down the tree, what is outside of a child is
    what is outside of its parent times the child's sibling. O(L·K·log L) time and O(L·K) memory per row.

    Args:
        factors_BL2: one factor of degree 1 per label.
        width: K, at most L.
        one: the two coefficients of the factor 1, in the form that `times` works on.
        times: `multiply` or `multiply_logs`.
    """
    n_rows, n_labels, _ = factors_BL2.shape
    leaves = 1 << (n_labels - 1).bit_length()
    padding = one.to(factors_BL2).expand(n_rows, leaves - n_labels, 2)
    levels = [torch.cat((factors_BL2, padding), dim=1)]
    while levels[-1].shape[1] > 2:
        levels.append(times(levels[-1][:, 0::2], levels[-1][:, 1::2], width))
    outside = one[:1].to(factors_BL2).expand(n_rows, 1, 1)
    for nodes in reversed(levels if leaves > 1 else []):
        siblings = nodes.unflatten(1, (-1, 2)).flip(2).flatten(1, 2)
        outside = times(outside.repeat_interleave(2, dim=1), siblings, width)
    return outside[:, :n_labels]
