"""The inputs as they are, flattened; with a linear head on top, a linear model."""

import math
from collections.abc import Mapping

from mlc.backbones.base import Backbone
from mlc.batch import BatchInput
from mlc.inputs import MAIN, InputSpec, require_kind
from mlc.rows import SparseRows


class Flatten(Backbone):
    """Flattens the main input and adds nothing: the head is the whole model (logistic regression, S7).

    Sparse numbers stay sparse: the head's layers multiply them at the cost of the entries that are there.

    Args:
        inputs: what is known of each input; the main one is numbers, pictures or sparse numbers.

    Raises:
        UserError: the main input is of another kind.
    """

    def __init__(self, *, inputs: Mapping[str, InputSpec]):
        super().__init__()
        spec = require_kind(inputs[MAIN], "numbers", "pictures", "sparse", backbone="linear")
        self.feature_sizes = {"pooled": math.prod(spec.shape)}
        if spec.kind == "sparse":
            self.sparse_features = frozenset({"pooled"})

    def forward(self, inputs: Mapping[str, BatchInput]) -> dict[str, BatchInput]:
        """The flattened main input."""
        x = inputs[MAIN]
        return {"pooled": x if isinstance(x, SparseRows) else x.flatten(1)}
