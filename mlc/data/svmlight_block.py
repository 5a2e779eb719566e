"""Parsing lines of svmlight text: whole blocks with NumPy, and line by line where a block is not in order.

A line is "labels features # comment": labels are integers joined by commas, or nothing; features are
index:value pairs joined by spaces. `parse_block` reads some hundred lines at once and gives up on anything
unusual; `parse_lines` is slow, reads the same language and says what is wrong where. So a file in order is
read fast, and one that is not is refused with a line number.
"""

import math
import re
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mlc.data.schema import LARGEST

Ints = NDArray[np.int32]

_COLON, _COMMA, _NEWLINE, _MINUS, _PLUS, _DOT, _ZERO = b":,\n-+.0"
LARGEST_ID = 2**31 - 1
_MOST_DIGITS = 15  # as integers they are below 2^53, so exact in float64, and so are these powers of 10
_LONGEST = _MOST_DIGITS + 2  # with a sign and a dot
_POWERS = 10.0 ** np.arange(_LONGEST + 1)
_SEPARATES = np.isin(np.arange(256), list(b" \t\r\n:,"))
_ALLOWED = b"0123456789eE.+- \t\r\n:,"
_COMMENT = re.compile(rb"#[^\n]*")
_INTEGER = re.compile(rb"[+-]?[0-9]+")
_NUMBER = re.compile(rb"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class LineError(Exception):
    """Something is wrong in a line of a block.

    Args:
        line: which one, from 0.
        problem: what is wrong and what to do.
    """

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(problem)
        self.line = line


@dataclass(frozen=True)
class Limits:
    """What ids are allowed, where that is known before the file is read.

    Args:
        first: the lowest feature index; 0 where it is not known yet.
        last: the highest feature index, or None.
        n_labels: label ids are 0, ..., n_labels - 1; None where any integer names a label.
    """

    first: int = 0
    last: int | None = None
    n_labels: int | None = None


@dataclass(frozen=True)
class Block:
    """R lines as flat arrays.

    Args:
        ids_M: feature indices as they stand in the file.
        values_M: float32, their values.
        length_R: int32, features of each line.
        labels_M: label ids, none twice in a line.
        n_labels_R: int32, labels of each line.
        blank_R: lines that hold nothing, or only a comment.
        repeated: labels left out because they stand twice in their line.
        skipped: blank lines that were left out.
    """

    ids_M: Ints
    values_M: NDArray[np.float32]
    length_R: Ints
    labels_M: Ints
    n_labels_R: Ints
    blank_R: NDArray[np.bool_]
    repeated: int
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.length_R)

    def without_blank(self, these_R: NDArray[np.bool_]) -> "Block":
        """The block without these lines, which must be blank."""
        keep_R = ~these_R
        return replace(
            self,
            length_R=self.length_R[keep_R],
            n_labels_R=self.n_labels_R[keep_R],
            blank_R=self.blank_R[keep_R],
            skipped=int(these_R.sum()),
        )

    def with_ids_up_to(self, last: int) -> "Block":
        """The block without the features above an index."""
        keep_M = self.ids_M <= last
        if keep_M.all():
            return self
        bounds = np.concatenate(([0], np.cumsum(self.length_R)))
        length_R = np.diff(np.concatenate(([0], np.cumsum(keep_M)))[bounds]).astype(np.int32)
        return replace(self, ids_M=self.ids_M[keep_M], values_M=self.values_M[keep_M], length_R=length_R)


class _NotInOrderError(Exception):
    """The fast parser does not understand the block."""


def parse(text: bytes, limits: Limits) -> Block:
    """Parse lines, each ended by a newline.

    Raises:
        LineError: a line is malformed.
    """
    try:
        return parse_block(text, limits)
    except _NotInOrderError:
        return parse_lines(text, limits)


def parse_block(text: bytes, limits: Limits) -> Block:
    """Parse all lines at once.

    Raises:
        _NotInOrderError: there is something that only `parse_lines` can judge.
    """
    if b"#" in text:
        text = _COMMENT.sub(b"", text)
    _require(not text.translate(None, delete=_ALLOWED))
    chars = np.frombuffer(b"\n" + text, dtype=np.uint8)
    separates = _SEPARATES[chars]
    edges = np.flatnonzero(separates[1:] != separates[:-1]) + 1  # text starts and ends with a separator
    start_T, end_T = edges[::2], edges[1::2]
    left_T, right_T = chars[start_T - 1], chars[end_T]
    index_T, value_T = right_T == _COLON, left_T == _COLON
    label_T = ~(index_T | value_T)
    line_start_R = np.flatnonzero(chars[:-1] == _NEWLINE)

    # Every colon has a number on both sides and is the only one there; so has every comma.
    _require(index_T.sum() == value_T.sum() == text.count(b":") and not (index_T & value_T).any())
    after_comma_T, before_comma_T = left_T == _COMMA, right_T == _COMMA
    _require(after_comma_T.sum() == before_comma_T.sum() == text.count(b","))
    _require(not ((after_comma_T | before_comma_T) & ~label_T).any())
    # Labels stand first in their line.
    token_bounds_R = np.searchsorted(start_T, np.append(line_start_R, len(chars)))
    blank_R = token_bounds_R[1:] == token_bounds_R[:-1]
    first_T = np.zeros(len(start_T), dtype=np.bool_)
    first_T[token_bounds_R[:-1][~blank_R]] = True
    _require((after_comma_T | first_T)[label_T].all())

    number_T, plain_T = _numbers(chars, start_T, end_T, value_T)
    ids_M = _indices(number_T[index_T], plain_T[index_T] & (chars[start_T] >= _ZERO)[index_T], limits)
    labels_M = _label_ids(number_T[label_T], plain_T[label_T], limits)
    values_M = number_T[value_T]
    _require(bool((np.abs(values_M) <= LARGEST).all()))
    length_R = _counts(index_T, token_bounds_R)
    n_labels_R = _counts(label_T, token_bounds_R)
    _require(not _has_twice(ids_M, length_R))
    repeated = 0
    if _has_twice(labels_M, n_labels_R):
        labels_M, n_labels_R, repeated = _without_twice(labels_M, n_labels_R)
    return Block(ids_M, values_M.astype(np.float32), length_R, labels_M, n_labels_R, blank_R, repeated)


def _require(condition: bool | np.bool_) -> None:
    if not condition:
        raise _NotInOrderError


def _numbers(
    chars: NDArray[np.uint8], start_T: NDArray[np.int64], end_T: NDArray[np.int64], value_T: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The number that each token spells, and whether it is a plain integer (with or without a sign).

    Digits are gathered into an integer that float64 holds exactly and divided by an exact power of 10, so
    that the result is the nearest number, as float() has it. Other spellings of values go to float() itself.
    """
    length_T = end_T - start_T
    mantissa_T = np.zeros(len(start_T))
    digits_T = np.zeros(len(start_T), dtype=np.int8)
    dot_T = np.full(len(start_T), -1, dtype=np.int8)  # digits before the dot
    n_dots_T = np.zeros(len(start_T), dtype=np.int8)
    for place in range(min(int(length_T.max(initial=0)), _LONGEST)):
        char_T = chars[np.minimum(start_T + place, len(chars) - 1)]
        inside_T = length_T > place
        digit_T = char_T - np.uint8(_ZERO)  # what is below "0" wraps around to above 9
        is_digit_T = inside_T & (digit_T < 10)
        mantissa_T = np.where(is_digit_T, mantissa_T * 10 + digit_T, mantissa_T)
        is_dot_T = inside_T & (char_T == _DOT)
        dot_T[is_dot_T] = digits_T[is_dot_T]
        n_dots_T += is_dot_T
        digits_T += is_digit_T
    first_T = chars[start_T]
    negative_T = first_T == _MINUS
    signed_T = negative_T | (first_T == _PLUS)
    simple_T = (length_T == digits_T + n_dots_T + signed_T) & (n_dots_T <= 1)
    simple_T &= (digits_T > 0) & (digits_T <= _MOST_DIGITS)
    fraction_T = np.where(dot_T < 0, 0, digits_T - dot_T)
    number_T = np.where(negative_T, -mantissa_T, mantissa_T) / _POWERS[fraction_T]
    for token in np.flatnonzero(~simple_T & value_T):
        spelling = chars[start_T[token] : end_T[token]].tobytes()
        _require(_NUMBER.fullmatch(spelling) is not None)
        number_T[token] = float(spelling)
    return number_T, simple_T & (n_dots_T == 0)


def _indices(number_M: NDArray[np.float64], plain_M: NDArray[np.bool_], limits: Limits) -> Ints:
    last = LARGEST_ID if limits.last is None else min(limits.last, LARGEST_ID)
    _require(bool(plain_M.all()))
    _require(limits.first <= number_M.min(initial=last) and number_M.max(initial=0) <= last)
    return number_M.astype(np.int32)


def _label_ids(number_M: NDArray[np.float64], plain_M: NDArray[np.bool_], limits: Limits) -> Ints:
    low, high = (-LARGEST_ID, LARGEST_ID) if limits.n_labels is None else (0, limits.n_labels - 1)
    _require(bool(plain_M.all()))
    _require(low <= number_M.min(initial=high) and number_M.max(initial=low) <= high)
    return number_M.astype(np.int32)


def _counts(wanted_T: NDArray[np.bool_], bounds_R: NDArray[np.int64]) -> Ints:
    """How many of the tokens between each two bounds are wanted."""
    before_T = np.concatenate(([0], np.cumsum(wanted_T)))
    return np.diff(before_T[bounds_R]).astype(np.int32)


def _has_twice(ids_M: Ints, length_R: Ints) -> bool:
    """Whether a line has an id twice."""
    ends_M = np.zeros(len(ids_M) + 1, dtype=np.bool_)
    ends_M[np.cumsum(length_R)] = True  # of a line: what follows has nothing to do with it
    if ((ids_M[1:] > ids_M[:-1]) | ends_M[1:-1]).all():
        return False  # ascending, as in most files
    key_M = np.sort(_keys(ids_M, length_R))
    return bool((key_M[1:] == key_M[:-1]).any())


def _keys(ids_M: Ints, length_R: Ints) -> NDArray[np.int64]:
    """One number for each pair of a line and an id, in the order of the lines."""
    line_M = np.repeat(np.arange(len(length_R), dtype=np.int64), length_R)
    return (line_M << 32) + (ids_M.astype(np.int64) + 2**31)


def _without_twice(ids_M: Ints, length_R: Ints) -> tuple[Ints, Ints, int]:
    """The ids without those that stood in their line before, what is left of each line, and how many went."""
    key_M, first_M = np.unique(_keys(ids_M, length_R), return_index=True)
    n_R = np.bincount(key_M >> 32, minlength=len(length_R)).astype(np.int32)
    return ids_M[np.sort(first_M)], n_R, len(ids_M) - len(first_M)


def parse_lines(text: bytes, limits: Limits) -> Block:
    """Parse line by line, in the same language as `parse_block`.

    Raises:
        LineError: a line is malformed.
    """
    ids: list[int] = []
    values: list[float] = []
    labels: list[int] = []
    length, n_labels, blank, repeated = [], [], [], 0
    for number, line in enumerate(text.split(b"\n")[:-1]):
        words = _COMMENT.sub(b"", line).split()
        try:
            line_labels = _line_labels(words.pop(0), limits) if words and b":" not in words[0] else []
            pairs = dict(_pair(word, limits) for word in words)
            if len(pairs) < len(words):
                twice = Counter(_pair(word, limits)[0] for word in words).most_common(1)[0][0]
                raise ValueError(f"the index {twice} stands twice; give each index of a row once.")
        except ValueError as error:
            raise LineError(number, str(error)) from None
        distinct = dict.fromkeys(line_labels)
        repeated += len(line_labels) - len(distinct)
        labels += distinct
        n_labels.append(len(distinct))
        ids += pairs
        values += pairs.values()
        length.append(len(pairs))
        blank.append(not line_labels and not pairs)
    return Block(
        np.array(ids, dtype=np.int32),
        np.array(values, dtype=np.float64).astype(np.float32),
        np.array(length, dtype=np.int32),
        np.array(labels, dtype=np.int32),
        np.array(n_labels, dtype=np.int32),
        np.array(blank, dtype=np.bool_),
        repeated,
    )


def _line_labels(word: bytes, limits: Limits) -> list[int]:
    labels = []
    for part in word.split(b","):
        if not _INTEGER.fullmatch(part):
            raise ValueError(
                f"the label {_show(part)} is no integer; join integers by commas, without spaces."
            )
        label = _integer(part)
        if limits.n_labels is not None and not 0 <= label < limits.n_labels:
            raise ValueError(
                f"the label {label} does not fit the header, which says {limits.n_labels} labels, "
                f"so 0 to {limits.n_labels - 1}; correct the label or the header."
            )
        labels.append(label)
    return labels


def _pair(word: bytes, limits: Limits) -> tuple[int, float]:
    left, colon, right = word.partition(b":")
    if not colon:
        raise ValueError(f"{_show(word)} is no index:value pair; labels stand first, joined by commas.")
    if not left.isdigit():
        raise ValueError(f"the index in {_show(word)} is not an integer of 0 or more; write index:value.")
    index = _integer(left)
    if index < limits.first:
        raise ValueError(
            f"the index {index} is below {limits.first}, where indices start; correct it, or set zero_based."
        )
    if limits.last is not None and index > limits.last:
        raise ValueError(
            f"the index {index} is above {limits.last}, the last of {limits.last + 1 - limits.first} "
            "features; correct the index or the number of features."
        )
    if not right:
        raise ValueError(f"the value is missing after {_show(word)}; write index:value without spaces.")
    if not _NUMBER.fullmatch(right) or not math.isfinite(float(right)) or abs(float(right)) > LARGEST:
        raise ValueError(
            f"the value in {_show(word)} is not a finite number that float32 can hold; correct it or leave "
            "the pair out."
        )
    return index, float(right)


def _integer(digits: bytes) -> int:
    """The integer, which must fit 32 bits."""
    if len(digits.lstrip(b"+-0")) > 10 or abs(int(digits)) > LARGEST_ID:
        raise ValueError(f"the number {_show(digits)} is above {LARGEST_ID}; number from 0 or 1 on.")
    return int(digits)


def _show(word: bytes) -> str:
    text = word.decode("utf-8", errors="replace")
    return repr(text if len(text) <= 40 else text[:39] + "…")
