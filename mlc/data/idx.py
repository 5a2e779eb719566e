"""Reading the idx.gz files of MNIST."""

from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlc.data.archives import DAMAGED, read_gzip
from mlc.errors import UserError

_UINT8 = 0x08


def read_idx(path: Path, *, ndim: int) -> NDArray[np.uint8]:
    """The uint8 array in a gzipped idx file.

    The format is two zero bytes, the type, the number of dimensions, each dimension as a big-endian uint32,
    then the values.

    Args:
        path: the file.
        ndim: how many dimensions it must have.

    Raises:
        UserError: the file is cut, malformed, or has another type or number of dimensions.
    """
    try:
        content = read_gzip(path)
    except DAMAGED as error:
        raise UserError(f"{path} is not a whole gzip file; get it again.") from error
    start = 4 + 4 * ndim
    if len(content) < start or content[:4] != bytes([0, 0, _UINT8, ndim]):
        raise UserError(f"{path} is not an idx file of bytes with {ndim} dimensions; get it again.")
    shape = tuple(np.frombuffer(content, dtype=">u4", count=ndim, offset=4).tolist())
    if len(content) - start != prod(shape):
        raise UserError(
            f"{path} holds {len(content) - start} values, but {prod(shape)} are announced; get it again."
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)
