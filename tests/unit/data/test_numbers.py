import numpy as np
import pytest
import torch
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler

from mlc.data.examples import Codes
from mlc.data.numbers import fit_numbers, number_notes, prepare
from mlc.data.schema import Attribute, Floats, Schema

NAN = float("nan")
NUMBERS = Schema((Attribute("a"), Attribute("b"), Attribute("c")))
MIXED = Schema((Attribute("a"), Attribute("colour", ("red", "green", "blue")), Attribute("sex", ("m", "f"))))


def numbers(rows: int, seed: int) -> Floats:
    """Three columns, a fifth of the values missing."""
    random = np.random.default_rng(seed)
    x_ND = random.normal(3, 5, size=(rows, 3))
    x_ND[random.random((rows, 3)) < 0.2] = NAN
    return x_ND


def test_imputing_and_standardising_agree_with_scikit_learn() -> None:
    train, new = numbers(50, 0), numbers(9, 1)
    assert np.isnan(new).any()
    imputer = SimpleImputer().fit(train)
    scaler = StandardScaler().fit(imputer.transform(train))
    found = prepare(new, fit_numbers(Codes(NUMBERS, train), standardised=True))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, scaler.transform(imputer.transform(new)), rtol=1e-5, atol=1e-6)


def test_without_standardising_only_gaps_change() -> None:
    train, new = numbers(50, 0), numbers(9, 1)
    found = prepare(new, fit_numbers(Codes(NUMBERS, train), standardised=False)).numpy()
    np.testing.assert_allclose(found, SimpleImputer().fit(train).transform(new), rtol=1e-6)


def test_a_column_without_values_is_filled_with_0() -> None:
    train = numbers(6, 0)
    train[:, 1] = NAN
    for standardised in (True, False):
        preparation = fit_numbers(Codes(NUMBERS, train), standardised=standardised)
        assert prepare(np.array([[1.0, NAN, 1.0]]), preparation)[0, 1] == 0


def test_a_constant_column_with_gaps_does_not_seem_to_vary() -> None:
    train = np.full((7, 1), 0.1)
    train[2] = NAN
    preparation = fit_numbers(Codes(Schema((Attribute("a"),)), train), standardised=True)
    assert prepare(np.array([[0.1], [NAN], [5.0]]), preparation).tolist() == [[0], [0], [0]]


def test_the_schema_travels_along_and_nominal_features_become_columns() -> None:
    train = np.array([[1.0, 0, 0], [3.0, 2, 1], [5.0, NAN, 1]])
    preparation = fit_numbers(Codes(MIXED, train), standardised=False)
    assert Schema.from_tensor(preparation["schema"]) == MIXED
    found = prepare(MIXED.expand(train), preparation)
    # 1 in the column of sex is m, the last of the two in sorted order; what is missing has the shares.
    torch.testing.assert_close(
        found, torch.tensor([[1, 1, 0, 0, 1], [3, 0, 0, 1, 0], [5, 0.5, 0, 0.5, 0]]), check_dtype=False
    )


def test_what_a_reader_should_know() -> None:
    train = np.array([[1.0, 0, 0], [1.0, 2, NAN], [1.0, NAN, 1]])
    assert number_notes(MIXED, {"train": train, "valid": train[:1], "test": train[2:]}) == [
        "1 nominal feature became 3 one-hot columns: colour.",
        "1 nominal feature became a 0/1 column: sex (1 is m).",
        "2 missing train values were imputed with the training mean of the column.",
        "1 missing test value was imputed with the training mean of the column.",
        "2 of 5 columns are constant in train.",  # a, and green, which never occurs
    ]


def test_plain_numbers_need_no_note() -> None:
    whole = np.arange(12.0).reshape(4, 3)
    assert number_notes(NUMBERS, {"train": whole, "valid": whole[:1]}) == []
    zero_one = Schema((Attribute("a", ("0", "1")),))
    assert number_notes(zero_one, {"train": np.array([[0.0], [1.0]])}) == []


@pytest.mark.parametrize("missing", [False, True])
def test_a_column_without_any_value_is_constant(missing: bool) -> None:
    column = np.array([[NAN], [NAN if missing else 1.0], [2.0 if not missing else NAN]])
    notes = number_notes(Schema((Attribute("a"),)), {"train": column})
    assert ("1 of 1 column is constant in train." in notes) is missing
