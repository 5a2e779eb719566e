import pytest
import torch
from torch.nn import functional as F

from mlc.batch import LabelStatistics
from mlc.heads.levels import LevelsHead
from mlc.outputs.levels import LabelLevels
from tests.unit.heads.checks import EVERY_CHECK

Y = torch.tensor([[0.0, 3, 1], [1, 0, 1], [2, 0, 1], [0, 0, 1], [0, 1, 1]])
LABELS = LabelStatistics.from_targets(Y)


def head(labels: LabelStatistics = LABELS, prior_bias: bool = True) -> LevelsHead:
    torch.manual_seed(0)
    return LevelsHead(in_features=2, labels=labels, prior_bias=prior_bias)


def test_one_categorical_per_label_over_the_levels_of_training() -> None:
    model, features_BD = head(), torch.randn(5, 2)
    output = model(features_BD)
    assert isinstance(output, LabelLevels)
    assert output.logits_BLK.shape == (5, 3, 4)
    z_BKL = (features_BD @ model.logits.weight.T + model.logits.bias).reshape(5, 3, 4).mT
    expected = -F.cross_entropy(z_BKL, Y.long(), reduction="none").sum(1)
    torch.testing.assert_close(output.log_prob(Y), expected)


def test_prior_bias_starts_at_the_training_frequencies_with_equal_levels() -> None:
    output = head()(torch.zeros(1, 2))
    assert output.marginals()[0].tolist() == pytest.approx([2.5 / 6, 2.5 / 6, 5.5 / 6], rel=1e-5)
    p_LK = output.logits_BLK.softmax(2)[0]
    torch.testing.assert_close(p_LK[:, 1:], p_LK[:, 1:2].expand(-1, 3))


def test_two_levels_are_there_or_not() -> None:
    output = head(LabelStatistics.from_targets((Y > 0).float()))(torch.zeros(1, 2))
    assert output.logits_BLK.shape == (1, 3, 2)
    assert output.marginals()[0].tolist() == pytest.approx([2.5 / 6, 2.5 / 6, 5.5 / 6], rel=1e-5)


def test_without_prior_bias_it_is_torchs_own_initialisation() -> None:
    torch.manual_seed(0)
    assert torch.equal(torch.nn.Linear(2, 12).bias, head(prior_bias=False).logits.bias)


@pytest.mark.parametrize("check", EVERY_CHECK)
def test_as_every_head(check) -> None:  # type: ignore[no-untyped-def]
    check(head, torch.randn(5, 2), Y)
