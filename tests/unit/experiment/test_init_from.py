from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mlc.data.schema import Attribute, Schema
from mlc.errors import UserError
from mlc.experiment.init_from import check_columns, keep_preparation, kept_preparation
from mlc.experiment.recipe import Recipe, read_recipe
from mlc.training.checkpoint import save_checkpoint
from tests.unit.experiment.shipped import config

COLUMNS = Schema((Attribute("age"), Attribute("town, street", ("a", "b"))))


def read(schema: Schema | None, *, text: bool = False) -> Mapping[str, Tensor]:
    """What a run that read these columns has fitted, as far as it matters here."""
    found = {} if schema is None else {"schema": schema.to_tensor()}
    return found | ({"text.kind": torch.zeros(1)} if text else {})


def recipe(folder: Path, header: str, **options: Any) -> Recipe:
    """A run from old/run on a table with these columns."""
    path = folder / "new.csv"
    path.write_text(f"{header}\n", encoding="utf-8")
    content = config(dataset="table") | {"init_from": "old/run"}
    content["dataset"] |= {"path": str(path), "labels": "tags", **options}
    return read_recipe(content)


def test_the_columns_of_the_other_run_are_said(tmp_path: Path) -> None:
    found = check_columns(recipe(tmp_path, 'tags,"town, street",pay,age'), read(COLUMNS))
    assert found == [
        "The inputs are those of old/run: the columns age, town, street.",
        "Not used, because it does not read them: the column pay.",
    ]


def test_the_same_columns_may_be_named(tmp_path: Path) -> None:
    its = recipe(
        tmp_path, 'tags,"town, street",pay,age', numbers=["age"], categories=["town, street"], text="pay"
    )
    assert check_columns(its, read(COLUMNS, text=True)) == []


@pytest.mark.parametrize("options", [{"numbers": ["pay"]}, {"numbers": ["age", "pay"]}, {"numbers": ["age"]}])
def test_other_columns_are_refused_with_the_words_for_the_right_ones(
    tmp_path: Path, options: dict[str, list[str]]
) -> None:
    its = recipe(tmp_path, 'tags,"town, street",pay,age', **options)
    named = "columns" if len(options["numbers"]) > 1 else "column"
    with pytest.raises(UserError) as refused:
        check_columns(its, read(COLUMNS))
    assert str(refused.value) == (
        "init_from=old/run reads the columns age, town, street as numbers and categories, and this run names "
        f"the {named} {', '.join(options['numbers'])}: give dataset.numbers=[age] "
        "dataset.categories=['town, street']"
    )


def test_numbers_beside_a_text_that_was_alone(tmp_path: Path) -> None:
    its = recipe(tmp_path, "tags,title,age", text="title", numbers=["age"])
    with pytest.raises(
        UserError, match=r"reads no column as .*leave dataset\.numbers and .*categories away$"
    ):
        check_columns(its, read(None, text=True))


def test_a_column_that_has_another_name(tmp_path: Path) -> None:
    its = recipe(tmp_path, 'tags,"town, street",years')
    with pytest.raises(
        UserError, match=r"new\.csv has no column age, which init_from=old/run reads: give col"
    ):
        check_columns(its, read(COLUMNS))


def test_texts_and_no_texts(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"^init_from=old/run reads a text: name its column in dataset\.text$"
    ):
        check_columns(recipe(tmp_path, "tags,age"), read(COLUMNS, text=True))
    with pytest.raises(UserError, match=r"^init_from=old/run reads no text: leave dataset\.text away$"):
        check_columns(recipe(tmp_path, "tags,title", text="title"), read(COLUMNS))


def test_other_data_have_no_columns() -> None:
    assert check_columns(read_recipe(config(dataset="yeast")), read(COLUMNS)) == []


def test_the_preparation_is_kept(tmp_path: Path) -> None:
    assert kept_preparation(tmp_path) is None
    keep_preparation(tmp_path, {"mean": torch.arange(3.0)})
    found = kept_preparation(tmp_path)
    assert found is not None
    assert torch.equal(found["mean"], torch.arange(3.0))


@pytest.mark.parametrize("content", [{}, {"preparation": [1]}, {"preparation": {"mean": 1.0}}])
def test_another_file_in_its_place_is_refused(tmp_path: Path, content: dict[str, Any]) -> None:
    save_checkpoint(tmp_path / "preparation.safetensors", content)
    with pytest.raises(UserError, match=r"preparation\.safetensors is refused"):
        kept_preparation(tmp_path)
