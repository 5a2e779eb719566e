import pytest
import torch
from scipy.special import logit, softmax

from mlc.outputs.base import NotDefinedError
from mlc.outputs.shares import LabelShares


def test_scores_are_softmax_shares() -> None:
    logits_BL = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    output = LabelShares(logits_BL)
    torch.testing.assert_close(output.scores(), torch.from_numpy(softmax(logits_BL.numpy(), axis=1)))
    torch.testing.assert_close(
        output.score_logits(), torch.from_numpy(logit(softmax(logits_BL.numpy(), axis=1)))
    )
    torch.testing.assert_close(output.scores().sum(1), torch.ones(5).double())


def test_extreme_logits_stay_finite() -> None:
    output = LabelShares(torch.tensor([[1e4, -1e4]]))
    assert output.scores().tolist() == [[1, 0]]
    assert output.score_logits().tolist() == [[2e4, -2e4]]


@pytest.mark.parametrize(
    ("quantity", "instead"),
    [
        ("marginals", "calibration=platt"),
        ("cardinality", "calibration=platt"),
        ("expected_count", "head=factorised"),
        ("mode", "decision=global_threshold"),
    ],
)
def test_shares_define_no_distribution(quantity: str, instead: str) -> None:
    with pytest.raises(NotDefinedError, match=f"LabelShares has no .*{instead}"):
        getattr(LabelShares(torch.zeros(1, 2)), quantity)()


def test_label_sets_have_no_probability() -> None:
    with pytest.raises(NotDefinedError, match=r"probability of a label set: .*calibration=platt"):
        LabelShares(torch.zeros(1, 2)).log_prob(torch.ones(1, 2))
