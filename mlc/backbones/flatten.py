"""The inputs as they are, flattened; with a linear head on top, a linear model."""

import math
from collections.abc import Mapping

from torch import Tensor

from mlc.backbones.base import Backbone, dense_input
from mlc.batch import BatchInput
from mlc.inputs import MAIN, InputSpec, require_kind


class Flatten(Backbone):
    """Flattens the main input and adds nothing: the head is the whole model (logistic regression, S7).

    Sparse numbers are made dense, one batch at a time.

    Args:
        inputs: what is known of each input; the main one is numbers, pictures or sparse numbers.

    Raises:
        UserError: the main input is of another kind.
    """

    def __init__(self, *, inputs: Mapping[str, InputSpec]):
        super().__init__()
        spec = require_kind(inputs[MAIN], "numbers", "pictures", "sparse", backbone="linear")
        self.feature_sizes = {"pooled": math.prod(spec.shape)}

    def forward(self, inputs: Mapping[str, BatchInput]) -> dict[str, Tensor]:
        """The flattened main input."""
        return {"pooled": dense_input(inputs).flatten(1)}
