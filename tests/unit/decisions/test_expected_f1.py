import itertools

import pytest
import torch
from torch import Tensor

from mlc.decisions import expected_f1
from mlc.decisions.expected_f1 import ExpectedF1, best_sets
from mlc.errors import UserError
from mlc.outputs.base import LabelOutput
from mlc.outputs.calibrated import CalibratedLabels
from mlc.outputs.conditional_bernoulli import ConditionalBernoulli
from mlc.outputs.counts import CategoricalCount, PointCount
from mlc.outputs.factorised import FactorisedCount
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.scores_only import ScoresOnly
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice


def all_sets(n_labels: int) -> Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n_labels)))


def expected_f1_of_all_sets(output: LabelOutput) -> Tensor:
    """B×2^L expected F1 of every decision, by summing over every set of true labels."""
    sets_SL = all_sets(output.n_labels).double()
    total_SS = sets_SL.sum(1)[:, None] + sets_SL.sum(1)
    f1_SS = torch.where(total_SS == 0, 1, 2 * (sets_SL @ sets_SL.T) / total_SS.clamp(min=1))
    rows = len(output.score_logits())
    p_BS = (
        torch.stack([output.log_prob(y_L.float().expand(rows, -1)) for y_L in sets_SL], dim=1).exp().double()
    )
    torch.testing.assert_close(p_BS.sum(1), torch.ones(rows).double(), rtol=1e-5, atol=0)
    return p_BS @ f1_SS


def assert_best(output: LabelOutput, decided_BL: Tensor) -> None:
    value_BS = expected_f1_of_all_sets(output)
    places = 2 ** torch.arange(output.n_labels - 1, -1, -1)
    reached_B = value_BS.gather(1, (decided_BL * places).sum(1, keepdim=True)).squeeze(1)
    torch.testing.assert_close(reached_B, value_BS.amax(1), rtol=1e-6, atol=1e-9)


def logits(rows: int, n_labels: int, *, shift: float = 0.0, scale: float = 1.5) -> Tensor:
    return torch.randn(rows, n_labels, generator=torch.Generator().manual_seed(n_labels)) * scale + shift


@pytest.mark.parametrize("n_labels", [1, 2, 3, 6])
@pytest.mark.parametrize("shift", [-4.0, -2.0, -0.5, 1.0])
def test_independent_labels_get_the_best_of_all_sets(n_labels: int, shift: float) -> None:
    output = IndependentLabels(logits(30, n_labels, shift=shift))
    rule = ExpectedF1(n_labels=n_labels)
    rule.check(output)
    rule.fit(output, torch.zeros(30, n_labels))
    assert_best(output, rule(output))
    assert rule.thresholds() is None


@pytest.mark.parametrize("max_count", [1, 2, 5])
def test_conditional_bernoulli_gets_the_best_of_all_sets(max_count: int) -> None:
    count = CategoricalCount(logits(30, max_count + 1, scale=2.0))
    output = ConditionalBernoulli(logits(30, 5), count)
    rule = ExpectedF1(n_labels=5)
    rule.check(output)
    assert_best(output, rule(output))


def test_the_empty_set_is_decided_where_it_is_worth_most() -> None:
    rule = ExpectedF1(n_labels=3)
    p_BL = torch.tensor([[0.2, 0.1, 0.1], [0.5, 0.1, 0.1]])
    assert rule(IndependentLabels(p_BL.logit())).tolist() == [[False] * 3, [True, False, False]]


def test_calibrated_independent_labels_are_decided_by_their_calibrated_marginals() -> None:
    model, calibrated_BL = IndependentLabels(logits(20, 4)), logits(20, 4, shift=-1.0) - 1
    output = CalibratedLabels(calibrated_BL, model)
    rule = ExpectedF1(n_labels=4)
    rule.check(output)
    assert_best(IndependentLabels(calibrated_BL), rule(output))


def test_a_calibrated_joint_model_decides_as_it_is() -> None:
    model = ConditionalBernoulli(logits(20, 4), CategoricalCount(logits(20, 3)))
    output = CalibratedLabels(torch.zeros(20, 4), model)
    rule = ExpectedF1(n_labels=4)
    rule.check(output)
    assert torch.equal(rule(output), rule(model))


def test_leaving_sizes_out_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    output = IndependentLabels(logits(40, 60, shift=-2.0))
    joint_BLK, count_BK = output.marginals_by_count(), output.cardinality()
    decided_BL = best_sets(joint_BLK, count_BK)
    tried = []
    original = expected_f1._possible_sizes
    monkeypatch.setattr(expected_f1, "_possible_sizes", lambda *a: tried.append(original(*a)) or a[-1])
    assert torch.equal(best_sets(joint_BLK, count_BK), decided_BL)
    assert len(tried[0]) < 60


def test_chunks_of_rows_decide_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    output = IndependentLabels(logits(10, 6))
    whole_BL = ExpectedF1(n_labels=6)(output)
    monkeypatch.setattr(expected_f1, "_BLOCK_CELLS", 100)
    assert torch.equal(ExpectedF1(n_labels=6)(output), whole_BL)


def test_certain_labels_are_decided_exactly() -> None:
    z_BL = torch.tensor([[1e4, -1e4, 1e4], [-1e4, -1e4, -1e4], [100.0, 100.0, 100.0]])
    assert torch.equal(ExpectedF1(n_labels=3)(IndependentLabels(z_BL)), z_BL > 0)


@pytest.mark.parametrize(
    "output",
    [
        LabelShares(torch.zeros(1, 3)),
        FactorisedCount(torch.zeros(1, 3), PointCount(torch.ones(1))),
        ScoresOnly(torch.zeros(1, 3), torch.zeros(1, 3)),
        SingleChoice(torch.zeros(1, 3)),
        CalibratedLabels(torch.zeros(1, 3), LabelShares(torch.zeros(1, 3))),
    ],
)
def test_other_models_are_refused(output: LabelOutput) -> None:
    name = type(output.model).__name__
    with pytest.raises(UserError, match=f"{name} is none.*head=sigmoid or conditional_bernoulli.*top_k"):
        ExpectedF1(n_labels=3).check(output)
