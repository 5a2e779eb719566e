import math

import pytest
import torch
from scipy.stats import poisson

from mlc.outputs.base import NotDefinedError
from mlc.outputs.counts import PointCount, PoissonCount
from mlc.outputs.factorised import FactorisedCount

# softmax of these logits is (1, 3, 4) / 8 in the first row, and (1, 1, 2) / 4 in the second.
SHARE_LOGITS = torch.tensor([[1.0, 3, 4], [1, 1, 2]]).log()


def test_scores_are_count_times_shares_by_hand() -> None:
    output = FactorisedCount(SHARE_LOGITS, PointCount(torch.tensor([2.0, 0.5])))
    expected_BL = torch.tensor([[0.25, 0.75, 1.0], [0.125, 0.125, 0.25]])
    torch.testing.assert_close(output.scores(), expected_BL)
    torch.testing.assert_close(output.score_logits(), expected_BL.log())
    torch.testing.assert_close(output.log_shares().exp()[0], torch.tensor([1.0, 3, 4]) / 8)
    assert output.expected_count().tolist() == [2, 0.5]


def test_expected_labels_may_exceed_one_and_sum_to_the_count() -> None:
    output = FactorisedCount(SHARE_LOGITS, PoissonCount(torch.tensor([3.0, 8.0]).log()))
    assert output.scores()[1].max().item() == pytest.approx(4)
    torch.testing.assert_close(output.scores().sum(1), torch.tensor([3.0, 8]))


def test_cardinality_is_the_counts_own() -> None:
    output = FactorisedCount(SHARE_LOGITS, PoissonCount(torch.tensor([3.0, 0.2]).log()))
    for row, rate in enumerate((3, 0.2)):
        pmf = poisson(rate).pmf(range(4))
        assert output.cardinality()[row].tolist() == pytest.approx((pmf / pmf.sum()).tolist(), rel=1e-5)
    with pytest.raises(NotDefinedError, match="head=factorised_poisson"):
        FactorisedCount(SHARE_LOGITS, PointCount(torch.ones(2))).cardinality()


def test_extreme_logits_stay_finite() -> None:
    output = FactorisedCount(torch.tensor([[1e4, -1e4]]), PointCount(torch.tensor([0.01])))
    assert output.scores().tolist() == [[pytest.approx(0.01), 0]]
    assert output.score_logits().tolist() == [[pytest.approx(math.log(0.01)), pytest.approx(-2e4, abs=10)]]


@pytest.mark.parametrize("log_rate", [-1e4, 1e4])
def test_score_logits_of_extreme_rates_stay_finite(log_rate: float) -> None:
    output = FactorisedCount(SHARE_LOGITS[:1], PoissonCount(torch.tensor([log_rate])))
    torch.testing.assert_close(output.score_logits(), (torch.tensor([[1.0, 3, 4]]) / 8).log() + log_rate)


@pytest.mark.parametrize(
    ("quantity", "instead"), [("marginals", "calibration=platt"), ("mode", "decision=by_count")]
)
def test_what_it_does_not_define_names_an_alternative(quantity: str, instead: str) -> None:
    output = FactorisedCount(SHARE_LOGITS, PointCount(torch.ones(2)))
    with pytest.raises(NotDefinedError, match=f"FactorisedCount has no .*{instead}"):
        getattr(output, quantity)()


def test_label_sets_have_no_probability() -> None:
    with pytest.raises(NotDefinedError, match=r"probability of a label set: .*calibration=platt"):
        FactorisedCount(SHARE_LOGITS, PointCount(torch.ones(2))).log_prob(torch.ones(2, 3))
