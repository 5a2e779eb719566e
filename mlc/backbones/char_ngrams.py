"""The pieces of words, by the numbers of their buckets."""

from array import array
from collections.abc import Iterator, Sequence
from zlib import crc32

import numpy as np
import torch

from mlc.rows import SparseRows


def char_ngrams(word: str, shortest: int, longest: int) -> Iterator[str]:
    """All runs of characters of `<word>` with lengths from shortest to longest; one that comes twice, twice.

    The marks tell a beginning or an ending from the inside of a word. A mark alone is no n-gram.
    """
    marked = f"<{word}>"
    for length in range(shortest, longest + 1):
        skipped = 1 if length == 1 else 0
        for start in range(skipped, len(marked) - length + 1 - skipped):
            yield marked[start : start + length]


def bucket(ngram: str, buckets: int) -> int:
    """The CRC-32 of the UTF-8 text modulo the number of buckets: the same in every process and machine."""
    return crc32(ngram.encode("utf-8", "surrogatepass")) % buckets


def ngram_rows(words: Sequence[str | None], lengths: tuple[int, int], buckets: int) -> SparseRows:
    """For each of V words the int32 buckets of its n-grams; an empty row for None."""
    ids, counts = array("i"), array("q")
    for word in words:
        before = len(ids)
        if word is not None:
            ids.extend(bucket(ngram, buckets) for ngram in char_ngrams(word, *lengths))
        counts.append(len(ids) - before)
    length_V = torch.from_numpy(np.array(counts))
    return SparseRows(
        torch.from_numpy(np.array(ids)), length_V.cumsum(0) - length_V, length_V, None, width=buckets
    )
