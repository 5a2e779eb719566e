from pathlib import Path

import numpy as np
import pytest

from mlc.data.categories import OTHER
from mlc.data.examples import Codes
from mlc.data.schema import Attribute, Schema
from mlc.data.table_file.base import TableFile
from mlc.data.table_file.opening import open_table
from mlc.data.table_schema import CellCoder, KnownValues, NewValues, declared_kinds, found_kinds
from mlc.errors import UserError


def table(folder: Path, text: str) -> TableFile:
    path = folder / "t.csv"
    path.write_text(text)
    return open_table(path)


def coded(file: TableFile, coder: CellCoder, *, chunk_rows: int = 100) -> Codes:
    chunks = file.chunks([*coder.kinds], chunk_rows=chunk_rows)
    return coder.finish(file, np.concatenate([coder(file, chunk) for chunk in chunks]))


@pytest.mark.parametrize("chunk_rows", [1, 100])
def test_declared_columns_keep_their_order_and_values_come_from_the_cells(
    chunk_rows: int, tmp_path: Path
) -> None:
    file = table(tmp_path, "a,b,c\n1,y,3\n2,x,\n,,3\n,y,\n")
    kinds = declared_kinds(numeric=["a"], nominal=["c", "b"])
    codes = coded(file, NewValues(kinds, most=7), chunk_rows=chunk_rows)
    assert codes.schema == Schema((Attribute("a"), Attribute("c", ("3",)), Attribute("b", ("y", "x"))))
    assert codes.most == 7
    nan = np.nan
    np.testing.assert_array_equal(codes.codes_NA, [[1, 0, 0], [2, nan, 1], [nan, 0, nan], [nan, nan, 0]])


def test_a_category_without_values_is_refused(tmp_path: Path) -> None:
    kinds = declared_kinds(numeric=[], nominal=["a"])
    with pytest.raises(UserError, match="the category a has no value"):
        coded(table(tmp_path, "a,z\n?,0\n,0\n"), NewValues(kinds, most=2))


def test_kinds_are_found(tmp_path: Path) -> None:
    file = table(tmp_path, "n,c,e,mixed\n1,x,,1\n,y,?,1\nNaN,x,,a\n2.5,,,\n")
    kinds, notes = found_kinds(file, ["n", "c", "e", "mixed"], most=100)
    assert list(kinds.items()) == [("n", "number"), ("c", "category"), ("mixed", "category")]
    assert notes == [
        "1 column is taken as numbers: n.",
        "2 columns are taken as categories: c, mixed.",
        "1 column without any value is left out: e.",
    ]


def test_none_is_a_value_among_values_and_missing_among_numbers(tmp_path: Path) -> None:
    file = table(tmp_path, "garage,size,e\n" + "none,none,none\nbuilt,1,na\n" * 3)
    kinds, notes = found_kinds(file, file.names, most=100)
    assert kinds == {"garage": "category", "size": "number"}
    assert notes[-1] == "1 column without any value is left out: e."
    codes = coded(file, NewValues(kinds, most=100))
    assert codes.schema.attributes[0].values == ("none", "built")
    np.testing.assert_array_equal(codes.codes_NA[:2], [[0, np.nan], [1, 1]])


@pytest.mark.parametrize("n_values", [3, 5])  # more than half of the rows; more than allowed
def test_a_column_of_many_texts_is_refused(n_values: int, tmp_path: Path) -> None:
    n_rows = 5 if n_values == 3 else 20
    file = table(tmp_path, "t,z\n" + "".join(f"text {row % n_values},0\n" for row in range(n_rows)))
    with pytest.raises(UserError, match=r"the column t is neither numbers .* set dataset\.text=t"):
        found_kinds(file, ["t", "z"], most=4)


def test_lists_are_no_input(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": [1]}\n{"a": [1]}\n')
    with pytest.raises(UserError, match="the column a is neither"):
        found_kinds(open_table(path), ["a"], most=4)


def test_unseen_values_are_missing_and_counted(tmp_path: Path) -> None:
    schema = Schema((Attribute("a", ("1", "2.0")), Attribute("n")))
    coder = KnownValues(schema)
    codes = coded(table(tmp_path, "n,a\n7,2\n,1.0\n8,3\n9,\n"), coder)
    nan = np.nan
    np.testing.assert_array_equal(codes.codes_NA, [[1, 7], [0, nan], [nan, 8], [nan, 9]])
    assert (codes.schema, codes.most, coder.n_unseen) == (schema, None, 1)


def test_an_unseen_value_is_other_where_there_is_that(tmp_path: Path) -> None:
    coder = KnownValues(Schema((Attribute("a", (OTHER, "p")),)))
    codes = coded(table(tmp_path, "a,z\np,0\nx,0\n,0\n"), coder)
    np.testing.assert_array_equal(codes.codes_NA[:, 0], [1, 0, np.nan])
    assert coder.n_unseen == 1
