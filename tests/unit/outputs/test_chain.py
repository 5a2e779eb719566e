import math

import pytest
import torch
from torch import Tensor

import mlc.outputs.chain
from mlc.outputs.base import NotDefinedError
from mlc.outputs.chain import LabelChain
from mlc.outputs.independent import IndependentLabels
from tests.unit.outputs.label_sets import enumerate_sets, with_unknown

ROWS = 5
NAN = math.nan


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def random_output(n_labels: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> LabelChain:
    g = torch.Generator().manual_seed(seed)
    logits_BL = torch.randn(ROWS, n_labels, generator=g, dtype=torch.float64) * 2
    links_LL = torch.randn(n_labels, n_labels, generator=g, dtype=torch.float64)
    return LabelChain(logits_BL.to(dtype), links_LL.to(dtype))


def random_targets(n_labels: int, dtype: torch.dtype = torch.float64) -> Tensor:
    g = torch.Generator().manual_seed(n_labels)
    return (torch.rand(ROWS, n_labels, generator=g) < 0.5).to(dtype)


def by_hand(output: LabelChain, row: int, told_by: list[float]) -> tuple[list[float], list[float]]:
    """Conditional logits and told values of one row, with plain numbers.

    Args:
        output: the chain.
        row: which row.
        told_by: for each label the value it tells; NaN = its conditional probability, inf = its decision.
    """
    z, a = output.logits_BL[row].tolist(), output.links_LL.tolist()
    logits: list[float] = []
    told: list[float] = []
    for label, value in enumerate(told_by):
        logits.append(z[label] + sum(a[label][j] * told[j] for j in range(label)))
        if math.isnan(value):
            value = sigmoid(logits[-1])
        elif math.isinf(value):
            value = float(logits[-1] > 0)
        told.append(value)
    return logits, told


@pytest.mark.parametrize("n_labels", [1, 2, 5, 8])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_probabilities_of_all_sets_sum_to_1(n_labels: int, dtype: torch.dtype) -> None:
    p_BS = enumerate_sets(random_output(n_labels, dtype), dtype).p_BS
    assert (p_BS > 0).all()
    torch.testing.assert_close(p_BS.sum(1), torch.ones(ROWS).double(), rtol=0, atol=1e-5)


def test_log_prob_is_the_product_of_conditionals() -> None:
    links_LL = torch.tensor([[9.0, 9, 9], [2, 9, 9], [-1, 4, 9]])  # only what is below the diagonal counts
    output = LabelChain(torch.tensor([[0.5, -1, 1]]), links_LL)
    p = {
        (1, 1, 0): sigmoid(0.5) * sigmoid(1) * (1 - sigmoid(4)),
        (0, 1, 1): (1 - sigmoid(0.5)) * sigmoid(-1) * sigmoid(5),
        (1, 0, 1): sigmoid(0.5) * (1 - sigmoid(1)) * sigmoid(0),
    }
    for labels, expected in p.items():
        y_BL = torch.tensor([labels], dtype=torch.float32)
        assert output.log_prob(y_BL).exp().item() == pytest.approx(expected, rel=1e-5)


def test_greedy_by_hand() -> None:
    output = LabelChain(
        torch.tensor([[0.5, -1, 1], [-0.5, -1, 1]]), torch.tensor([[0.0] * 3, [2, 0, 0], [-1, 4, 0]])
    )
    assert output.greedy().tolist() == [[True, True, True], [False, False, True]]
    assert output.score_logits().tolist() == [[0.5, 1, 4], [-0.5, -1, 1]]
    assert output.scores()[0].tolist() == pytest.approx([sigmoid(0.5), sigmoid(1), sigmoid(4)])


def test_a_logit_of_zero_is_left_out() -> None:
    output = LabelChain(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 0], [-5, 0]]))
    assert output.greedy().tolist() == [[False, True]]


@pytest.mark.parametrize("n_labels", [1, 7, 32, 33, 70])
def test_the_greedy_path_agrees_with_plain_numbers(n_labels: int) -> None:
    output = random_output(n_labels)
    for row in range(ROWS):
        logits, told = by_hand(output, row, [math.inf] * n_labels)
        assert output.score_logits()[row].tolist() == pytest.approx(logits)
        assert output.greedy()[row].tolist() == [value == 1 for value in told]
        assert output.scores()[row].tolist() == pytest.approx([sigmoid(z) for z in logits])


@pytest.mark.parametrize("n_labels", [1, 7, 32, 33, 70])
def test_unknown_labels_tell_their_conditional_probability(n_labels: int) -> None:
    output = random_output(n_labels)
    y_BL = with_unknown(random_targets(n_labels))
    log_prob_B = output.log_prob(y_BL)
    for row in range(ROWS):
        y = y_BL[row].tolist()
        logits, _ = by_hand(output, row, y)
        terms = [
            math.log(sigmoid(z if value else -z))
            for z, value in zip(logits, y, strict=True)
            if not math.isnan(value)
        ]
        assert log_prob_B[row].item() == pytest.approx(sum(terms))
    assert log_prob_B[-1] == 0


def test_rows_without_unknown_labels_do_not_see_those_of_other_rows() -> None:
    output, y_BL = random_output(40, torch.float32), random_targets(40, torch.float32)
    hidden_BL = y_BL.clone()
    hidden_BL[1:, 3] = NAN
    assert torch.equal(output.log_prob(hidden_BL)[:1], output.log_prob(y_BL)[:1])


def test_unknown_labels_at_the_end_are_summed_out_exactly() -> None:
    # Nothing is told after them, so leaving their terms out is the sum over their values.
    output, y_BL = random_output(4), random_targets(4)
    y_BL[:, 3] = NAN
    both = [output.log_prob(torch.where(y_BL.isnan(), value, y_BL)) for value in (0.0, 1.0)]
    torch.testing.assert_close(output.log_prob(y_BL), torch.logaddexp(*both))


def test_without_links_it_is_independent_labels() -> None:
    output = LabelChain(random_output(6).logits_BL, torch.zeros(6, 6).double())
    independent = IndependentLabels(output.logits_BL)
    for y_BL in (random_targets(6), with_unknown(random_targets(6))):
        assert torch.equal(output.log_prob(y_BL), independent.log_prob(y_BL))
    assert torch.equal(output.score_logits(), output.logits_BL)
    assert torch.equal(output.greedy(), independent.mode())


@pytest.mark.parametrize("hide", [False, True])
def test_gradients_by_finite_differences(hide: bool) -> None:
    output = random_output(4)
    y_BL = with_unknown(random_targets(4)) if hide else random_targets(4)
    inputs = (output.logits_BL.requires_grad_(), output.links_LL.requires_grad_())
    assert torch.autograd.gradcheck(
        lambda z, a: (LabelChain(z, a).log_prob(y_BL), LabelChain(z, a).score_logits()), inputs
    )


def test_the_size_of_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    output, y_BL = random_output(50), with_unknown(random_targets(50))
    whole = output.score_logits(), output.log_prob(y_BL)
    monkeypatch.setattr(mlc.outputs.chain, "_BLOCK", 3)
    torch.testing.assert_close((output.score_logits(), output.log_prob(y_BL)), whole)


def test_extreme_logits_stay_finite() -> None:
    logits_BL = torch.tensor([[1e4, -1e4, 0.0, 5.0]], requires_grad=True)
    links_LL = torch.full((4, 4), 1e4).requires_grad_()
    output = LabelChain(logits_BL, links_LL)
    assert output.score_logits()[0].tolist() == [1e4, 0, 1e4, 2e4 + 5]
    log_prob_B = output.log_prob(torch.tensor([[0.0, NAN, 1, 0]]))
    assert log_prob_B.item() == pytest.approx(-1e4 - math.log(2) - 1e4 - 5)
    log_prob_B.sum().backward()
    assert logits_BL.grad is not None
    assert logits_BL.grad.isfinite().all()
    assert links_LL.grad is not None
    assert links_LL.grad.isfinite().all()


@pytest.mark.parametrize(
    ("quantity", "instead"),
    [
        ("marginals", "calibration=platt"),
        ("cardinality", "decision=greedy"),
        ("expected_count", "decision=greedy"),
        ("mode", "decision=greedy"),
    ],
)
def test_sums_over_all_sets_are_not_defined(quantity: str, instead: str) -> None:
    with pytest.raises(NotDefinedError, match=f"LabelChain has no .*{instead}"):
        getattr(random_output(2), quantity)()
