"""Every loss with every output that it trains, on four labels."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mlc.losses.absolute_kl import AbsoluteKL
from mlc.losses.asymmetric import AsymmetricLoss
from mlc.losses.base import Loss
from mlc.losses.binary_cross_entropy import BinaryCrossEntropy
from mlc.losses.categorical_cross_entropy import CategoricalCrossEntropy
from mlc.losses.categorical_on_sigmoid import CategoricalOnSigmoid
from mlc.losses.distribution_balanced import DistributionBalancedLoss
from mlc.losses.factorised import FactorisedLoss
from mlc.losses.focal import FocalLoss
from mlc.losses.hill import HillLoss
from mlc.losses.negative_log_likelihood import NegativeLogLikelihood
from mlc.losses.soft_f1 import SoftF1
from mlc.losses.squared_error import SquaredError
from mlc.losses.squared_hinge import SquaredHinge
from mlc.losses.two_way import TwoWayLoss
from mlc.losses.zlpr import ZLPR
from mlc.outputs.base import LabelOutput
from mlc.outputs.chain import LabelChain
from mlc.outputs.conditional_bernoulli import ConditionalBernoulli
from mlc.outputs.counts import CategoricalCount, CountModel, NegativeBinomialCount, PointCount, PoissonCount
from mlc.outputs.factorised import FactorisedCount
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.label_sets import LabelSets
from mlc.outputs.levels import LabelLevels
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice
from tests.unit.label_statistics import labels_with

N_LABELS = 4
N_LEVELS = 3
POSITIVES = [50.0, 20.0, 2.0, 70.0]
WEIGHTS = [1.0, 5.0, 0.2, 3.0]
COUNTS_K = torch.tensor([10.0, 30, 40, 18, 2]).double()
# Five of the sixteen sets of four labels.
SETS_ML = torch.tensor(
    [[0, 0, 0, 0], [1, 0, 0, 1], [0, 1, 1, 0], [1, 1, 0, 1], [0, 0, 1, 0]], dtype=torch.bool
)
LINKS_LL = torch.tensor([[0.0] * 4, [1.5, 0, 0, 0], [-2, 0.5, 0, 0], [0.3, -1, 2, 0]])


@dataclass(frozen=True)
class Pair:
    """A loss and an output.

    Args:
        loss: built for the labels of these numbers alone.
        output: from float64 raw tensors B×`size`.
        size: of the raw tensors.
        columns: the raw columns of a label, by its number, those of the whole row come last; None where a
            label cannot be taken away.
        highest: the highest target.
    """

    loss: Callable[[list[int]], Loss]
    output: Callable[[Tensor], LabelOutput]
    size: int = N_LABELS
    columns: Callable[[int], list[int]] | None = lambda label: [label]
    highest: int = 1

    def without(self, raw_1D: Tensor, kept: list[int]) -> LabelOutput:
        """The output of one row in which only the kept labels exist."""
        assert self.columns is not None
        per_label = [column for label in kept for column in self.columns(label)]
        of_the_row = list(range(len(self.columns(0)) * N_LABELS, self.size))
        return self.output(raw_1D[:, per_label + of_the_row])


def _bce(kept: list[int]) -> Loss:
    return BinaryCrossEntropy(
        labels=labels_with([POSITIVES[label] for label in kept], rows=100),
        positive_weight=[WEIGHTS[label] for label in kept],
        max_positive_weight=100.0,
        label_weight="equal",
        label_smoothing=0.1,
    )


def _distribution_balanced(kept: list[int]) -> Loss:
    return DistributionBalancedLoss(
        labels=labels_with([POSITIVES[label] for label in kept], rows=100),
        weight_floor=0.1,
        weight_slope=10.0,
        weight_centre=0.2,
        negative_scale=2.0,
        bias_scale=0.05,
        gamma=2.0,
    )


def _factorised(count_loss: str) -> Callable[[list[int]], Loss]:
    # The count term needs the whole row, and is left out of rows with unknown labels.
    return lambda kept: FactorisedLoss(
        labels=replace(labels_with(POSITIVES, rows=100), count_histogram_K=COUNTS_K),
        count_loss=count_loss,  # type: ignore[arg-type]
        share_weight=0.7,
        count_weight=2.0 if len(kept) == N_LABELS else 0.0,
        count_prior_weight=0.5,
    )


def _likelihood(kept: list[int]) -> Loss:
    return NegativeLogLikelihood(labels=labels_with(POSITIVES, rows=100, single_label=True))


def _always(make: Callable[[], Loss]) -> Callable[[list[int]], Loss]:
    return lambda kept: make()


def _with_count(count: Callable[[Tensor], CountModel]) -> Callable[[Tensor], LabelOutput]:
    """Shares from the first columns, the count from the last five."""
    return lambda raw: FactorisedCount(raw[:, :-5], count(raw[:, -5:]))


def _absolute_kl() -> Loss:
    return AbsoluteKL(epsilon=1e-7)


_POINT = _with_count(lambda raw: PointCount(raw[:, 0].exp()))
_POISSON = _with_count(lambda raw: PoissonCount(raw[:, 0]))
_NEGATIVE_BINOMIAL = _with_count(lambda raw: NegativeBinomialCount(raw[:, 0], raw[:, 1]))
_CATEGORICAL = _with_count(CategoricalCount)
PAIRS = {
    "binary_cross_entropy": Pair(_bce, IndependentLabels),
    "focal": Pair(_always(lambda: FocalLoss(gamma=2.0, alpha=0.25)), IndependentLabels),
    "asymmetric": Pair(
        _always(lambda: AsymmetricLoss(gamma_positive=1.0, gamma_negative=4.0, margin=0.05)),
        IndependentLabels,
    ),
    "hill": Pair(_always(HillLoss), IndependentLabels),
    "squared_error": Pair(_always(SquaredError), IndependentLabels),
    "squared_hinge": Pair(_always(SquaredHinge), IndependentLabels),
    "categorical_on_sigmoid": Pair(_always(CategoricalOnSigmoid), IndependentLabels),
    "distribution_balanced": Pair(_distribution_balanced, IndependentLabels),
    "absolute_kl": Pair(_always(_absolute_kl), IndependentLabels),
    "product": Pair(_always(_absolute_kl), _POINT, size=9, columns=None),
    "zlpr": Pair(_always(ZLPR), IndependentLabels),
    "two_way": Pair(
        _always(lambda: TwoWayLoss(positive_temperature=4.0, negative_temperature=1.0)), IndependentLabels
    ),
    "soft_f1": Pair(_always(lambda: SoftF1(slope=2.0, offset=-0.5, epsilon=1e-7)), IndependentLabels),
    "softmax_of_shares": Pair(_always(CategoricalCrossEntropy), LabelShares),
    "softmax_of_one": Pair(_always(CategoricalCrossEntropy), SingleChoice),
    "factorised_mse": Pair(_factorised("squared_error"), _POINT, size=9),
    "factorised_mse_poisson": Pair(_factorised("squared_error"), _POISSON, size=9),
    "factorised_poisson": Pair(_factorised("poisson_nll"), _POISSON, size=9),
    "factorised_negative_binomial": Pair(_factorised("negative_binomial_nll"), _NEGATIVE_BINOMIAL, size=9),
    "factorised_categorical": Pair(_factorised("categorical_map"), _CATEGORICAL, size=9),
    "likelihood_independent": Pair(_likelihood, IndependentLabels),
    "likelihood_levels": Pair(
        _likelihood,
        lambda raw: LabelLevels(raw.unflatten(1, (-1, N_LEVELS))),
        size=N_LABELS * N_LEVELS,
        columns=lambda label: list(range(label * N_LEVELS, (label + 1) * N_LEVELS)),
        highest=N_LEVELS - 1,
    ),
    "likelihood_one": Pair(_likelihood, SingleChoice, columns=None),
    "likelihood_joint": Pair(
        _likelihood,
        lambda raw: ConditionalBernoulli(raw[:, :4], CategoricalCount(raw[:, 4:])),
        size=9,
        columns=None,
    ),
    "likelihood_sets": Pair(_likelihood, lambda raw: LabelSets(raw, SETS_ML), size=5, columns=None),
    "likelihood_chain": Pair(_likelihood, lambda raw: LabelChain(raw, LINKS_LL), columns=None),
}
