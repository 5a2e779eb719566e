import pytest
import torch
from torch import Tensor

from mlc.errors import UserError
from mlc.losses.base import Loss, PairingError
from mlc.outputs.base import LabelOutput
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice


class Plain(Loss):
    accepts = (SingleChoice, LabelShares)

    def forward(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        return y_BL.sum(1)

    def link(self, output: LabelOutput) -> LabelOutput:
        return output


def test_check_accepts_each_listed_output() -> None:
    Plain().check(SingleChoice(torch.zeros(1, 2)))
    Plain().check(LabelShares(torch.zeros(1, 2)))


def test_check_says_what_the_loss_trains_and_what_it_got() -> None:
    with pytest.raises(
        PairingError, match="Plain trains SingleChoice or LabelShares, and the head gives IndependentLabels"
    ):
        Plain().check(IndependentLabels(torch.zeros(1, 2)))


def test_a_wrong_pairing_is_the_users_mistake() -> None:
    assert issubclass(PairingError, UserError)


def test_a_loss_without_link_cannot_be_built() -> None:
    class Unfinished(Loss):
        accepts = (IndependentLabels,)

        def forward(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
            return y_BL.sum(1)

    with pytest.raises(TypeError, match="link"):
        Unfinished()  # type: ignore[abstract]


def test_a_loss_keeps_empty_rows_unless_it_says_so() -> None:
    assert Loss.ignores_empty_rows is False
