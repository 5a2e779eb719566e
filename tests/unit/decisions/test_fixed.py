import pytest
import torch

from mlc.decisions.fixed import FixedThreshold
from mlc.errors import UserError
from mlc.outputs.base import LabelOutput
from mlc.outputs.calibrated import CalibratedLabels
from mlc.outputs.counts import PointCount
from mlc.outputs.factorised import FactorisedCount
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.scores_only import ScoresOnly
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice

Z = torch.tensor([[0.0, 1, -1], [3, 2.5, -9]])


@pytest.mark.parametrize(
    "output", [IndependentLabels(Z), SingleChoice(Z), CalibratedLabels(Z - 1, LabelShares(Z))]
)
@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.9])
def test_marginals_above_the_threshold_are_decided(output: LabelOutput, threshold: float) -> None:
    rule = FixedThreshold(n_labels=3, threshold=threshold)
    rule.check(output)
    rule.fit(output, torch.ones(2, 3))
    expected = [[p > threshold for p in row] for row in output.marginals().tolist()]
    assert rule(output).tolist() == expected
    assert torch.equal(rule.thresholds(), torch.full((3,), threshold))


def test_a_marginal_equal_to_the_threshold_is_not_decided() -> None:
    assert not FixedThreshold(n_labels=1, threshold=0.5)(IndependentLabels(torch.zeros(1, 1))).any()


def test_state_restores_the_threshold() -> None:
    restored = FixedThreshold(n_labels=3, threshold=0.5)
    restored.load_state_dict(FixedThreshold(n_labels=3, threshold=0.2).state_dict())
    assert torch.equal(restored.thresholds(), torch.full((3,), 0.2))


@pytest.mark.parametrize(
    "output", [LabelShares(Z), FactorisedCount(Z, PointCount(torch.ones(2))), ScoresOnly(Z, Z)]
)
def test_outputs_without_marginals_are_refused(output: LabelOutput) -> None:
    with pytest.raises(
        UserError, match=f"{type(output).__name__}.*calibration=platt.*global_threshold.*top_k"
    ):
        FixedThreshold(n_labels=3, threshold=0.5).check(output)
