"""Opening a .npy file without reading it into memory."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlc.errors import UserError


def open_array(path: Path) -> NDArray[Any]:
    """The numeric array in `path`, memory-mapped, so that it may be larger than the memory.

    Raises:
        UserError: the file is not a whole .npy file, or holds something other than real numbers.
    """
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise UserError(
            f"{path} is not a whole .npy file of numbers; write it again with numpy.save."
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif":
        raise UserError(f"{path} does not hold an array of real numbers; write one with numpy.save.")
    return array
