"""Texts of different lengths in one flat tensor."""

from array import array
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from mlc.inputs import InputSpec
from mlc.rows import TokenRows


def token_rows(ids_of_texts: Iterable[list[int]], spec: InputSpec) -> TokenRows:
    """Token ids, text after text, as int32 rows; the lists may come one at a time and are not kept."""
    ids, lengths = array("i"), array("q")
    for ids_of_text in ids_of_texts:
        ids.extend(ids_of_text)
        lengths.append(len(ids_of_text))
    length_N = _tensor(lengths)
    return TokenRows(_tensor(ids), length_N.cumsum(0) - length_N, length_N, spec)


def _tensor(numbers: "array[int]") -> Tensor:
    return torch.from_numpy(np.array(numbers))  # copies: the tensor must own its memory
