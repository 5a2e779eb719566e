import pytest
import torch

from mlc.heads.softmax import SoftmaxHead
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice
from tests.unit.label_statistics import labels_with

ONE_EACH = labels_with([1.0, 4.0, 0.0], rows=5, single_label=True)
SEVERAL = labels_with([1.0, 4.0, 0.0], rows=3)


@pytest.mark.parametrize(
    ("reading", "labels", "expected"),
    [
        ("auto", ONE_EACH, SingleChoice),
        ("auto", SEVERAL, LabelShares),
        ("single_choice", SEVERAL, SingleChoice),
        ("label_shares", ONE_EACH, LabelShares),
    ],
)
def test_reading(reading, labels, expected) -> None:  # type: ignore[no-untyped-def]
    head = SoftmaxHead(in_features=2, labels=labels, reading=reading, prior_bias=True)
    assert type(head(torch.zeros(4, 2))) is expected


def test_one_affine_logit_per_label() -> None:
    head = SoftmaxHead(in_features=1, labels=SEVERAL, reading="auto", prior_bias=True)
    with torch.no_grad():
        head.logits.weight.copy_(torch.tensor([[1.0], [-1.0], [2.0]]))
        head.logits.bias.copy_(torch.tensor([0.0, 1.0, 2.0]))
    assert head(torch.tensor([[3.0]])).logits_BL.tolist() == [[3.0, -2.0, 8.0]]


def test_prior_bias_starts_at_the_training_shares() -> None:
    head = SoftmaxHead(in_features=2, labels=SEVERAL, reading="auto", prior_bias=True)
    share_L = head(torch.zeros(1, 2)).scores()[0]
    assert share_L.tolist() == pytest.approx([1.5 / 6.5, 4.5 / 6.5, 0.5 / 6.5], rel=1e-5)


def test_without_prior_bias_it_is_torchs_own_initialisation() -> None:
    torch.manual_seed(0)
    plain = torch.nn.Linear(2, 3)
    torch.manual_seed(0)
    head = SoftmaxHead(in_features=2, labels=SEVERAL, reading="auto", prior_bias=False)
    assert torch.equal(head.logits.bias, plain.bias)
