import numpy as np
import pytest
import torch

from mlc.data.schema import Attribute, Schema

NAN = np.nan
MIXED = Schema(
    (Attribute("size"), Attribute("sex", ("m", "f")), Attribute("colour", ("red", "green", "blue")))
)


def test_expansion_by_hand() -> None:
    codes_NA = np.array([[1.5, 0, 2], [NAN, 1, NAN], [-2, NAN, 0]])
    expected_ND = [[1.5, 1, 0, 0, 1], [NAN, 0, NAN, NAN, NAN], [-2, NAN, 1, 0, 0]]
    np.testing.assert_array_equal(MIXED.expand(codes_NA), expected_ND)
    assert MIXED.n_columns == 5


@pytest.mark.parametrize("values", [("0", "1"), ("1", "0")])
def test_zero_and_one_keep_their_meaning_in_any_declared_order(values: tuple[str, str]) -> None:
    schema = Schema((Attribute("word", values),))
    codes_NA = np.array([[values.index("0")], [values.index("1")]], dtype=np.float64)
    assert schema.expand(codes_NA).tolist() == [[0], [1]]


def test_no_rows_keep_their_columns() -> None:
    assert MIXED.expand(np.empty((0, 3))).shape == (0, 5)


def test_schema_survives_being_a_tensor() -> None:
    schema = Schema((*MIXED.attributes, Attribute("größe, 'in' \"m\"")))
    tensor = schema.to_tensor()
    assert tensor.dtype == torch.uint8
    assert Schema.from_tensor(tensor) == schema
