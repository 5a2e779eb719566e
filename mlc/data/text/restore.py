"""From the tensors that travel with a model back to what was fitted on its training texts."""

from collections.abc import Mapping

from torch import Tensor

from mlc.data.text.encoder import FittedText
from mlc.data.text.packing import unpack
from mlc.data.text.pretrained import FittedPretrained
from mlc.data.text.tfidf import FittedTfidf
from mlc.data.text.words import FittedWords

_KINDS = {kind.KIND: kind for kind in (FittedWords, FittedTfidf, FittedPretrained)}


def restore_text(state: Mapping[str, Tensor]) -> FittedText:
    """What gave this `state`; its notes were said when it was fitted and are gone."""
    return _KINDS[unpack(state["kind"])].from_state(state)
