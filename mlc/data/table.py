"""Your own table as a data set: a CSV, TSV, JSON lines or Parquet file with labels."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Interval, Len, MinLen
from torch import Tensor

from mlc.batch import BatchInput
from mlc.data.dataset import Dataset
from mlc.data.examples import Codes, Examples
from mlc.data.new_texts import text_batch
from mlc.data.notes import counted
from mlc.data.pipeline import build_dataset
from mlc.data.preparation import as_batch, prepare_inputs
from mlc.data.schema import Schema
from mlc.data.splitting import Splitting
from mlc.data.table_file.base import TableFile
from mlc.data.table_file.opening import open_table
from mlc.data.table_input_columns import InputReader, Pictures
from mlc.data.table_roles import TableRoles
from mlc.data.table_rows import RowReader
from mlc.data.table_schema import CellCoder, Kinds, KnownValues, NewValues, declared_kinds, found_kinds
from mlc.data.text.encoder import TextEncoder
from mlc.errors import UserError
from mlc.paths import home_path

_CHUNK_ROWS = 4096
_log = logging.getLogger(__name__)

Share = Annotated[float, Interval(gt=0, lt=1)]


class Table:
    """Rows of a table: a text, a picture, numbers and categories, in any combination, and labels.

    Inputs are named by `text`, `picture`, `numbers` and `categories`. Where none of them is, every column
    without another role is an input: numeric if all its values are numbers, else a category if its values are
    few and recur. Missing numbers and categories are imputed with the training mean, a missing text is empty;
    all are counted. The values of a category are those of the training rows. A cell that is empty, ?, NaN,
    N/A or null is missing; NA and none are missing numbers, but values of a category.

    An empty cell of a column that lists labels is the empty set, and ?, NaN or null says that the labels of
    the row are unknown. In a 0/1 column ?, NaN, null or an empty cell is unknown.

    Args:
        path: the file (.csv, .tsv, .jsonl, .parquet), from the working directory. Text is UTF-8.
        name: short name of the data set; null for the name of the file.
        labels: the column that lists the labels of a row, as a delimited text or as a list; or a list of 0/1
            columns.
        label_delimiter: what separates labels in a text; null finds out which of | ; , does, and says so.
        auxiliary_labels: labels for an auxiliary head with targets of its own, given like labels; or null.
        text: the column of texts, or null.
        picture: the column of paths of image files, or null.
        picture_folder: where their paths start; null for the folder of the table.
        picture_size: height and width that pictures are resized to; null where all have the same size.
        picture_colour: grey or rgb.
        numbers: columns of numbers.
        categories: columns of categories; a number may be a category.
        max_categories: a category keeps this many values, the most frequent ones in train; the rest become
            "(other)".
        split: the column that says train, valid or test; null holds rows out.
        group: rows with the same value in this column stay in one split; null where rows are independent.
        time: the column with the time of a row, a number or an ISO date: the latest rows are tested on.
        weight: the column with the weight of a row, 0 or more; null where all weigh the same.
        valid_fraction: share of the rows held out for validation, where `split` brings none.
        test_fraction: share of the rows held out for testing, where `split` brings none.
        split_by: labels keeps the share of every label in each part; random does not look at them.
        folds: number of folds of a cross-validation, in place of `split`; or null.
        fold: the fold that is tested on, from 0.
        standardise: give every numeric column the mean 0 and the standard deviation 1.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        name: str | None = None,
        labels: str | Annotated[list[str], MinLen(1)] | None = None,
        label_delimiter: Annotated[str, MinLen(1)] | None = None,
        auxiliary_labels: str | Annotated[list[str], MinLen(1)] | None = None,
        text: str | None = None,
        picture: str | None = None,
        picture_folder: str | None = None,
        picture_size: Annotated[list[Annotated[int, Gt(0)]], Len(2, 2)] | None = None,
        picture_colour: Literal["grey", "rgb"] = "rgb",
        numbers: list[str] | None = None,
        categories: list[str] | None = None,
        max_categories: Annotated[int, Ge(2)] = 100,
        split: str | None = None,
        group: str | None = None,
        time: str | None = None,
        weight: str | None = None,
        valid_fraction: Share = 0.15,
        test_fraction: Share = 0.2,
        split_by: Literal["labels", "random"] = "labels",
        folds: Annotated[int, Ge(2)] | None = None,
        fold: Annotated[int, Ge(0)] = 0,
        standardise: bool = True,
    ) -> None:
        self.path = path
        self.name = name
        self.label_delimiter = label_delimiter
        self.max_categories = max_categories
        self.standardise = standardise
        self.pictures = Pictures(folder=picture_folder, size=picture_size, colour=picture_colour)
        self.splitting = Splitting(
            valid_fraction=valid_fraction, test_fraction=test_fraction, by=split_by, folds=folds, fold=fold
        )
        self.roles = TableRoles(
            text=text,
            picture=picture,
            numbers=tuple(numbers or ()),
            categories=tuple(categories or ()),
            labels=labels if isinstance(labels, str) else tuple(labels or ()),
            auxiliary_labels=tuple(auxiliary_labels)
            if isinstance(auxiliary_labels, list)
            else auxiliary_labels,
            split=split,
            group=group,
            time=time,
            weight=weight,
        )

    def load(
        self, *, seed: int, text: TextEncoder | None = None, preparation: Mapping[str, Tensor] | None = None
    ) -> Dataset:
        """Read the table, split its rows and prepare them.

        Raises:
            UserError: the file is missing or malformed, a column is not there, or a cell is not what its
                column needs; says the line.
        """
        if self.path is None:
            raise UserError("dataset.path is not set: name your table, as in dataset.path=ads.csv")
        if not self.roles.labels:
            raise UserError(
                "dataset.labels is not set: name the column with the labels, as in dataset.labels=tags"
            )
        table = open_table(home_path(self.path))
        return build_dataset(
            self._read(
                table, preparation
            ),  # a call, so that no name here holds the rows while they are split
            name=self.name or table.path.stem,
            splitting=self.splitting,
            text=text,
            standardise=self.standardise,
            seed=seed,
            preparation=preparation,
        )

    def read_inputs(
        self, path: Path, *, preparation: Mapping[str, Tensor], chunk_rows: int
    ) -> Iterator[Mapping[str, BatchInput]]:
        """Stream new rows from a file of any of the four kinds; it needs the input columns only.

        Raises:
            UserError: the file is malformed or lacks a column; says the line.
        """
        table = open_table(path)
        roles = self.roles
        schema = _stored_schema(preparation)
        text = None if roles.text is None else table.find(roles.text, option="dataset.text")
        picture = None if roles.picture is None else table.find(roles.picture, option="dataset.picture")
        for attribute in schema.attributes:
            table.find(attribute.name, option="the trained run")
        coder = KnownValues(schema)
        inputs = InputReader(table, coder, text=text, picture=picture, pictures=self.pictures)
        for chunk in table.chunks(inputs.columns, chunk_rows=chunk_rows):
            inputs.add(chunk)
            examples = Examples(
                label_names=(), y_NL=torch.zeros(len(chunk.places), 0), **inputs.take(keep_pictures=False)
            )
            yield as_batch(prepare_inputs(examples, preparation))
        for note in (*table.notes, *inputs.repairs(imputed=True), *table.gap_notes()):
            _log.warning("%s: %s", path, note)

    def text_inputs(
        self, texts: Sequence[str], *, preparation: Mapping[str, Tensor]
    ) -> Mapping[str, BatchInput]:
        """The inputs of these texts as one batch; the columns beside the text are missing.

        Raises:
            UserError: the model does not read texts, or also needs pictures.
        """
        if self.roles.text is None or self.roles.picture is not None:
            raise UserError(
                "the run was not trained on texts alone, with or without numbers beside them: give the rows "
                "in a file with input=<file>"
            )
        schema = _stored_schema(preparation)
        if not schema.attributes:
            return text_batch(texts, preparation=preparation)
        beside = counted(len(schema.attributes), "column beside the text is", "columns beside the text are")
        _log.warning("%s taken as missing.", beside)
        codes_BA = torch.full((len(texts), len(schema.attributes)), torch.nan, dtype=torch.float64).numpy()
        return text_batch(texts, preparation=preparation, codes=Codes(schema, codes_BA))

    def _read(self, table: TableFile, preparation: Mapping[str, Tensor] | None) -> Examples:
        """All rows."""
        roles = self.roles.in_file(table)
        coder, notes = self._coder(table, roles, preparation)
        inputs = InputReader(table, coder, text=roles.text, picture=roles.picture, pictures=self.pictures)
        rows = RowReader(table, roles, inputs, delimiter=self.label_delimiter)
        for chunk in table.chunks(rows.columns, chunk_rows=_CHUNK_ROWS):
            rows.add(chunk)
        examples = rows.finish()
        unused = roles.unused_note(table) if roles.names_inputs else []
        return replace(examples, notes=(*table.notes, *unused, *notes, *examples.notes))

    def _coder(
        self, table: TableFile, roles: TableRoles, preparation: Mapping[str, Tensor] | None
    ) -> tuple[CellCoder, list[str]]:
        """What codes the numeric and nominal columns: as the preparation does, if there is one."""
        if preparation is not None:
            schema = _stored_schema(preparation)
            for attribute in schema.attributes:
                table.find(attribute.name, option="the run that prepares the rows")
            return KnownValues(schema), []
        notes: list[str] = []
        kinds: Kinds = {}
        if roles.names_inputs:
            kinds = declared_kinds(numeric=roles.numbers, nominal=roles.categories)
        elif free := roles.free(table):
            kinds, notes = found_kinds(table, free, most=self.max_categories)
        if not (kinds or roles.names_inputs):
            raise UserError(
                f"{table.path}: no column is left to learn from; it has {', '.join(table.names[:10])}."
            )
        return NewValues(kinds, most=self.max_categories), notes


def _stored_schema(preparation: Mapping[str, Tensor]) -> Schema:
    return Schema.from_tensor(preparation["schema"]) if "schema" in preparation else Schema(())
