"""How texts become inputs: an encoder is fitted on the training texts, and what was fitted reads any text."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor

from mlc.rows import SparseRows, TokenRows


class FittedText(ABC):
    """What was fitted on the training texts, ready to read any others.

    Args:
        notes: sentences on the training texts that a reader of the results should know.
    """

    def __init__(self, *, notes: Sequence[str] = ()) -> None:
        self.notes = list(notes)

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> TokenRows | SparseRows:
        """The inputs of N texts. Each text is read by itself: its neighbours change nothing."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Tensors from which `restore_text` builds the same again; "kind" says what they are."""


class TextEncoder(ABC):
    """A way to read texts, with its options."""

    @abstractmethod
    def fit(self, texts: Sequence[str]) -> FittedText:
        """Fit what has to be fitted on the training texts.

        Raises:
            UserError: nothing is left to learn from.
        """
