from pathlib import Path

import numpy as np
import pytest
import torch

from mlc.data.schema import Attribute
from mlc.data.weights import check_weights, normalise_weights, weight_column, weight_notes
from mlc.errors import UserError

ATTRIBUTES = (Attribute("size"), Attribute("colour", ("red", "green")), Attribute("cost"))
PATH = Path("set.arff")


def test_the_column_is_found_by_name() -> None:
    assert weight_column("cost", ATTRIBUTES, PATH) == 2


@pytest.mark.parametrize(
    ("name", "problem"), [("price", "no attribute price"), ("colour", "colour is nominal")]
)
def test_an_attribute_that_cannot_weigh(name: str, problem: str) -> None:
    with pytest.raises(UserError, match=rf"set\.arff.*{problem}.*numeric attribute or set weight=null"):
        weight_column(name, ATTRIBUTES, PATH)


@pytest.mark.parametrize("wrong", [-1e-9, np.nan])
def test_a_wrong_weight_names_its_line(wrong: float) -> None:
    with pytest.raises(UserError, match=r"set\.arff, line 12: the weight cost is negative or missing"):
        check_weights(np.array([0, 3, wrong, wrong]), name="cost", path=PATH, lines=[9, 10, 12, 15])


def test_weights_of_0_or_more_pass() -> None:
    check_weights(np.array([0, 1e30]), name="cost", path=PATH, lines=[1, 2])


@pytest.mark.parametrize("unit", [1, 1e-300, 1e38])
def test_the_mean_is_1_whatever_the_unit(unit: float) -> None:
    weight_N = normalise_weights(np.array([0, 1, 2, 5]) * unit)
    assert weight_N.dtype == torch.float32
    torch.testing.assert_close(weight_N, torch.tensor([0, 0.5, 1, 2.5]))


def test_notes_name_the_attribute_and_count_the_rows_that_do_not_count() -> None:
    weights = {"train": torch.tensor([0.0, 2]), "test": torch.tensor([1.0])}
    assert weight_notes("cost", weights) == [
        "Rows are weighted by the attribute cost, of mean 1 in each split; it is no input.",
        "1 of 2 train rows has the weight 0 and counts for nothing.",
    ]
