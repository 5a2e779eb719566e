"""Damaged tables end in a sentence, or in a data set that has every row and says what was repaired."""

import csv
import datetime
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from mlc.data.dataset import Dataset
from mlc.data.table import Table
from mlc.data.text.words import Words
from mlc.errors import UserError

ROWS = [
    {
        "Titel": f'Köchin, "{row}" m/w',
        "Größe": str(row * 1.5) if row % 5 else "",
        "art": "xyz"[row % 3],
        "tags": ["", "Küche", "Küche|IT", "IT"][row % 4],
    }
    for row in range(24)
]
PIECES = [
    b'"',
    b",",
    b"\t",
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"\0",
    b"\xff",
    b"\xe4",
    b"{",
    b"}",
    b"[",
    b":",
    b"\\",
]
PIECES += [
    b"\\ud800",
    b"null",
    b"nan",
    b"1e999",
    b"9" * 5000,
    b"?",
    b"|?",
    b"Titel,",
    b"x" * 140_000,
    b"\xef\xbb\xbf",
]
ENCODINGS = ["utf-16", "utf-16-le", "latin-1", "utf-32", "utf-8-sig"]


def good(kind: str) -> str:
    if kind == "jsonl":
        typed = [
            {**row, "Größe": float(row["Größe"] or "nan"), "tags": row["tags"].split("|")} for row in ROWS
        ]
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in typed)
    separator = "\t" if kind == "tsv" else ","
    quoted = [
        ['"' + cell.replace('"', '""') + '"' for cell in row]
        for row in ([*ROWS[0]], *(r.values() for r in ROWS))
    ]
    return "".join(separator.join(row) + "\r\n" for row in quoted)


def cut(data: bytes, at: int, _: int) -> bytes:
    return data[:at]


def flip(data: bytes, at: int, number: int) -> bytes:
    return data[:at] + bytes([data[at] ^ (1 << number % 8)]) + data[at + 1 :] if at < len(data) else data


def insert(data: bytes, at: int, number: int) -> bytes:
    return data[:at] + PIECES[number % len(PIECES)] + data[at:]


def drop(data: bytes, at: int, number: int) -> bytes:
    """Without the next quote, delimiter, brace or line end."""
    sign = [b'"', b",", b"\t", b"\n", b"\r", b"}", b"|", b"]"][number % 8]
    place = data.find(sign, at)
    return data if place < 0 else data[:place] + data[place + 1 :]


def double(data: bytes, at: int, _: int) -> bytes:
    """A line stands twice; above all the header, or a column name in it."""
    lines = data.splitlines(keepends=True)
    place = at % (len(lines) or 1)
    return b"".join([*lines[: place + 1], *lines[place : place + 1], *lines[place + 1 :]])


def rename(data: bytes, at: int, number: int) -> bytes:
    names = [name.encode() for name in ROWS[0]]
    return data.replace(names[at % len(names)], names[number % len(names)], 1)


def recode(data: bytes, _: int, number: int) -> bytes:
    return data.decode("utf-8", "ignore").encode(ENCODINGS[number % len(ENCODINGS)], "ignore")


def empty(_: bytes, __: int, number: int) -> bytes:
    return [b"", b"\n", b" ", b"\xef\xbb\xbf", b"\0", b'"', b"{}", b"[]"][number % 8]


DAMAGES: list[Callable[[bytes, int, int], bytes]] = [cut, flip, insert, drop, double, rename, recode, empty]
DAMAGE = st.tuples(st.sampled_from(DAMAGES), st.integers(0, 2500), st.integers(0, 1000))


def load(path: Path) -> Dataset:
    source = Table(
        path=str(path),
        text="Titel",
        numbers=["Größe"],
        categories=["art"],
        labels="tags",
        valid_fraction=0.25,
        test_fraction=0.25,
    )
    return source.load(seed=0, text=Words(min_count=1))


def count_rows(path: Path) -> tuple[int, int, int]:
    """The rows of a file, the blank lines before one of them, and the rows whose cells are all blank.

    Counted by the standard library alone.
    """
    text = path.read_bytes().decode("utf-8-sig")
    if path.suffix == ".jsonl":
        rows = [[line] for line in text.split("\n")]
    else:
        lines = text.splitlines(keepends=True) if "\x0b" not in text and "\x0c" not in text else [text]
        rows = list(csv.reader(lines, delimiter="\t" if path.suffix == ".tsv" else ","))
    filled = [bool("".join(row).strip()) for row in rows]
    hollow = [len(row) > 1 and not full for row, full in zip(rows, filled, strict=True)]
    until_last = len(filled) - filled[::-1].index(True)
    n_blank = filled[:until_last].count(False) - hollow[:until_last].count(True)
    return filled.count(True) - (path.suffix != ".jsonl"), n_blank, hollow.count(True)


@settings(
    max_examples=200,
    deadline=datetime.timedelta(seconds=5),
    derandomize=True,
    database=None,
)
@given(kind=st.sampled_from(["csv", "tsv", "jsonl"]), damages=st.lists(DAMAGE, min_size=1, max_size=3))
@example(kind="csv", damages=[(insert, 400, PIECES.index(b"\n\n"))])
@example(kind="csv", damages=[(insert, 10**6, PIECES.index(b","))] * 3)
def test_a_damaged_table_is_refused_with_a_sentence_or_read_whole(
    kind: str, damages: list[tuple[Callable[[bytes, int, int], bytes], int, int]]
) -> None:
    data = good(kind).encode()
    for damage, at, number in damages:
        data = damage(data, min(at, len(data)), number)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"ads.{kind}"
        path.write_bytes(data)
        try:
            dataset = load(path)
        except UserError as error:
            message = str(error)
            event("refused")
            assert "\n" not in message
            assert len(message) < 500
            assert str(path) in message or "every split needs one" in message
        else:
            event("read")
            n_rows, n_blank, n_hollow = count_rows(path)
            assert len(dataset.train) + len(dataset.valid) + len(dataset.test) == n_rows
            gaps = [note for note in dataset.notes if note.endswith("skipped.")]
            said = [int(note.partition(" ")[0]) for note in gaps]
            assert said == [number for number in (n_blank, n_hollow) if number]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_the_whole_table_is_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"ads.{kind}"
    path.write_bytes(good(kind).encode())
    dataset = load(path)
    assert len(dataset.train) + len(dataset.valid) + len(dataset.test) == len(ROWS) == count_rows(path)[0]
    assert dataset.label_names == ("IT", "Küche")
