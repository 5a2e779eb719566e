"""A part of a classifier for some of its labels only."""

import copy
from typing import TypeVar

from torch import nn

P = TypeVar("P", bound=nn.Module)


def of_labels(part: P, labels: slice) -> P:
    """The same loss or rule of some labels only.

    What it knows of each label is in its buffers whose names end in _L, the suffix of a tensor with one
    number per label; they are cut. These are views: what the part fits there, the whole has fitted. All else
    is shared.
    """
    few = copy.copy(part)
    few._buffers = {
        name: buffer[labels] if name.endswith("_L") and buffer is not None else buffer
        for name, buffer in part.named_buffers(recurse=False)
    }
    return few
