from typing import Literal

import pytest
import torch

from mlc.batch import LabelStatistics
from mlc.errors import UserError
from mlc.heads.label_sets import LabelSetsHead
from mlc.outputs.label_sets import LabelSets
from tests.unit.heads.checks import EVERY_CHECK

Y = torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 1, 1], [0, 0, 0], [0, 1, 1], [1, 0, 0]])
LABELS = LabelStatistics.from_targets(Y, with_sets=True)
FREQUENT_FIRST = [[False, True, True], [True, False, False], [False, False, False]]


def head(max_sets: int | Literal["all"] = "all", labels: LabelStatistics = LABELS) -> LabelSetsHead:
    torch.manual_seed(0)
    return LabelSetsHead(in_features=2, labels=labels, max_sets=max_sets)


def test_one_softmax_over_the_training_sets() -> None:
    model, features_BD = head(), torch.randn(6, 2)
    output = model(features_BD)
    assert isinstance(output, LabelSets)
    log_p_BM = (features_BD @ model.logits.weight.T + model.logits.bias).log_softmax(1)
    classes = torch.tensor([FREQUENT_FIRST.index(row) for row in Y.bool().tolist()])
    expected = log_p_BM.gather(1, classes[:, None])[:, 0]
    torch.testing.assert_close(output.log_prob(Y), expected)


@pytest.mark.parametrize(("max_sets", "kept"), [("all", 3), (1, 1), (2, 2), (3, 3), (50, 3)])
def test_max_sets_keeps_the_most_frequent(max_sets: int | Literal["all"], kept: int) -> None:
    output = head(max_sets)(torch.zeros(1, 2))
    assert output.sets_ML.tolist() == FREQUENT_FIRST[:kept]
    assert output.logits_BM.shape == (1, kept)


def test_a_row_whose_set_was_left_out_is_impossible() -> None:
    log_prob_B = head(2)(torch.randn(6, 2)).log_prob(Y)
    assert (log_prob_B == -torch.inf).tolist() == [False, False, False, True, False, False]


def test_the_sets_are_no_part_of_the_state_but_move_with_it() -> None:
    model = head()
    assert list(model.state_dict()) == ["logits.weight", "logits.bias"]
    assert model.to("meta").sets_ML.device.type == "meta"


def test_needs_the_sets() -> None:
    assert LabelSetsHead.needs_label_sets
    with pytest.raises(ValueError, match="with_sets"):
        head(labels=LabelStatistics.from_targets(Y))


def test_training_rows_that_are_all_unknown_somewhere_are_refused() -> None:
    y_NL = torch.tensor([[torch.nan, 1.0], [0.0, torch.nan]])
    with pytest.raises(UserError, match="head=label_sets needs training rows whose labels are all known"):
        head(labels=LabelStatistics.from_targets(y_NL, with_sets=True))


@pytest.mark.parametrize("check", EVERY_CHECK)
def test_as_every_head(check) -> None:  # type: ignore[no-untyped-def]
    check(head, torch.randn(6, 2), Y)
