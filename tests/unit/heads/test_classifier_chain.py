from itertools import product

import pytest
import torch

from mlc.batch import LabelStatistics
from mlc.heads.classifier_chain import ClassifierChainHead
from mlc.outputs.chain import LabelChain
from tests.unit.heads.checks import EVERY_CHECK, scrambled

Y = torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 1, 1], [0, 0, 1], [1, 1, 1]])
LABELS = LabelStatistics.from_targets(Y)


def head(prior_bias: bool = True) -> ClassifierChainHead:
    torch.manual_seed(0)
    return ClassifierChainHead(in_features=2, labels=LABELS, prior_bias=prior_bias)


def test_each_label_is_a_logistic_regression_on_features_and_the_labels_before() -> None:
    model, features_BD = scrambled(head()), torch.randn(5, 2)
    w_LD, b_L, a_LL = (p.detach() for p in (model.logits.weight, model.logits.bias, model.links_LL))
    total_B = torch.zeros(5)
    for label in range(3):
        z_B = features_BD @ w_LD[label] + b_L[label] + Y[:, :label] @ a_LL[label, :label]
        p_B = torch.sigmoid(z_B)
        total_B += torch.where(Y[:, label] > 0, p_B, 1 - p_B).log()
    output = model(features_BD)
    assert isinstance(output, LabelChain)
    torch.testing.assert_close(output.log_prob(Y), total_B)


def test_is_a_distribution_over_label_sets() -> None:
    model, features_BD = scrambled(head()), torch.randn(1, 2)
    sets = torch.tensor(list(product([0.0, 1.0], repeat=3)))
    log_prob = model(features_BD.expand(8, -1)).log_prob(sets)
    assert log_prob.exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_starts_independent_at_the_training_frequencies() -> None:
    output = head()(torch.zeros(1, 2))
    assert not output.links_LL.any()
    assert output.scores()[0].tolist() == pytest.approx([2.5 / 6, 3.5 / 6, 4.5 / 6], rel=1e-5)


def test_only_earlier_labels_are_trained_to_speak() -> None:
    model = head()
    model(torch.randn(5, 2)).log_prob(Y).sum().backward()
    assert model.links_LL.grad is not None
    assert model.links_LL.grad.ne(0).tolist() == [[False] * 3, [True, False, False], [True, True, False]]


def test_learns_a_label_that_the_features_do_not_show() -> None:
    # The second label copies the first and the features say nothing: independent labels cost 2 log 2.
    y_BL = torch.tensor([[0.0, 0.0], [1.0, 1.0]] * 8)
    labels = LabelStatistics.from_targets(y_BL)
    model = ClassifierChainHead(in_features=1, labels=labels, prior_bias=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.3)
    for _ in range(100):
        optimizer.zero_grad()
        loss = -model(torch.zeros(16, 1)).log_prob(y_BL).mean()
        loss.backward()
        optimizer.step()
    assert loss.item() == pytest.approx(torch.log(torch.tensor(2.0)).item(), abs=0.03)


def test_without_prior_bias_it_is_torchs_own_initialisation() -> None:
    torch.manual_seed(0)
    assert torch.equal(torch.nn.Linear(2, 3).bias, head(prior_bias=False).logits.bias)


@pytest.mark.parametrize("check", EVERY_CHECK)
def test_as_every_head(check) -> None:  # type: ignore[no-untyped-def]
    check(head, torch.randn(5, 2), Y)
