from pathlib import Path

import numpy as np
import pytest

from mlc.data.schema import Attribute, Schema
from mlc.data.table_file.opening import open_table
from mlc.data.table_input_columns import InputReader, Pictures
from mlc.data.table_schema import KnownValues

SCHEMA = Schema((Attribute("n"), Attribute("c", ("x", "y"))))
NO_PICTURES = Pictures(folder=None, size=None, colour="grey")


def reader(folder: Path, *, text: str | None, schema: Schema) -> InputReader:
    path = folder / "t.csv"
    path.write_text("c,t,n\ny,one,1\nz,,2\n,three,?\n")
    table = open_table(path)
    found = InputReader(table, KnownValues(schema), text=text, picture=None, pictures=NO_PICTURES)
    for chunk in table.chunks(found.columns, chunk_rows=2):
        found.add(chunk)
    return found


def test_inputs_are_taken_once_and_repairs_counted_on(tmp_path: Path) -> None:
    found = reader(tmp_path, text="t", schema=SCHEMA)
    assert found.columns == ["t", "n", "c"]
    inputs = found.take(keep_pictures=False)
    assert inputs.keys() == {"text", "codes"}
    assert inputs["text"] == ["one", "", "three"]
    nan = np.nan
    np.testing.assert_array_equal(inputs["codes"].codes_NA, [[1, 1], [2, nan], [nan, nan]])
    assert inputs["codes"].schema == SCHEMA
    counted = [
        "1 row has no text in t, which is read as empty.",
        "1 value of categories is not known from training, and read as missing, or as (other) where there is "
        "that value.",
    ]
    assert found.repairs(imputed=False) == counted
    assert found.repairs(imputed=True) == [*counted, "3 missing values were imputed with the training mean."]
    for chunk in open_table(tmp_path / "t.csv").chunks(found.columns, chunk_rows=9):
        found.add(chunk)
    assert found.take(keep_pictures=False)["text"] == ["one", "", "three"]  # not those of before
    assert found.repairs(imputed=True)[-1].startswith("6 missing values")


@pytest.mark.parametrize(("text", "schema", "keys"), [("t", Schema(()), {"text"}), (None, SCHEMA, {"codes"})])
def test_only_what_is_asked_for_is_read(
    text: str | None, schema: Schema, keys: set[str], tmp_path: Path
) -> None:
    assert reader(tmp_path, text=text, schema=schema).take(keep_pictures=False).keys() == keys
