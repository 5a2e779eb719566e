import pytest
import torch

from mlc.heads.sigmoid import SigmoidHead
from mlc.outputs.independent import IndependentLabels
from tests.unit.label_statistics import labels_with

LABELS = labels_with([1.0, 50.0, 98.0], rows=99)


def test_one_affine_logit_per_label() -> None:
    head = SigmoidHead(in_features=2, labels=LABELS, prior_bias=True)
    with torch.no_grad():
        head.logits.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]))
        head.logits.bias.copy_(torch.tensor([0.5, 0.0, -1.0]))
    output = head(torch.tensor([[3.0, 4.0]]))
    assert isinstance(output, IndependentLabels)
    assert output.logits_BL.tolist() == [[3.5, 8.0, 6.0]]


def test_prior_bias_starts_at_the_training_frequencies() -> None:
    head = SigmoidHead(in_features=2, labels=LABELS, prior_bias=True)
    p_L = head(torch.zeros(1, 2)).marginals()[0]
    assert p_L.tolist() == pytest.approx([1.5 / 100, 50.5 / 100, 98.5 / 100], rel=1e-5)


def test_without_prior_bias_it_is_torchs_own_initialisation() -> None:
    torch.manual_seed(0)
    plain = torch.nn.Linear(2, 3)
    torch.manual_seed(0)
    head = SigmoidHead(in_features=2, labels=LABELS, prior_bias=False)
    assert torch.equal(head.logits.bias, plain.bias)
    assert torch.equal(head.logits.weight, plain.weight)
