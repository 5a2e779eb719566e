"""Streaming new grey pictures from a .npy file, prepared like the training pictures."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mlc.data.array_file import open_array
from mlc.data.standardise import standardise
from mlc.errors import UserError


def read_pictures(
    path: Path, *, canvas: int, preparation: Mapping[str, Tensor], chunk_rows: int
) -> Iterator[Tensor]:
    """Stream square grey pictures, a chunk in memory at a time.

    Args:
        path: a .npy file of N×H×W or N×1×H×W pictures, uint8 0..255 or float 0..1; memory-mapped.
        canvas: height and width that the model needs, pixels.
        preparation: "mean" and "scale" of the training pictures, on the scale 0..1.
        chunk_rows: at most this many pictures at a time.

    Returns:
        Float32 tensors B×1×H×W, ready for the model.

    Raises:
        UserError: the file has another shape, another type, or values outside 0..1.
    """
    if path.suffix.lower() != ".npy":
        raise UserError(f"{path}: pictures are read from .npy files; write them with numpy.save.")
    if not path.is_file():
        raise UserError(f"{path} does not exist; name a file with the pictures to predict.")
    array = open_array(path)
    n_pictures = len(array) if array.ndim else 0
    if array.shape not in ((n_pictures, canvas, canvas), (n_pictures, 1, canvas, canvas)):
        raise UserError(
            f"{path} has the shape {array.shape}; the model needs N×{canvas}×{canvas} "
            f"or N×1×{canvas}×{canvas}."
        )
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise UserError(f"{path} holds {array.dtype} values; pictures are uint8 0..255 or float 0..1.")
    for start in range(0, n_pictures, chunk_rows):
        x_BHW = np.array(array[start : start + chunk_rows], dtype=np.float32)
        if array.dtype == np.uint8:
            x_BHW /= 255
        _check_range(path, start, x_BHW)
        x = torch.from_numpy(x_BHW).reshape(-1, 1, canvas, canvas)
        yield standardise(x, mean=preparation["mean"], scale=preparation["scale"])


def _check_range(path: Path, start: int, x_BHW: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    # Written so that NaN is outside too.
    outside_B = ~((x_BHW >= 0) & (x_BHW <= 1)).reshape(len(x_BHW), -1).all(axis=1)
    if outside_B.any():
        raise UserError(
            f"{path}, picture {start + int(outside_B.argmax())} (from 0): a pixel is outside 0..1; "
            "scale float pictures to 0..1 or store them as uint8."
        )
