"""The true labels of all rows as a list of pairs."""

import numpy as np
import torch
from numpy.typing import NDArray

from mlc.rows import LabelRows, Targets


def positives(y_NL: Targets) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The pairs of a row and a label that is true for it, row after row.

    Args:
        y_NL: targets: 0, 1 or a higher level, NaN where unknown; or LabelRows.

    Returns:
        The M rows, ascending, and the M labels.
    """
    if not isinstance(y_NL, LabelRows):
        row_of, label_of = (y_NL > 0).nonzero(as_tuple=True)
        return row_of.int().cpu().numpy(), label_of.int().cpu().numpy()
    places, lengths = y_NL.places(torch.arange(len(y_NL), device=y_NL.ids_M.device))
    rows = np.repeat(np.arange(len(y_NL), dtype=np.int32), lengths.cpu().numpy())
    return rows, y_NL.ids_M[places].int().cpu().numpy()
