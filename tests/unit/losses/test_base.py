import pytest
import torch
from torch import Tensor

from mlc.errors import UserError
from mlc.losses.base import BatchLoss, ExampleLoss, LabelLoss, Loss, PairingError
from mlc.outputs.base import LabelOutput
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice


class Plain(ExampleLoss):
    accepts = (SingleChoice, LabelShares)
    accepts_levels = (LabelShares,)

    def per_example(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
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
    class Unfinished(ExampleLoss):
        accepts = (IndependentLabels,)

        def per_example(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
            return y_BL.sum(1)

    with pytest.raises(TypeError, match="link"):
        Unfinished()  # type: ignore[abstract]


def test_a_loss_keeps_empty_rows_unless_it_says_so() -> None:
    assert Loss.ignores_empty_rows is False


def test_targets_are_levels_only_for_the_outputs_listed() -> None:
    assert Plain().reads_levels(LabelShares(torch.zeros(1, 2)))
    assert not Plain().reads_levels(SingleChoice(torch.zeros(1, 2)))
    assert not Difference().reads_levels(IndependentLabels(torch.zeros(1, 2)))


class Difference(LabelLoss):
    accepts = (IndependentLabels,)

    def per_label(self, output: LabelOutput, y_BL: Tensor) -> Tensor:
        assert not y_BL.isnan().any()
        return output.score_logits() - y_BL

    def link(self, output: LabelOutput) -> LabelOutput:
        return output


Z_BL = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
Y_BL = torch.tensor([[1.0, torch.nan], [0.0, 1.0], [torch.nan, torch.nan]])


def test_a_label_loss_is_the_sum_over_the_known_labels() -> None:
    z_BL = Z_BL.clone().requires_grad_()
    loss_B = Difference()(IndependentLabels(z_BL), Y_BL)
    assert loss_B.tolist() == [0, 6, 0]
    loss_B.sum().backward()
    assert z_BL.grad is not None
    assert z_BL.grad.tolist() == [[1, 0], [1, 1], [0, 0]]


def test_weights_are_in_the_losses_of_examples() -> None:
    loss_B = Difference()(IndependentLabels(Z_BL), torch.zeros(3, 2), torch.tensor([2.0, 0.0, 0.5]))
    assert loss_B.tolist() == [6, 0, 5.5]


def test_weights_of_a_batch_loss_are_in_its_one_number() -> None:
    loss_B = Total()(IndependentLabels(Z_BL), torch.ones(3, 2), torch.tensor([2.0, 0.0, 0.5]))
    assert loss_B.tolist() == [11.5, 11.5, 11.5]


class Total(BatchLoss):
    accepts = (IndependentLabels,)

    def of_batch(self, output: LabelOutput, y_BL: Tensor, weight_B: Tensor) -> Tensor:
        return (weight_B @ (output.score_logits() * y_BL)).sum()

    def link(self, output: LabelOutput) -> LabelOutput:
        return output


def test_a_loss_of_single_examples_couples_nothing_and_warns_of_nothing() -> None:
    assert Loss.couples_batch is False
    assert Loss.warning is None
    assert BatchLoss.couples_batch is True


def test_a_batch_loss_repeats_its_number_so_that_the_mean_is_that_number() -> None:
    z_BL = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], requires_grad=True)
    loss_B = Total()(IndependentLabels(z_BL), torch.ones(3, 2))
    assert loss_B.tolist() == [21, 21, 21]
    loss_B.mean().backward()
    assert z_BL.grad is not None
    assert z_BL.grad.tolist() == [[1, 1], [1, 1], [1, 1]]


def test_a_batch_loss_needs_of_batch() -> None:
    class Unfinished(BatchLoss):
        accepts = (IndependentLabels,)

        def link(self, output: LabelOutput) -> LabelOutput:
            return output

    with pytest.raises(TypeError, match="of_batch"):
        Unfinished()  # type: ignore[abstract]
