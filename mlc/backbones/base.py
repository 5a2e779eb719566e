"""What every backbone is: named inputs in, named features out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

from mlc.batch import BatchInput
from mlc.inputs import MAIN
from mlc.rows import SparseRows


class Backbone(nn.Module, ABC):
    """Maps named inputs to named features.

    Constructors take the options of the config and, from the experiment, `inputs`: what is known of each
    named input (a mapping from names to InputSpec); the main one is `inputs["x"]`.

    Every backbone has the feature "pooled", one row per example, which most heads read. Those with positions
    (of a picture, of a text) also have "tokens", B×T×C, one row per position; for texts there is "mask" with
    them, B×T booleans, False where a text is over and only padding follows. Further names are layers on the
    way.

    Padding never changes a result: a text alone has the features that it has in a batch with longer ones.
    """

    feature_sizes: dict[str, int]
    """The last dimension of each feature, by its name; the names that `forward` gives, but "mask"."""

    sparse_features: frozenset[str] = frozenset()
    """Names of the features that are sparse rows, handed through as they came."""

    learning_rate_factors: dict[str, float]
    """By name of a parameter, what the learning rate is multiplied by for it; 1 for those not named."""

    def __init__(self) -> None:
        super().__init__()
        self.learning_rate_factors = {}

    @abstractmethod
    def forward(self, inputs: Mapping[str, BatchInput]) -> Mapping[str, BatchInput]:
        """The features of a batch by name: B×D each, but B×T×C for "tokens" and B×T for "mask".

        They are tensors, but for the `sparse_features`.
        """


class PretrainedBackbone(Backbone):
    """A backbone whose weights do not start at random.

    The constructor touches no disk beyond what says the architecture, so that a trained run can be read back
    where the original weights are not: who starts a new run calls `load_pretrained` once, and nobody else.
    """

    @abstractmethod
    def load_pretrained(self) -> None:
        """Put the pretrained weights in place.

        Raises:
            UserError: they cannot be found or do not fit.
        """


def dense_input(inputs: Mapping[str, BatchInput]) -> Tensor:
    """The main input as one tensor; sparse rows are made dense, one batch at a time."""
    return dense(inputs[MAIN])


def dense(x: BatchInput) -> Tensor:
    """One tensor, also of sparse rows."""
    return x.dense() if isinstance(x, SparseRows) else x
