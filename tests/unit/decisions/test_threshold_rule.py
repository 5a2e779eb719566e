import torch

from mlc.decisions.threshold_rule import ThresholdRule
from mlc.outputs.base import LabelOutput
from mlc.outputs.scores_only import ScoresOnly


class Rule(ThresholdRule):
    def check(self, output: LabelOutput) -> None:
        pass

    def fit(self, output: LabelOutput, y_NL: torch.Tensor, weight_N: torch.Tensor | None = None) -> None:
        pass


def test_each_label_has_its_own_threshold_and_equality_is_not_above() -> None:
    rule = Rule(n_labels=3, threshold=0.1)
    assert torch.equal(rule.thresholds(), torch.full((3,), 0.1))
    rule.threshold_L.copy_(torch.tensor([0.1, 0.5, -2]))
    scores_BL = torch.tensor([[0.1, 0.6, -2.5], [0.2, 0.5, -1]])
    decided_BL = rule(ScoresOnly(scores_BL * 7, scores_BL))
    assert decided_BL.tolist() == [[False, True, False], [True, False, True]]
