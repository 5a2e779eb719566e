"""Decision rules, some labels of all rows at a time."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from mlc.decisions.base import Decision
from mlc.decisions.by_count import ByCount
from mlc.decisions.plug_in import PlugInThreshold
from mlc.decisions.scut_fbr import SCutFBR
from mlc.decisions.thresholds import PerLabelThreshold
from mlc.decisions.top_k import TopK
from mlc.model import Classifier
from mlc.outputs.base import LabelOutput
from mlc.rows import LabelRows
from mlc.training.label_parts import of_labels
from mlc.training.label_scores import LabelScores
from mlc.training.label_targets import BlockTargets, block_targets
from mlc.training.label_top import BestLabels

# Rules that fit each label alone.
FittedPerLabel = PerLabelThreshold | SCutFBR | PlugInThreshold
# Rules that take the best labels of a row.
Ranked = ByCount | TopK


class PieceRule(ABC):
    """What a rule decides about a piece of the labels."""

    @abstractmethod
    def decides(self, piece: int, calibrated: LabelOutput) -> Tensor:
        """N×C booleans."""


class OwnScores(PieceRule):
    """A rule that looks at each label alone, such as a threshold.

    Args:
        decision: the rule.
        labels: of each piece.
    """

    def __init__(self, decision: Decision, labels: list[slice]):
        self._decision = decision
        self._labels = labels

    def decides(self, piece: int, calibrated: LabelOutput) -> Tensor:
        """What the rule of these labels decides."""
        decided_NC: Tensor = of_labels(self._decision, self._labels[piece])(calibrated)
        return decided_NC


class Chosen(PieceRule):
    """What was chosen beforehand by a look at all labels of each row, such as the k best.

    Args:
        chosen: labels of the rows, cut at the pieces.
    """

    def __init__(self, chosen: BlockTargets):
        self._chosen = chosen

    def decides(self, piece: int, calibrated: LabelOutput) -> Tensor:
        """The chosen ones."""
        return self._chosen.dense(piece) > 0


def piece_rule(scores: LabelScores, classifier: Classifier) -> PieceRule:
    """The fitted rule of a classifier; one that ranks takes a pass over the labels first."""
    decision = classifier.decision
    if not isinstance(decision, Ranked):
        return OwnScores(decision, scores.labels)
    n_N = decided_numbers(scores, decision)
    best = best_labels(scores, classifier, k=max(1, int(n_N.max())))
    chosen = best.first(n_N, n_labels=scores.n_labels)
    return Chosen(block_targets(chosen, scores.labels, torch.float32))


def best_labels(
    scores: LabelScores,
    classifier: Classifier,
    *,
    k: int,
    meet: Callable[[int, LabelOutput], None] | None = None,
) -> BestLabels:
    """The best labels of each row and their calibrated scores, from one pass over the labels.

    Args:
        scores: of the rows.
        classifier: fitted.
        k: how many; all labels where there are fewer.
        meet: is called with each piece and its calibrated output.
    """
    found: BestLabels | None = None
    for piece, labels in enumerate(scores.labels):
        linked = scores.linked(piece, scores.logits(piece), classifier.loss)
        calibrated = classifier.calibrator(linked)
        if meet is not None:
            meet(piece, calibrated)
        here = BestLabels.of(calibrated.score_logits(), calibrated.scores(), first=labels.start, k=k)
        found = here if found is None else found.with_others(here, k=k)
    assert found is not None, "there is a label"
    return found


def decided_numbers(scores: LabelScores, decision: Ranked) -> Tensor:
    """How many labels of each row a rule decides that takes the best ones."""
    if isinstance(decision, TopK):
        return torch.full((scores.rows,), decision.k, device=scores.device)
    return decision.rounded(scores.count.mean()).long()


def decided_and_best(scores: LabelScores, classifier: Classifier, *, k: int) -> tuple[LabelRows, BestLabels]:
    """What is decided for each row, and at least its k best labels; one pass over the labels.

    Args:
        scores: of the rows.
        classifier: fitted.
        k: how many.
    """
    decision = classifier.decision
    if isinstance(decision, Ranked):
        n_N = decided_numbers(scores, decision)
        best = best_labels(scores, classifier, k=max(k, int(n_N.max())))
        return best.first(n_N, n_labels=scores.n_labels), best
    rule, pairs = OwnScores(decision, scores.labels), []

    def meet(piece: int, calibrated: LabelOutput) -> None:
        row_P, column_P = rule.decides(piece, calibrated).nonzero().unbind(1)
        pairs.append((row_P, column_P + scores.labels[piece].start))

    best = best_labels(scores, classifier, k=k, meet=meet)
    row_P, label_P = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    length_N = torch.bincount(row_P, minlength=scores.rows)
    ids_P = label_P[row_P.argsort(stable=True)]
    return LabelRows(ids_P, length_N.cumsum(0) - length_N, length_N, scores.n_labels), best
