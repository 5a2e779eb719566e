from typing import get_args

import pytest
import torch

from mlc.batch import LabelStatistics
from mlc.heads.counts import CountKind
from mlc.heads.factorised import FactorisedHead
from mlc.outputs.counts import CategoricalCount, NegativeBinomialCount, PointCount, PoissonCount
from mlc.outputs.factorised import FactorisedCount

FLOOR = 0.01
LABELS = LabelStatistics(
    torch.tensor([10.0, 25.0, 0.0]).double(),
    known_L=torch.full((3,), 10.0).double(),
    rows=10,
    single_label=False,
    count_histogram_K=torch.tensor([0.0, 1, 3, 4, 0, 2]).double(),
)
EMPTY = LabelStatistics.from_targets(torch.zeros(10, 3))
BOTH = pytest.mark.parametrize("count", ["linear", "poisson"])
EVERY_COUNT = pytest.mark.parametrize("count", get_args(CountKind))


def head(count: CountKind, labels: LabelStatistics = LABELS, prior_bias: bool = True) -> FactorisedHead:
    torch.manual_seed(0)
    return FactorisedHead(in_features=2, labels=labels, count=count, count_floor=FLOOR, prior_bias=prior_bias)


def set_count(model: FactorisedHead, weight: list[float], bias: float) -> None:
    with torch.no_grad():
        model.count.weight.copy_(torch.tensor([weight]))
        model.count.bias.fill_(bias)


def squared_count_error(model: FactorisedHead, features_BD: torch.Tensor, n: float) -> torch.Tensor:
    output: FactorisedCount = model(features_BD)
    return (output.expected_count() - n).square().sum()


@BOTH
def test_starts_at_the_mean_count_and_the_training_shares(count: CountKind) -> None:
    output = head(count)(torch.zeros(1, 2))
    assert isinstance(output, FactorisedCount)
    assert output.expected_count().tolist() == pytest.approx([3.5], rel=1e-6)
    share_L = output.log_shares().exp()[0]
    assert share_L.tolist() == pytest.approx([10.5 / 36.5, 25.5 / 36.5, 0.5 / 36.5], rel=1e-5)


@BOTH
def test_count_has_gradient_at_the_start(count: CountKind) -> None:
    model = head(count)
    squared_count_error(model, torch.tensor([[0.1, -0.2]]), n=1.0).backward()
    assert model.count.bias.grad is not None
    assert model.count.bias.grad.abs().item() > 0.1
    assert model.count.weight.grad is not None
    assert (model.count.weight.grad != 0).all()


def test_linear_count_is_cut_at_the_floor() -> None:
    model = head("linear")
    set_count(model, [1.0, 0.0], bias=1.0)
    count = model(torch.tensor([[2.0, 0.0], [-0.985, 0.0], [-0.995, 0.0], [-500.0, 0.0]])).count
    assert isinstance(count, PointCount)
    assert count.value_B.tolist() == pytest.approx([3.0, 0.015, FLOOR, FLOOR], rel=1e-5)


def test_linear_count_has_no_gradient_below_the_floor() -> None:
    # The trap that the starting bias avoids: a head that starts below the floor never learns to count.
    model = head("linear")
    set_count(model, [0.0, 0.0], bias=-0.5)
    squared_count_error(model, torch.ones(4, 2), n=3.0).backward()
    assert model.count.bias.grad is not None
    assert model.count.bias.grad.item() == 0
    assert model.count.weight.grad is not None
    assert (model.count.weight.grad == 0).all()


def test_poisson_count_is_log_linear_and_has_gradient_everywhere() -> None:
    model = head("poisson")
    set_count(model, [2.0, -1.0], bias=0.25)
    output = model(torch.tensor([[1.0, 0.5]]))
    assert isinstance(output.count, PoissonCount)
    assert output.count.log_rate_B.tolist() == pytest.approx([1.75])
    set_count(model, [0.0, 0.0], bias=-6.0)
    squared_count_error(model, torch.ones(4, 2), n=3.0).backward()
    assert model.count.bias.grad is not None
    assert model.count.bias.grad.item() < 0


@BOTH
def test_no_labels_in_training_starts_at_the_floor_with_gradient(count: CountKind) -> None:
    model = head(count, EMPTY)
    features_BD = torch.zeros(1, 2)
    assert model(features_BD).expected_count().tolist() == pytest.approx([FLOOR], rel=1e-6)
    squared_count_error(model, features_BD, n=1.0).backward()
    assert model.count.bias.grad is not None
    assert model.count.bias.grad.item() < 0


@BOTH
def test_without_prior_bias_the_count_still_starts_at_the_mean(count: CountKind) -> None:
    torch.manual_seed(0)
    plain = torch.nn.Linear(2, 3)
    model = head(count, prior_bias=False)
    assert torch.equal(model.shares.bias, plain.bias)
    assert model(torch.zeros(1, 2)).expected_count().tolist() == pytest.approx([3.5], rel=1e-6)


@EVERY_COUNT
def test_counts_and_shares_are_each_rows_own(count: CountKind) -> None:
    output = head(count)(torch.randn(5, 2))
    assert output.share_logits_BL.shape == (5, 3)
    assert output.expected_count().shape == (5,)


@EVERY_COUNT
def test_the_count_is_of_the_kind_asked_for_and_has_gradient(count: CountKind) -> None:
    model = head(count)
    output: FactorisedCount = model(torch.tensor([[0.3, -0.2]]))
    kinds = (PointCount, PoissonCount, NegativeBinomialCount, CategoricalCount)
    assert type(output.count) is dict(zip(get_args(CountKind), kinds, strict=True))[count]
    output.expected_count().sum().backward()
    assert model.count.bias.grad is not None
    assert model.count.bias.grad.any()


def test_a_categorical_count_goes_to_the_largest_in_training() -> None:
    assert head("categorical").count.out_features == 6
    assert head("categorical", EMPTY).count.out_features == 2


@EVERY_COUNT
def test_state_has_the_same_names_for_every_count(count: CountKind) -> None:
    assert list(head(count).state_dict()) == ["shares.weight", "shares.bias", "count.weight", "count.bias"]
