import itertools
import math

import pytest
import torch

from mlc.decisions.by_count import ByCount
from mlc.errors import UserError
from mlc.outputs.base import LabelOutput
from mlc.outputs.calibrated import CalibratedLabels
from mlc.outputs.chain import LabelChain
from mlc.outputs.counts import CategoricalCount, PointCount, PoissonCount
from mlc.outputs.factorised import FactorisedCount
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.label_sets import LabelSets
from mlc.outputs.levels import LabelLevels
from mlc.outputs.scores_only import ScoresOnly
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice


@pytest.mark.parametrize(
    ("count", "n"),
    [
        (0.01, 0),
        (0.49999997, 0),
        (0.5, 1),
        (1.4999, 1),
        (1.5, 2),
        (2.5, 3),
        (4, 4),
        (77, 4),
        (math.inf, 4),
        (-3, 0),
    ],
)
def test_counts_are_rounded_half_up_and_kept_in_range(count: float, n: int) -> None:
    output = FactorisedCount(torch.tensor([[1.0, 4, 3, 2]]), PointCount(torch.tensor([count])))
    rule = ByCount(n_labels=4, count="mean")
    rule.check(output)
    rule.fit(output, torch.ones(1, 4))
    best_first = [1, 2, 3, 0]
    assert rule(output)[0].nonzero().squeeze(1).tolist() == sorted(best_first[:n])
    assert rule.thresholds() is None


def test_every_example_has_its_own_count() -> None:
    output = FactorisedCount(
        torch.tensor([[0.0, 1, 2]]).repeat(3, 1), PoissonCount(torch.tensor([1.0, 3, 2]).log())
    )
    assert ByCount(n_labels=3, count="mean")(output).sum(1).tolist() == [1, 3, 2]


def test_count_and_ranking_are_the_models_own_under_calibration() -> None:
    model = FactorisedCount(torch.tensor([[3.0, 2, 1]]), PointCount(torch.tensor([2.0])))
    output = CalibratedLabels(torch.tensor([[-5.0, -4, -3]]), model)
    rule = ByCount(n_labels=3, count="mean")
    rule.check(output)
    assert rule(output).tolist() == [[True, True, False]]


def test_models_of_sets_count_as_well() -> None:
    assert ByCount(n_labels=3, count="mean")(SingleChoice(torch.tensor([[0.0, 2, 1]]))).tolist() == [
        [False, True, False]
    ]
    assert ByCount(n_labels=3, count="mean")(IndependentLabels(torch.tensor([[0.4, 0.3, -0.1]]))).sum() == 2


def test_label_sets_and_levels_are_counted_by_mean_and_by_mode() -> None:
    sets_ML = torch.tensor([[1, 0, 0], [1, 1, 1], [0, 1, 1]]).bool()
    sets = LabelSets(torch.tensor([[0.4, 0.35, 0.25]]).log(), sets_ML)  # E[n] = 0.4 + 1.05 + 0.5
    # P(there) is 0.9, 0.6, 0.55: E[n] = 2.05, and P(n = 2) = 0.378 + 0.218... is the largest
    p_LK = torch.tensor([[0.1, 0.5, 0.4], [0.4, 0.3, 0.3], [0.45, 0.05, 0.5]])
    levels = LabelLevels(p_LK.log()[None])
    for output, mean, mode in ((sets, 2, 1), (levels, 2, 2)):
        for count, n in (("mean", mean), ("mode", mode)):
            rule = ByCount(n_labels=3, count=count)
            rule.check(output)
            assert rule(output).sum() == n
            best_first = output.marginals()[0].argsort(descending=True).tolist()
            assert rule(output)[0].nonzero().squeeze(1).tolist() == sorted(best_first[:n])


@pytest.mark.parametrize(
    "output",
    [
        LabelShares(torch.zeros(1, 3)),
        ScoresOnly(torch.zeros(1, 3), torch.zeros(1, 3)),
        LabelChain(torch.zeros(1, 3), torch.zeros(3, 3)),
        CalibratedLabels(torch.zeros(1, 3), LabelShares(torch.zeros(1, 3))),
    ],
)
def test_models_that_do_not_count_are_refused(output: LabelOutput) -> None:
    name = type(output.model).__name__
    with pytest.raises(
        UserError, match=f"{name} has none.*head=factorised.*decision=(greedy, )?global_threshold.*top_k"
    ):
        ByCount(n_labels=3, count="mean").check(output)


def test_mode_takes_the_most_probable_count() -> None:
    pmf_BK = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.6, 0.0, 0.0, 0.4], [0.2, 0.4, 0.4, 0.0]])
    output = FactorisedCount(torch.tensor([[1.0, 3, 2]]).repeat(3, 1), CategoricalCount(pmf_BK.log()))
    rule = ByCount(n_labels=3, count="mode")
    rule.check(output)
    assert rule(output).tolist() == [[True] * 3, [False] * 3, [False, True, False]]
    assert ByCount(n_labels=3, count="mean")(output).sum(1).tolist() == [2, 1, 1]


def test_mode_of_independent_labels_is_that_of_their_poisson_binomial() -> None:
    p_BL = torch.tensor([[0.45, 0.4, 0.4], [0.9, 0.8, 0.3]])
    for row, p_L in enumerate(p_BL.tolist()):
        pmf = [0.0] * 4
        for labels in itertools.product([0, 1], repeat=3):
            pmf[sum(labels)] += math.prod(p if y else 1 - p for p, y in zip(p_L, labels, strict=True))
        decided_BL = ByCount(n_labels=3, count="mode")(IndependentLabels(p_BL.logit()))
        assert decided_BL[row].sum() == pmf.index(max(pmf))


def test_mode_of_a_count_without_distribution_is_refused() -> None:
    output = FactorisedCount(torch.zeros(1, 3), PointCount(torch.ones(1)))
    with pytest.raises(UserError, match=r"count=mode .*count=mean or head=factorised_poisson"):
        ByCount(n_labels=3, count="mode").check(output)
