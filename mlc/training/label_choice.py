"""Which labels to show people when there are too many to show all."""

from dataclasses import dataclass

import torch
from torch import Tensor

MOST_SHOWN = 40


@dataclass(frozen=True)
class LabelChoice:
    """Labels to show, most frequent first.

    Args:
        indices: positions in the list of labels.
        sentence: what was left out and by which rule; "" when every label is shown.
    """

    indices: list[int]
    sentence: str


def most_frequent(support_L: Tensor, limit: int) -> LabelChoice:
    """The `limit` labels with the largest support."""
    order = torch.argsort(support_L, descending=True, stable=True).tolist()
    if len(order) <= limit:
        return LabelChoice(indices=order, sentence="")
    return LabelChoice(indices=order[:limit], sentence=f"the {limit} most frequent of {len(order)} labels")


def frequent_and_worst(support_L: Tensor, f1_L: Tensor) -> LabelChoice:
    """All labels up to 40; of more, the 20 most frequent and the 20 of the rest that are worst by F1."""
    order = torch.argsort(support_L, descending=True, stable=True)
    if len(order) <= MOST_SHOWN:
        return LabelChoice(indices=order.tolist(), sentence="")
    half = MOST_SHOWN // 2
    frequent, rest = order[:half], order[half:]
    # The sort is stable: among labels equally bad, the more frequent come first.
    worst = rest[torch.argsort(f1_L[rest].nan_to_num(nan=torch.inf), stable=True)[:half].sort().values]
    sentence = f"the {half} most frequent of {len(order)} labels, and of the rest the {half} worst by F1"
    return LabelChoice(indices=[*frequent.tolist(), *worst.tolist()], sentence=sentence)
