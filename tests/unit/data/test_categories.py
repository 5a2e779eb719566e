import numpy as np
import pytest

from mlc.data.categories import OTHER, fit_schema, recoded, spellings, unseen_note
from mlc.data.examples import Codes
from mlc.data.schema import Attribute, Schema

NAN = float("nan")


def column(cells: str, *, most: int | None = 100, values: str = "tsrqp") -> Codes:
    """A category with these one-letter values; a blank is missing."""
    codes_N = [NAN if cell == " " else values.index(cell) for cell in cells]
    return Codes(Schema((Attribute("a", tuple(values)),)), np.array(codes_N)[:, None], most)


def test_a_category_has_the_values_of_the_training_rows_sorted() -> None:
    numbers = Codes(Schema((Attribute("n"),)), np.array([[1.0]]), 100)
    assert fit_schema(numbers) == (numbers.schema, [])
    assert fit_schema(column("s q q")) == (Schema((Attribute("a", ("q", "s")),)), [])


def test_declared_values_stay() -> None:
    train = column("s q q", most=None)
    assert fit_schema(train) == (train.schema, [])


def test_rare_values_become_other() -> None:
    schema, notes = fit_schema(column("ppqqqrst", most=2))
    assert schema.attributes == (Attribute("a", (OTHER, "p", "q")),)
    assert notes == [
        "a has 5 values in the training rows; the 2 most frequent ones are kept, and the others, in 3 rows, "
        "became (other)."
    ]
    assert recoded(column("ppqqqrst "), schema)[0].codes_NA[:-1, 0].tolist() == [1, 1, 2, 2, 2, 0, 0, 0]
    assert fit_schema(column("ppqqrr", most=2))[0].attributes[0].values == (
        OTHER,
        "p",
        "q",
    )  # by name at a tie


def test_as_many_values_as_allowed_are_all_kept() -> None:
    schema, notes = fit_schema(column("pq", most=2))
    assert (schema.attributes[0].values, notes) == (("p", "q"), [])


def test_a_category_without_a_value_in_train_is_left_out() -> None:
    both = Schema((Attribute("n"), Attribute("a", ("x",))))
    schema, notes = fit_schema(Codes(both, np.array([[1.0, NAN]]), 100))
    assert schema == Schema((Attribute("n"),))
    assert notes == ["1 category without a value in the training rows is left out: a."]
    codes, n_unseen = recoded(Codes(both, np.array([[1.0, 0], [2.0, NAN]]), 100), schema)
    assert (codes.codes_NA.tolist(), n_unseen) == ([[1], [2]], 0)


@pytest.mark.parametrize(("known", "expected"), [(("p", "q"), NAN), ((OTHER, "p", "q"), 0)])
def test_other_values_are_missing_or_other_and_counted(known: tuple[str, ...], expected: float) -> None:
    schema = Schema((Attribute("a", known),))
    codes, n_unseen = recoded(column("p tq"), schema)
    p, q = known.index("p"), known.index("q")
    np.testing.assert_array_equal(codes.codes_NA[:, 0], [p, NAN, expected, q])
    assert (codes.schema, codes.most, n_unseen) == (schema, None, 1)


def test_the_same_schema_changes_nothing() -> None:
    codes = column("pq")
    assert recoded(codes, codes.schema) == (codes, 0)


def test_a_whole_number_has_two_spellings_unless_both_are_values() -> None:
    def of(*values: str) -> dict[str, float]:
        return dict(spellings(Attribute("a", values)))

    assert of("1.0", "-2", "x") == {"1.0": 0, "1": 0, "-2": 1, "-2.0": 1, "x": 2}
    assert of("1", "1.0", "1.5") == {"1": 0, "1.0": 1, "1.5": 2}


def test_the_note_counts() -> None:
    assert unseen_note(1, "test").startswith("1 test value of categories is not known from training")
    assert unseen_note(2).startswith("2 values of categories are not known")
