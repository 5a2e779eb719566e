"""What every fitting pair of head and loss does at evaluation."""

from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from mlc.model import Network
from mlc.outputs.base import LabelOutput, NotDefinedError
from mlc.outputs.conditional_bernoulli import ConditionalBernoulli
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.label_sets import LabelSets
from mlc.outputs.levels import LabelLevels
from mlc.outputs.single_choice import SingleChoice
from tests.contract.grid import FITTING_PAIRS, LABELS, ROWS, Pair, inputs
from tests.contract.test_training import randomise

WITH_MARGINALS = IndependentLabels | SingleChoice | ConditionalBernoulli | LabelLevels | LabelSets
PAIRS = pytest.mark.parametrize("pair", FITTING_PAIRS, ids=str)


class OnlyX(dict[str, Tensor]):
    """Inputs that also hold the targets, and fail the test when anything but x is read."""

    def __getitem__(self, key: str) -> Tensor:
        assert key == "x", f"the network read {key!r}"
        return super().__getitem__(key)

    def _refuse(self, *_: Any) -> Any:
        raise AssertionError("the network looked at all inputs")

    get = values = items = __iter__ = _refuse  # type: ignore[assignment]


def evaluated(network: Network, x_BD: Tensor) -> LabelOutput:
    network.eval()
    with torch.no_grad():
        output: LabelOutput = network({"x": x_BD})
    return output


@PAIRS
def test_the_network_reads_x_alone(pair: Pair) -> None:
    network = randomise(pair.make_network()).eval()
    output = network(OnlyX(x=inputs(), y=pair.y_BL, y_BL=pair.y_BL))
    assert torch.equal(output.score_logits(), network({"x": inputs()}).score_logits())


@PAIRS
def test_the_output_of_a_row_is_its_own(pair: Pair) -> None:
    network, loss = randomise(pair.make_network()), pair.make_loss()
    together = loss.link(evaluated(network, inputs()))
    alone = [loss.link(evaluated(network, row_D[None])) for row_D in inputs()]
    # Matrix products of one row and of many round otherwise; logits here are in the hundreds.
    close = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(torch.cat([o.scores() for o in alone]), together.scores(), **close)
    torch.testing.assert_close(torch.cat([o.score_logits() for o in alone]), together.score_logits(), **close)


@PAIRS
def test_link_gives_marginals_between_0_and_1_or_says_that_there_are_none(pair: Pair) -> None:
    output = evaluated(randomise(pair.make_network()), inputs() * 3)
    linked = pair.make_loss().link(output)
    assert isinstance(linked, LabelOutput)
    assert linked.n_labels == LABELS
    if isinstance(linked, WITH_MARGINALS):
        marginals_BL = linked.marginals()
        assert marginals_BL.shape == (ROWS, LABELS)
        assert ((marginals_BL >= 0) & (marginals_BL <= 1)).all()
    else:
        # What is missing, a colon, what to use instead.
        with pytest.raises(NotDefinedError, match=f"^{type(linked).__name__} has no marginals: .*calibrat"):
            linked.marginals()


@PAIRS
def test_link_keeps_the_ranking_of_each_label_and_changes_no_input(pair: Pair) -> None:
    output = evaluated(randomise(pair.make_network()), inputs())
    before_BL = output.score_logits().clone()
    linked = pair.make_loss().link(output)
    for label in range(LABELS):
        order_B = before_BL[:, label].argsort()
        for ranked_BL in (linked.score_logits(), linked.scores()):
            assert (ranked_BL[order_B, label].diff() >= 0).all()
    assert torch.equal(output.score_logits(), before_BL)


@PAIRS
def test_a_saved_network_is_the_same_network(pair: Pair) -> None:
    saved, other = randomise(pair.make_network()), pair.make_network(seed=5)
    expected = evaluated(saved, inputs()).score_logits()
    assert not torch.equal(evaluated(other, inputs()).score_logits(), expected)
    other.load_state_dict(load(save(saved.state_dict())))
    assert torch.equal(evaluated(other, inputs()).score_logits(), expected)


@PAIRS
def test_the_loss_can_be_rebuilt_from_config_and_label_statistics(pair: Pair) -> None:
    # A run stores config and label statistics; nothing that a loss knows may live elsewhere.
    assert not pair.make_loss().state_dict()
