import pytest

from mlc.backbones.char_ngrams import bucket, char_ngrams, ngram_rows


def test_ngrams_by_hand() -> None:
    # Bojanowski et al. (2017), section 3.2: "where" with n = 3.
    assert list(char_ngrams("where", 3, 3)) == ["<wh", "whe", "her", "ere", "re>"]
    assert list(char_ngrams("ab", 3, 5)) == ["<ab", "ab>", "<ab>"]
    assert list(char_ngrams("ab", 1, 2)) == ["a", "b", "<a", "ab", "b>"]  # no mark alone
    assert list(char_ngrams("aaaa", 2, 2)) == ["<a", "aa", "aa", "aa", "a>"]
    assert list(char_ngrams("a", 4, 6)) == []


def test_characters_are_counted_not_bytes() -> None:
    assert list(char_ngrams("ß👍", 3, 3)) == ["<ß👍", "ß👍>"]


def crc32_by_definition(data: bytes) -> int:
    """Bit by bit, with the reversed polynomial of ISO 3309."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xEDB88320 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_the_hash_is_fixed() -> None:
    assert bucket("123456789", 2**32) == 0xCBF43926  # the check value of CRC-32
    assert bucket("123456789", 1000) == 0xCBF43926 % 1000
    assert bucket("<grö", 2**32) == crc32_by_definition("<grö".encode())


@pytest.mark.parametrize("word", ["\ud83d", "", "ab\x00"])
def test_every_text_has_a_bucket(word: str) -> None:
    assert 0 <= bucket(word, 7) < 7


def test_rows_hold_the_buckets_of_each_word() -> None:
    rows = ngram_rows([None, "where", "a", None, "ab"], (3, 4), 50)
    assert rows.length_N.tolist() == [0, 9, 1, 0, 3]
    pieces = [piece.tolist() for piece in rows.ids_M.split(rows.length_N.tolist())]
    assert pieces[2] == [bucket("<a>", 50)]
    assert pieces[4] == [bucket(ngram, 50) for ngram in ("<ab", "ab>", "<ab>")]
    assert rows.start_N.tolist() == [0, 0, 9, 10, 10]
    assert rows.width == 50


def test_no_words_are_no_rows() -> None:
    rows = ngram_rows([None, None], (3, 5), 50)
    assert rows.length_N.tolist() == [0, 0]
    assert len(rows.ids_M) == 0
