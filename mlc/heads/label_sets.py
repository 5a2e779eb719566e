"""Label sets head: a softmax over the label sets that training has."""

from typing import Annotated, ClassVar, Literal

from annotated_types import Ge
from torch import Tensor, nn

from mlc.batch import BatchInput, LabelStatistics
from mlc.errors import UserError
from mlc.heads.base import Head
from mlc.outputs.label_sets import LabelSets


class LabelSetsHead(Head):
    """One class per label set: the label powerset, as one softmax.

    Dependence between labels is modelled in full, and sets that training does not have are impossible: a
    training row whose set is left out by `max_sets` carries no gradient, and a test row with a new set can
    at best be nearly right.

    Args:
        in_features: D.
        labels: training label statistics with `sets_ML`.
        max_sets: keep that many of the most frequent sets; "all" for every one.

    Raises:
        UserError: every training row has an unknown label, so that there are no sets.

    Source: the label powerset as in Tsoumakas & Katakis, "Multi-Label Classification: An Overview" (2007),
        PT3.
    Differs: `max_sets` drops rare sets and keeps the rows; the pruned problem transformation (Read, 2008)
        gives such rows to their frequent subsets.
    """

    sparse_layers: ClassVar[tuple[str, ...]] = ("logits",)
    needs_label_sets: ClassVar[bool] = True
    sets_ML: Tensor

    def __init__(
        self, *, in_features: int, labels: LabelStatistics, max_sets: Annotated[int, Ge(1)] | Literal["all"]
    ):
        super().__init__()
        if labels.sets_ML is None:
            raise ValueError("LabelSetsHead needs statistics with sets_ML: collect them with_sets=True")
        if not len(labels.sets_ML):
            raise UserError(
                "head=label_sets needs training rows whose labels are all known, and there are none: "
                "use head=sigmoid"
            )
        sets_ML = labels.sets_ML if max_sets == "all" else labels.sets_ML[:max_sets]
        self.logits = nn.Linear(in_features, len(sets_ML))
        # Not in the state: the statistics are kept with the run.
        self.register_buffer("sets_ML", sets_ML.clone(), persistent=False)

    def forward(self, features_BD: BatchInput) -> LabelSets:
        """Logits of every set."""
        return LabelSets(self.logits(features_BD), self.sets_ML)
