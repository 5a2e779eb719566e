"""Rows that occur more than once, in train or, worse, in train and in the rows that are tested on."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from mlc.data.examples import Examples
from mlc.data.notes import counted
from mlc.data.picture_rows import PictureRows
from mlc.data.schema import Floats
from mlc.rows import SparseRows

Keys = NDArray[np.uint64]
_CHUNK_ROWS = 4096
_ROWS_OF = {"train": "training", "valid": "validation", "test": "test"}


def leak_notes(parts: Mapping[str, Examples]) -> list[str]:
    """Count the rows that have the same inputs as another row of train or of another split.

    Rows are the same when all their inputs are: texts but for case and blanks, numbers and pictures to the
    last bit. They are compared by hashes of 64 bits, so that two different rows among a million are taken for
    the same once in tens of millions of data sets. Rows that are nothing but a picture of one colour are not
    compared: a blank picture tells of no other.

    Args:
        parts: the rows of "train", "valid" and "test".

    Returns:
        A sentence for each pair of splits with rows in common, and one for train itself.
    """
    keys = {part: row_keys(examples) for part, examples in parts.items()}
    tells = {part: ~_blank(examples) for part, examples in parts.items()}
    known = {part: np.sort(keys[part][tells[part]]) for part in ("train", "valid")}
    notes = []
    n_repeated = np.count_nonzero(known["train"][1:] == known["train"][:-1])
    if n_repeated:
        of_all = counted(len(keys["train"]), "training row")
        notes.append(
            f"{n_repeated} of {of_all} repeat{'s' if n_repeated == 1 else ''} the inputs of another."
        )
    for part, other in (("valid", "train"), ("test", "train"), ("test", "valid")):
        rows = np.flatnonzero(tells[part] & _found(keys[part], known[other]))
        if len(rows):
            of_all = counted(len(keys[part]), f"{_ROWS_OF[part]} row")
            notes.append(
                f"{len(rows)} of {of_all} {'has' if len(rows) == 1 else 'have'} the same inputs as a "
                f"{_ROWS_OF[other]} row (the first is {_which(parts[part], part, int(rows[0]))})."
            )
    return notes


def _blank(examples: Examples) -> NDArray[np.bool_]:
    """Which rows are nothing but a picture of one colour."""
    blank_N = np.zeros(len(examples), dtype=np.bool_)
    others = (examples.text, examples.sparse, examples.codes)
    if examples.pictures is not None and all(other is None for other in others):
        for row, pixels in enumerate(_pixels(examples.pictures)):
            blank_N[row] = all(plane.count(plane[:1]) == len(plane) for plane in pixels)
    return blank_N


def row_keys(examples: Examples) -> Keys:
    """A number for each row, the same for rows with the same inputs (in this process)."""
    keys = np.zeros(len(examples), dtype=np.uint64)
    if examples.text is not None:
        keys = _mixed(keys + _hashes(" ".join(text.split()).casefold() for text in examples.text))
    if examples.pictures is not None:
        keys = _mixed(keys + _hashes(b"".join(planes) for planes in _pixels(examples.pictures)))
    if examples.sparse is not None:
        keys = _mixed(keys + _sparse_keys(examples.sparse))
    if examples.codes is not None:
        keys = _mixed(keys + _number_keys(examples.codes.codes_NA))
    return keys


def _hashes(values: Iterable[str | bytes]) -> Keys:
    return np.fromiter((hash(value) for value in values), dtype=np.int64).view(np.uint64)


def _pixels(pictures: PictureRows) -> Iterator[list[bytes]]:
    """The pixels of each row, channel by channel."""
    for row in pictures.rows_N:
        yield [plane.tobytes() for plane in pictures.pixels_MCHW[row].numpy()]


def _sparse_keys(rows: SparseRows) -> Keys:
    """Of each row the sum over its entries of a number that stands for column and value."""
    keys = np.zeros(len(rows), dtype=np.uint64)
    for start in range(0, len(rows), _CHUNK_ROWS):
        chunk = rows[torch.arange(start, min(start + _CHUNK_ROWS, len(rows)))]
        values = (chunk.numbers() + 0.0).numpy().view(np.uint32)  # adding 0 makes 0 of -0
        entries = _mixed(chunk.ids_M.numpy().astype(np.uint64) << np.uint64(32) | values)
        sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(entries, dtype=np.uint64)])
        starts, lengths = chunk.start_N.numpy(), chunk.length_N.numpy()
        keys[start : start + len(chunk)] = sums[starts + lengths] - sums[starts]
    return keys


def _number_keys(codes_NA: Floats) -> Keys:
    """Of each row the sum over its columns of a number that stands for column and value."""
    column_A = _mixed(np.arange(1, codes_NA.shape[1] + 1, dtype=np.uint64))
    keys = np.zeros(len(codes_NA), dtype=np.uint64)
    for start in range(0, len(codes_NA), _CHUNK_ROWS):
        chunk_BA = codes_NA[start : start + _CHUNK_ROWS] + 0.0
        chunk_BA[np.isnan(chunk_BA)] = np.nan  # of which there are many in bits
        keys[start : start + _CHUNK_ROWS] = _mixed(chunk_BA.view(np.uint64) + column_A).sum(axis=1)
    return keys


def _mixed(keys: Keys) -> Keys:
    """Spread every bit over all others, so that sums of keys meet by chance only.

    Source: Steele, Lea and Flood (2014), Fast Splittable Pseudorandom Number Generators: splitmix64.
    """
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))


def _found(keys: Keys, known: Keys) -> NDArray[np.bool_]:
    """Which keys are among the known ones, which are sorted."""
    if not len(known):
        return np.zeros(len(keys), dtype=bool)
    nearest = np.searchsorted(known, keys).clip(max=len(known) - 1)
    found: NDArray[np.bool_] = known[nearest] == keys
    return found


def _which(examples: Examples, part: str, row: int) -> str:
    """A row as a reader can find it."""
    if examples.text is None:
        return f"row {row + 1} of {part}"
    line = " ".join(examples.text[row].split())
    return f"“{line if len(line) <= 60 else f'{line[:59]}…'}”"
