"""News popularity: which channel a story of Mashable is in, and how often it is shared."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import Interval
from numpy.typing import NDArray
from torch import Tensor

from mlc.batch import BatchInput
from mlc.data.dataset import Dataset
from mlc.data.examples import PART_NAMES, TRAIN, Codes, Examples
from mlc.data.new_texts import text_batch
from mlc.data.pipeline import build_dataset
from mlc.data.root import data_file, data_root
from mlc.data.schema import Attribute, Floats, Schema
from mlc.data.splitting import Splitting, split_rows
from mlc.data.table_file.base import Cell, Chunk, TableFile
from mlc.data.table_file.opening import open_table
from mlc.data.text.encoder import TextEncoder
from mlc.errors import UserError

_FOLDER = "news"
_PART, _WHOLE = "mashable_2014_09_12.csv", "OnlineNewsPopularity.csv"
_URL, _SHARES, _TITLE = "url", "shares", "title"
_ADDRESS = re.compile(r"/(\d{4})/(\d{2})/(\d{2})/([^/?#]+)/?$")

QUANTILES = {"shares_above_median": 0.5, "shares_top_25": 0.75, "shares_top_10": 0.9}
CHANNELS = {
    "channel_lifestyle": "data_channel_is_lifestyle",
    "channel_entertainment": "data_channel_is_entertainment",
    "channel_business": "data_channel_is_bus",
    "channel_social_media": "data_channel_is_socmed",
    "channel_tech": "data_channel_is_tech",
    "channel_world": "data_channel_is_world",
}


@dataclass(frozen=True)
class Stories:
    """N stories as their file has them.

    Args:
        titles: from the addresses, with spaces for hyphens.
        day_N: the date in the address, as days since 0001-01-01.
        shares_N: how often each was shared.
        channels_NC: 1 in the column of its channel, else 0.
        numbers_NA: the side inputs.
    """

    titles: list[str]
    day_N: NDArray[np.int64]
    shares_N: Floats
    channels_NC: Floats
    numbers_NA: Floats


class News:
    """The title of a story and a few numbers beside it; labels are 6 channels and 3 levels of shares.

    A story has the label shares_above_median, shares_top_25 or shares_top_10 where it was shared more often
    than the median, 75 % or 90 % quantile of the training stories. The split is by the date in the address,
    in whole days: the last days test, those before them validate, so there is no cross-validation. Thresholds
    come from the training rows alone, whatever the fractions are.

    The folder "news" of the data root has mashable_2014_09_12.csv or OnlineNewsPopularity.csv, of which the
    former is a part. The latter is downloaded where neither is there.

    Args:
        side_inputs: numeric columns that go with the title; shares and channels are refused, because they are
            what is to be predicted.
        since: first date of the stories, such as "2014-09-01"; null for all.
        until: last date of the stories; null for all.
        valid_fraction: share of the rows that do not test held out for validation, the last days of them.
        test_fraction: share of the rows held out for testing, the last days.

    Source: K. Fernandes, P. Vinagre and P. Cortez (2015), A Proactive Intelligent Decision Support System for
        Predicting the Popularity of Online News.
    """

    def __init__(
        self,
        *,
        side_inputs: list[str],
        since: str | None = "2014-09-01",
        until: str | None = "2014-12-27",
        valid_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.15,
        test_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.2,
    ) -> None:
        leaking = [name for name in side_inputs if name in {_SHARES, *CHANNELS.values()}]
        if leaking:
            raise UserError(
                f"side_inputs has {leaking[0]}, which is what the labels are made of; name other columns."
            )
        if len(set(side_inputs)) < len(side_inputs):
            raise UserError(f"side_inputs={side_inputs} has a column twice; name each once.")
        self.side_inputs = tuple(side_inputs)
        self.since = _day("since", since, otherwise=date.min)
        self.until = _day("until", until, otherwise=date.max)
        self.splitting = Splitting(valid_fraction=valid_fraction, test_fraction=test_fraction)

    def load(
        self, *, seed: int, text: TextEncoder | None = None, preparation: Mapping[str, Tensor] | None = None
    ) -> Dataset:
        """Read the file, split it by date and make the labels.

        Raises:
            UserError: the file is missing and cannot be downloaded, or is malformed; says where.
        """
        return build_dataset(
            self.examples(seed=seed),
            name="news",
            splitting=self.splitting,
            text=text,
            standardise=True,
            seed=seed,
            preparation=preparation,
        )

    def examples(self, *, seed: int) -> Examples:
        """The stories with their labels and splits; the seed changes nothing, because dates split."""
        path = data_root() / _FOLDER / _PART
        table = open_table(path if path.is_file() else data_file(_FOLDER, _WHOLE))
        stories, notes = self._read(table)
        part_N, split_notes = split_rows(
            torch.empty(len(stories.titles), 0),
            given_N=None,
            group_N=None,
            time_N=stories.day_N.astype(np.float64),
            splitting=self.splitting,
            seed=seed,
        )
        thresholds = np.quantile(stories.shares_N[part_N == TRAIN], [*QUANTILES.values()])
        above_NQ = stories.shares_N[:, None] > thresholds
        shown = ", ".join(f"{name} above {t:g}" for name, t in zip(QUANTILES, thresholds, strict=True))
        return Examples(
            label_names=(*QUANTILES, *CHANNELS),
            y_NL=torch.from_numpy(np.hstack([above_NQ, stories.channels_NC])).float(),
            text=stories.titles,
            codes=self._codes(stories.numbers_NA),
            part_N=part_N,
            notes=(
                *notes,
                *split_notes,
                _dates(stories.day_N, part_N),
                f"Quantiles of the shares of the {(part_N == TRAIN).sum()} training rows: {shown}.",
            ),
        )

    def read_inputs(
        self, path: Path, *, preparation: Mapping[str, Tensor], chunk_rows: int
    ) -> Iterator[Mapping[str, BatchInput]]:
        """Stream new stories from a table with the side inputs and a column title or url.

        A title is read as the titles of the addresses are: in lower case and without punctuation.

        Raises:
            UserError: the file is missing, malformed or lacks a column; says where.
        """
        table = open_table(path)
        column = _TITLE if _TITLE in table.names else table.find(_URL, option=f"prediction without {_TITLE}")
        sides = [table.find(name, option="dataset.side_inputs") for name in self.side_inputs]
        for chunk in table.chunks([column, *sides], chunk_rows=chunk_rows):
            if column == _TITLE:
                titles = [_as_in_addresses(str(cell or "")) for cell in chunk.cells[column]]
            else:
                titles = [title for _, title in _addresses(table, chunk, column)]
            codes = self._codes(_numbers(table, chunk, sides, gaps=True))
            yield text_batch(titles, preparation=preparation, codes=codes)

    def text_inputs(
        self, texts: Sequence[str], *, preparation: Mapping[str, Tensor]
    ) -> Mapping[str, BatchInput]:
        """The inputs of these titles as one batch; the side inputs are missing, so they count as average."""
        codes = self._codes(np.full((len(texts), len(self.side_inputs)), np.nan))
        return text_batch([_as_in_addresses(text) for text in texts], preparation=preparation, codes=codes)

    def _codes(self, numbers_NA: Floats) -> Codes | None:
        if not self.side_inputs:
            return None
        return Codes(Schema(tuple(Attribute(name) for name in self.side_inputs)), numbers_NA)

    def _read(self, table: TableFile) -> tuple[Stories, list[str]]:
        url, shares = (table.find(name, option="the news file") for name in (_URL, _SHARES))
        channels = [table.find(name, option="the news file") for name in CHANNELS.values()]
        sides = [table.find(name, option="dataset.side_inputs") for name in self.side_inputs]
        titles: list[str] = []
        days: list[int] = []
        numbers = [np.empty((0, 1 + len(channels) + len(sides)))]
        for chunk in table.chunks([url, shares, *channels, *sides], chunk_rows=4096):
            for day, title in _addresses(table, chunk, url):
                titles.append(title)
                days.append(day.toordinal())
            numbers.append(_numbers(table, chunk, [shares, *channels, *sides]))
            _check_channels(table, chunk, numbers[-1][:, 1 : 1 + len(channels)])
        day_N, numbers_NK = np.array(days, dtype=np.int64), np.concatenate(numbers)
        kept = np.flatnonzero((day_N >= self.since.toordinal()) & (day_N <= self.until.toordinal()))
        if not len(kept):
            raise UserError(
                f"{table.path} has no story from {self.since} to {self.until}; change since and until."
            )
        dropped = len(day_N) - len(kept)
        numbers_NK = numbers_NK[kept]
        return Stories(
            [titles[row] for row in kept],
            day_N[kept],
            numbers_NK[:, 0],
            numbers_NK[:, 1 : 1 + len(channels)],
            numbers_NK[:, 1 + len(channels) :],
        ), [f"{dropped} of {len(day_N)} stories are not from the dates asked for."] if dropped else []


def _dates(day_N: NDArray[np.int64], part_N: NDArray[np.int8]) -> str:
    """From when to when each split is."""
    spans = [
        f"{name} from {date.fromordinal(days.min())} to {date.fromordinal(days.max())}"
        for number, name in enumerate(PART_NAMES)
        for days in [day_N[part_N == number]]
    ]
    return f"Stories by date: {', '.join(spans)}."


def _day(option: str, given: str | None, *, otherwise: date) -> date:
    try:
        return otherwise if given is None else date.fromisoformat(given)
    except ValueError:
        raise UserError(f"{option}={given} is no date; write it like 2014-09-01.") from None


def _addresses(table: TableFile, chunk: Chunk, column: str) -> Iterator[tuple[date, str]]:
    """Date and title of each address, such as http://mashable.com/2014/09/01/the-title-of-it/."""
    for cell, place in zip(chunk.cells[column], chunk.places, strict=True):
        found = _ADDRESS.search(str(cell or "").strip())
        try:
            if found is None:
                raise ValueError
            day = date(int(found[1]), int(found[2]), int(found[3]))
        except ValueError:
            raise table.error(
                f"the address {cell!r} does not end in /year/month/day/title/.", place=place
            ) from None
        yield day, found[4].replace("-", " ")


def _as_in_addresses(title: str) -> str:
    """The title as an address would have it: "Don't panic, Zoë!" is "dont panic zoe"."""
    plain = unicodedata.normalize("NFKD", title.lower()).encode("ascii", "ignore").decode()
    return " ".join(re.findall(r"[a-z0-9]+", plain.replace("'", "")))


def _numbers(table: TableFile, chunk: Chunk, columns: Sequence[str], *, gaps: bool = False) -> Floats:
    """The cells of these columns as N×A numbers; NaN where a cell is empty, if it may be."""
    numbers_NA = np.empty((len(chunk.places), len(columns)))
    for column, name in enumerate(columns):
        for row, (cell, place) in enumerate(zip(chunk.cells[name], chunk.places, strict=True)):
            numbers_NA[row, column] = _number(table, cell, name, place, gaps)
    return numbers_NA


def _number(table: TableFile, cell: Cell, column: str, place: int, gaps: bool) -> float:
    if gaps and (cell is None or str(cell).strip() in ("", "?")):
        return float("nan")
    try:
        value = float(cell)
        if not np.isfinite(value):
            raise ValueError
    except (TypeError, ValueError):
        raise table.error(f"{cell!r} in the column {column} is not a number.", place=place) from None
    return value


def _check_channels(table: TableFile, chunk: Chunk, channels_NC: Floats) -> None:
    wrong = np.flatnonzero(~np.isin(channels_NC, (0, 1)).all(1))
    if len(wrong):
        raise table.error("a data_channel_is_... column is not 0 or 1.", place=chunk.places[wrong[0]])
