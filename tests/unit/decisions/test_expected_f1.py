import itertools

import pytest
import torch
from torch import Tensor

from mlc.decisions import expected_f1
from mlc.decisions.expected_f1 import ExpectedF1, best_sets
from mlc.errors import UserError
from mlc.outputs.base import LabelOutput
from mlc.outputs.calibrated import CalibratedLabels
from mlc.outputs.chain import LabelChain
from mlc.outputs.conditional_bernoulli import ConditionalBernoulli
from mlc.outputs.counts import CategoricalCount, PointCount
from mlc.outputs.factorised import FactorisedCount
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.label_sets import LabelSets
from mlc.outputs.levels import LabelLevels
from mlc.outputs.scores_only import ScoresOnly
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice


def all_sets(n_labels: int) -> Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n_labels)))


def probabilities_of_all_sets(output: LabelOutput) -> Tensor:
    """B×2^L, from the probability of every set, or of every combination of levels."""
    n_levels = output.logits_BLK.shape[2] if isinstance(output, LabelLevels) else 2
    targets_CL = torch.tensor(list(itertools.product(range(n_levels), repeat=output.n_labels))).float()
    rows = len(output.score_logits())
    p_BC = torch.stack([output.log_prob(y_L.expand(rows, -1)) for y_L in targets_CL], dim=1).exp().double()
    p_BS = torch.zeros(rows, 2**output.n_labels).double().index_add(1, places(targets_CL > 0), p_BC)
    torch.testing.assert_close(p_BS.sum(1), torch.ones(rows).double(), rtol=1e-5, atol=0)
    return p_BS


def expected_f1_of_all_sets(output: LabelOutput) -> Tensor:
    """B×2^L expected F1 of every decision, by summing over every set of true labels."""
    sets_SL = all_sets(output.n_labels).double()
    total_SS = sets_SL.sum(1)[:, None] + sets_SL.sum(1)
    f1_SS = torch.where(total_SS == 0, 1, 2 * (sets_SL @ sets_SL.T) / total_SS.clamp(min=1))
    return probabilities_of_all_sets(output) @ f1_SS


def places(sets_BL: Tensor) -> Tensor:
    """B places of these sets in `all_sets`."""
    return (sets_BL * 2 ** torch.arange(sets_BL.shape[1] - 1, -1, -1)).sum(1)


def assert_best(output: LabelOutput, decided_BL: Tensor) -> None:
    value_BS = expected_f1_of_all_sets(output)
    reached_B = value_BS.gather(1, places(decided_BL)[:, None]).squeeze(1)
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


def some_sets(n_labels: int, n_sets: int, *, empty: bool) -> Tensor:
    """Different sets in random order, one of them empty if it is asked for."""
    g = torch.Generator().manual_seed(n_sets)
    order_S = 1 + torch.randperm(2**n_labels - 1, generator=g)
    order_S = torch.cat((torch.zeros(1).long(), order_S)) if empty else order_S
    return all_sets(n_labels)[order_S[:n_sets]].bool()


@pytest.mark.parametrize("empty", [True, False])
@pytest.mark.parametrize(("n_labels", "n_sets"), [(1, 1), (3, 2), (4, 15), (6, 20), (8, 120)])
def test_label_sets_get_the_best_of_all_sets_known_or_not(n_labels: int, n_sets: int, empty: bool) -> None:
    sets_ML = some_sets(n_labels, n_sets, empty=empty)
    output = LabelSets(logits(30, n_sets, scale=2.5), sets_ML)
    rule = ExpectedF1(n_labels=n_labels)
    rule.check(output)
    decided_BL = rule(output)
    assert_best(output, decided_BL)
    if n_sets == 20:  # a set that never occurs may be the best compromise
        is_known_B = (decided_BL[:, None] == sets_ML).all(2).any(1)
        assert not is_known_B.all()


def test_where_only_the_empty_set_is_known_nothing_is_decided() -> None:
    output = LabelSets(torch.zeros(2, 1), torch.zeros(1, 3).bool())
    assert not ExpectedF1(n_labels=3)(output).any()


@pytest.mark.parametrize(("n_labels", "n_levels"), [(1, 2), (3, 5), (5, 3), (8, 3)])
@pytest.mark.parametrize("shift", [0.5, 3.0])
def test_label_levels_get_the_best_of_all_sets(n_labels: int, n_levels: int, shift: float) -> None:
    logits_BLK = logits(8, n_labels * n_levels).reshape(8, n_labels, n_levels)
    logits_BLK[:, :, 0] += shift
    output = LabelLevels(logits_BLK)
    rule = ExpectedF1(n_labels=n_labels)
    rule.check(output)
    decided_BL = rule(output)
    assert_best(output, decided_BL)
    assert torch.equal(decided_BL, rule(IndependentLabels(output.score_logits())))


def test_the_empty_set_is_decided_where_it_is_worth_most() -> None:
    rule = ExpectedF1(n_labels=3)
    p_BL = torch.tensor([[0.2, 0.1, 0.1], [0.5, 0.1, 0.1]])
    assert rule(IndependentLabels(p_BL.logit())).tolist() == [[False] * 3, [True, False, False]]


@pytest.mark.parametrize("model", [IndependentLabels(logits(20, 4)), LabelLevels(torch.zeros(20, 4, 3))])
def test_calibrated_independent_labels_are_decided_by_their_calibrated_marginals(model: LabelOutput) -> None:
    calibrated_BL = logits(20, 4, shift=-1.0) - 1
    output = CalibratedLabels(calibrated_BL, model)
    rule = ExpectedF1(n_labels=4)
    rule.check(output)
    assert_best(IndependentLabels(calibrated_BL), rule(output))


@pytest.mark.parametrize(
    "model",
    [
        ConditionalBernoulli(logits(20, 4), CategoricalCount(logits(20, 3))),
        LabelSets(logits(20, 5), some_sets(4, 5, empty=True)),
    ],
)
def test_a_calibrated_joint_model_decides_as_it_is(model: LabelOutput) -> None:
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


@pytest.mark.parametrize(
    "output",
    [IndependentLabels(logits(10, 6)), LabelSets(logits(10, 7), some_sets(6, 7, empty=False))],
)
def test_chunks_of_rows_decide_the_same(monkeypatch: pytest.MonkeyPatch, output: LabelOutput) -> None:
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
        LabelChain(torch.zeros(1, 3), torch.zeros(3, 3)),
        CalibratedLabels(torch.zeros(1, 3), LabelShares(torch.zeros(1, 3))),
    ],
)
def test_other_models_are_refused(output: LabelOutput) -> None:
    name = type(output.model).__name__
    with pytest.raises(
        UserError, match=f"{name} is none: use head=sigmoid, .*conditional_bernoulli, or decision=.*top_k"
    ):
        ExpectedF1(n_labels=3).check(output)
