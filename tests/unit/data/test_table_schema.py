from pathlib import Path

import numpy as np
import pytest

from mlc.data.schema import Attribute, Schema
from mlc.data.table_file.base import TableFile
from mlc.data.table_file.opening import open_table
from mlc.data.table_schema import OTHER, Encoder, declared_schema, found_schema
from mlc.errors import UserError


def table(folder: Path, text: str) -> TableFile:
    path = folder / "t.csv"
    path.write_text(text)
    return open_table(path)


def test_declared_columns_keep_their_order_and_values_are_sorted(tmp_path: Path) -> None:
    file = table(tmp_path, "a,b,c\n1,y,3\n2,x,\n,,3\n")
    schema, notes = declared_schema(file, numeric=["a"], nominal=["c", "b"], most=100)
    assert schema == Schema((Attribute("a"), Attribute("c", ("3",)), Attribute("b", ("x", "y"))))
    assert notes == []


def test_rare_values_become_other(tmp_path: Path) -> None:
    file = table(tmp_path, "a,z\n" + "".join(f"{value},0\n" for value in "ppqqqrst"))
    schema, notes = declared_schema(file, numeric=[], nominal=["a"], most=2)
    assert schema.attributes == (Attribute("a", (OTHER, "p", "q")),)
    assert notes == [
        "a has 5 values; the 2 most frequent ones are kept, and the others, in 3 rows, became (other)."
    ]
    encode = Encoder(schema)
    (chunk,) = file.chunks(["a"], chunk_rows=100)
    assert encode(file, chunk)[:, 0].tolist() == [1, 1, 2, 2, 2, 0, 0, 0]


def test_as_many_values_as_allowed_are_all_kept(tmp_path: Path) -> None:
    schema, notes = declared_schema(table(tmp_path, "a,z\np,0\nq,0\n"), numeric=[], nominal=["a"], most=2)
    assert (schema.attributes[0].values, notes) == (("p", "q"), [])


def test_a_category_without_values_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the category a has no value"):
        declared_schema(table(tmp_path, "a,z\n?,0\n,0\n"), numeric=[], nominal=["a"], most=2)


def test_kinds_are_found(tmp_path: Path) -> None:
    file = table(tmp_path, "n,c,e,mixed\n1,x,,1\n,y,?,1\nNaN,x,,a\n2.5,,,\n")
    schema, notes = found_schema(file, ["n", "c", "e", "mixed"], most=100)
    assert schema.attributes == (
        Attribute("n"),
        Attribute("c", ("x", "y")),
        Attribute("mixed", ("1", "a")),
    )
    assert notes == [
        "1 columns are taken as numbers: n.",
        "2 columns are taken as categories: c, mixed.",
        "1 columns without any value are left out: e.",
    ]


@pytest.mark.parametrize("n_values", [3, 5])  # more than half of the rows; more than allowed
def test_a_column_of_many_texts_is_refused(n_values: int, tmp_path: Path) -> None:
    n_rows = 5 if n_values == 3 else 20
    file = table(tmp_path, "t,z\n" + "".join(f"text {row % n_values},0\n" for row in range(n_rows)))
    with pytest.raises(UserError, match=r"the column t is neither numbers .* set dataset\.text=t"):
        found_schema(file, ["t", "z"], most=4)


def test_lists_are_no_input(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": [1]}\n{"a": [1]}\n')
    with pytest.raises(UserError, match="the column a is neither"):
        found_schema(open_table(path), ["a"], most=4)


def test_unseen_values_are_missing_and_counted(tmp_path: Path) -> None:
    encode = Encoder(Schema((Attribute("a", ("1", "2")), Attribute("n"))))
    file = table(tmp_path, "n,a\n7,2.0\n,1\n8,3\n9,\n")
    (chunk,) = file.chunks(["a", "n"], chunk_rows=100)
    nan = np.nan
    np.testing.assert_array_equal(encode(file, chunk), [[1, 7], [0, nan], [nan, 8], [nan, 9]])
    assert encode.n_unseen == 1


def test_an_unseen_value_is_other_where_there_is_that(tmp_path: Path) -> None:
    encode = Encoder(Schema((Attribute("a", (OTHER, "p")),)))
    file = table(tmp_path, "a,z\np,0\nx,0\n,0\n")
    (chunk,) = file.chunks(["a"], chunk_rows=100)
    np.testing.assert_array_equal(encode(file, chunk)[:, 0], [1, 0, np.nan])
    assert encode.n_unseen == 1
