import pytest
import torch

from mlc.heads.binary_softmax import BinarySoftmaxHead
from mlc.outputs.independent import IndependentLabels
from tests.unit.heads.checks import EVERY_CHECK
from tests.unit.label_statistics import labels_with

LABELS = labels_with([1.0, 50.0, 98.0], rows=99)


def head(prior_bias: bool = True) -> BinarySoftmaxHead:
    torch.manual_seed(0)
    return BinarySoftmaxHead(in_features=4, labels=LABELS, prior_bias=prior_bias)


def test_is_a_two_way_softmax_and_the_sigmoid_of_the_difference() -> None:
    model, features_BD = head(), torch.randn(6, 4)
    z_BL2 = (features_BD @ model.logits.weight.T + model.logits.bias).reshape(6, 3, 2)
    output = model(features_BD)
    assert isinstance(output, IndependentLabels)
    torch.testing.assert_close(output.marginals(), z_BL2.softmax(2)[..., 1])
    torch.testing.assert_close(output.marginals(), torch.sigmoid(z_BL2[..., 1] - z_BL2[..., 0]))


def test_its_likelihood_is_the_two_way_cross_entropy() -> None:
    model, features_BD = head(), torch.randn(6, 4)
    y_BL = torch.randint(0, 2, (6, 3))
    z_B2L = (features_BD @ model.logits.weight.T + model.logits.bias).reshape(6, 3, 2).mT
    expected = -torch.nn.functional.cross_entropy(z_B2L, y_BL, reduction="none").sum(1)
    torch.testing.assert_close(model(features_BD).log_prob(y_BL.float()), expected)


def test_prior_bias_starts_at_the_training_frequencies() -> None:
    p_L = head()(torch.zeros(1, 4)).marginals()[0]
    assert p_L.tolist() == pytest.approx([1.5 / 100, 50.5 / 100, 98.5 / 100], rel=1e-5)


def test_without_prior_bias_it_is_torchs_own_initialisation() -> None:
    torch.manual_seed(0)
    assert torch.equal(torch.nn.Linear(4, 6).bias, head(prior_bias=False).logits.bias)


@pytest.mark.parametrize("check", EVERY_CHECK)
def test_as_every_head(check) -> None:  # type: ignore[no-untyped-def]
    check(head, torch.randn(5, 4), torch.randint(0, 2, (5, 3)).float())
