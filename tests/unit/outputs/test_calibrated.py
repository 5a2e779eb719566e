import pytest
import torch

from mlc.outputs.base import NotDefinedError
from mlc.outputs.calibrated import CalibratedLabels
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice

Z = torch.tensor([[0.5, -2, 1], [3, 0.1, -1]])
C = torch.tensor([[-0.5, 2, 0], [-30, 30, 1]])


@pytest.mark.parametrize("model", [IndependentLabels, SingleChoice, LabelShares])
def test_marginals_are_the_calibrations(model) -> None:
    output = CalibratedLabels(C, model(Z))
    torch.testing.assert_close(output.marginals(), 1 / (1 + torch.exp(-C)))
    assert torch.equal(output.scores(), output.marginals())
    assert torch.equal(output.score_logits(), C)
    assert output.n_labels == 3


@pytest.mark.parametrize("model", [IndependentLabels, SingleChoice])
def test_what_is_joint_is_the_models_own(model) -> None:
    base = model(Z)
    output = CalibratedLabels(C, base)
    assert output.model is base
    assert base.model is base
    y_BL = torch.tensor([[1.0, 0, 0], [0, 1, 0]])
    assert torch.equal(output.log_prob(y_BL), base.log_prob(y_BL))
    for quantity in ("cardinality", "expected_count", "mode"):
        assert torch.equal(getattr(output, quantity)(), getattr(base, quantity)())


@pytest.mark.parametrize("quantity", ["cardinality", "expected_count", "mode"])
def test_what_the_model_does_not_define_stays_undefined(quantity: str) -> None:
    with pytest.raises(NotDefinedError, match="LabelShares has no "):
        getattr(CalibratedLabels(C, LabelShares(Z)), quantity)()


def test_unknown_labels_pass_through_to_the_model() -> None:
    y_BL = torch.tensor([[1.0, torch.nan, 0], [torch.nan, torch.nan, torch.nan]])
    base = IndependentLabels(Z)
    assert torch.equal(CalibratedLabels(C, base).log_prob(y_BL), base.log_prob(y_BL))
