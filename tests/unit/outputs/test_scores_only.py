import pytest
import torch

from mlc.outputs.base import NotDefinedError
from mlc.outputs.scores_only import ScoresOnly


def test_scores_are_given_back() -> None:
    logits_BL, scores_BL = torch.tensor([[-1.0, 2]]), torch.tensor([[0.1, 3]])
    output = ScoresOnly(logits_BL, scores_BL)
    assert output.score_logits() is logits_BL
    assert output.scores() is scores_BL
    assert output.n_labels == 2


@pytest.mark.parametrize(
    ("quantity", "instead"),
    [
        ("marginals", "calibration=platt"),
        ("cardinality", "calibration=platt"),
        ("expected_count", "calibration=platt"),
        ("mode", "decision=global_threshold"),
    ],
)
def test_scores_define_no_distribution(quantity: str, instead: str) -> None:
    with pytest.raises(NotDefinedError, match=f"ScoresOnly has no .*{instead}"):
        getattr(ScoresOnly(torch.zeros(1, 2), torch.zeros(1, 2)), quantity)()


def test_label_sets_have_no_probability() -> None:
    with pytest.raises(NotDefinedError, match=r"probability of a label set: .*calibration=platt"):
        ScoresOnly(torch.zeros(1, 2), torch.zeros(1, 2)).log_prob(torch.ones(1, 2))
