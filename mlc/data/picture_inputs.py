"""Streaming new pictures from a .npy file, prepared like the training pictures."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mlc.data.array_file import open_array
from mlc.data.regular_file import check_file
from mlc.data.standardise import standardise
from mlc.errors import UserError


def read_pictures(
    path: Path, *, shape: tuple[int, ...], mean: Tensor, scale: Tensor, chunk_rows: int
) -> Iterator[Tensor]:
    """Stream pictures of one shape, a chunk in memory at a time.

    Args:
        path: a .npy file of N×C×H×W pictures, or N×H×W where C is 1; uint8 0..255 or float 0..1;
            memory-mapped.
        shape: (channels C, height H, width W) that the model needs.
        mean: of the training pictures, on the scale 0..1; for each channel.
        scale: what they are divided by then.
        chunk_rows: at most this many pictures at a time.

    Returns:
        Float32 tensors B×C×H×W, ready for the model.

    Raises:
        UserError: the file has another shape, another type, or values outside 0..1.
    """
    if path.suffix.lower() != ".npy":
        raise UserError(f"{path}: pictures are read from .npy files; write them with numpy.save.")
    check_file(path, wanted="name a file with the pictures to predict")
    array = open_array(path)
    n_pictures = len(array) if array.ndim else 0
    fitting = [shape, shape[1:]] if shape[0] == 1 else [shape]
    if array.shape[1:] not in fitting or not array.ndim:
        needed = " or ".join("×".join(["N", *map(str, sizes)]) for sizes in reversed(fitting))
        raise UserError(f"{path} has the shape {array.shape}; the model needs {needed}.")
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise UserError(f"{path} holds {array.dtype} values; pictures are uint8 0..255 or float 0..1.")
    for start in range(0, n_pictures, chunk_rows):
        x_BCHW = np.array(array[start : start + chunk_rows], dtype=np.float32).reshape(-1, *shape)
        if array.dtype == np.uint8:
            x_BCHW /= 255
        _check_range(path, start, x_BCHW)
        yield standardise(torch.from_numpy(x_BCHW), mean=mean, scale=scale)


def _check_range(path: Path, start: int, x_BCHW: NDArray[np.float32]) -> None:
    # Written so that NaN is outside too.
    outside_B = ~((x_BCHW >= 0) & (x_BCHW <= 1)).reshape(len(x_BCHW), -1).all(axis=1)
    if outside_B.any():
        raise UserError(
            f"{path}, picture {start + int(outside_B.argmax())} (from 0): a pixel is outside 0..1; "
            "scale float pictures to 0..1 or store them as uint8."
        )
