from typing import Any

import pytest
import torch
from scipy.special import logit
from scipy.stats import nbinom, poisson

from mlc.batch import LabelStatistics
from mlc.errors import UserError
from mlc.heads.conditional_bernoulli import ConditionalBernoulliHead
from mlc.outputs.conditional_bernoulli import ConditionalBernoulli

Y = torch.tensor([[1.0, 0, 0, 1, 0], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0], [1, 1, 0, 1, 0], [0, 0, 0, 0, 0]])
LABELS = LabelStatistics.from_targets(Y)
EVERY_COUNT = pytest.mark.parametrize("count", ["poisson", "negative_binomial", "categorical"])


def head(labels: LabelStatistics = LABELS, **options: Any) -> ConditionalBernoulliHead:
    torch.manual_seed(0)
    chosen: dict[str, Any] = {"count": "categorical", "max_count": "auto", "prior_bias": True} | options
    return ConditionalBernoulliHead(in_features=2, labels=labels, **chosen)


def first_pmf(**options: Any) -> list[float]:
    output: ConditionalBernoulli = head(**options)(torch.zeros(1, 2))
    pmf: list[float] = output.cardinality()[0].tolist()
    return pmf


def test_weights_start_at_the_odds_of_the_training_frequencies() -> None:
    output = head()(torch.zeros(1, 2))
    expected = [logit((positives + 0.5) / 6) for positives in (4, 2, 0, 2, 0)]
    assert output.weight_logits_BL[0].tolist() == pytest.approx(expected, rel=1e-5)


def test_without_prior_bias_the_weights_start_anywhere_and_the_count_at_training() -> None:
    torch.manual_seed(0)
    plain = torch.nn.Linear(2, 5)
    assert torch.equal(head(prior_bias=False).weights.bias, plain.bias)
    assert first_pmf(prior_bias=False) == first_pmf()


def test_counts_start_at_the_training_counts_and_stop_at_the_largest() -> None:
    smoothed = [1.5 / 7, 1.5 / 7, 2.5 / 7, 1.5 / 7, 0, 0]
    assert first_pmf() == pytest.approx(smoothed)
    cut = poisson(8 / 5).pmf(range(4))
    assert first_pmf(count="poisson") == pytest.approx([*(cut / cut.sum()), 0, 0], rel=1e-5)
    cut = nbinom(100, 100 / (100 + 8 / 5)).pmf(range(4))
    assert first_pmf(count="negative_binomial") == pytest.approx([*(cut / cut.sum()), 0, 0], rel=1e-4)


@EVERY_COUNT
@pytest.mark.parametrize(("max_count", "largest"), [("auto", 3), (3, 3), (4, 4), (5, 5), (800, 5)])
def test_max_count_is_the_largest_possible_count(count: str, max_count: int | str, largest: int) -> None:
    pmf = first_pmf(count=count, max_count=max_count)
    assert pmf[largest] > 0
    assert not any(pmf[largest + 1 :])
    assert sum(pmf) == pytest.approx(1)


def test_a_max_count_below_a_training_row_is_refused() -> None:
    with pytest.raises(UserError, match=r"^head\.max_count=2 is less than the 3 labels .*at least 3"):
        head(max_count=2)


@EVERY_COUNT
def test_no_labels_in_training_still_counts_to_one(count: str) -> None:
    output = head(LabelStatistics.from_targets(torch.zeros(4, 3)), count=count)(torch.randn(2, 2))
    assert output.log_prob(torch.tensor([[0.0, 0, 0], [0, 1, 0]])).isfinite().all()


@EVERY_COUNT
def test_counts_stay_float32_under_autocast(count: str) -> None:
    model, features_BD = head(count=count), torch.zeros(1, 2)
    plain = model(features_BD).cardinality()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(features_BD)
    assert output.count.logits_BK.dtype == torch.float32
    torch.testing.assert_close(output.cardinality(), plain, rtol=0.02, atol=1e-3)


@EVERY_COUNT
def test_likelihood_reaches_every_parameter(count: str) -> None:
    model = head(count=count)
    model(torch.randn(5, 2)).log_prob(Y).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.all(), name
