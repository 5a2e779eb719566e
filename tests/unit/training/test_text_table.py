from mlc.training.text_table import align, shorten


def test_columns_are_in_line() -> None:
    assert (
        align([["", "rows"], ["日本", "1"], ["label", "1,000"]]) == "        rows\n日本       1\nlabel  1,000"
    )


def test_names_are_one_line_and_not_too_long() -> None:
    assert shorten("a\n b") == "a b"
    assert shorten("x" * 40) == "x" * 29 + "..."
    assert shorten("abcdefgh", 6) == "abc..."
