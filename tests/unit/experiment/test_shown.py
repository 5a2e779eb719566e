import pytest

from mlc.experiment.shown import shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ("größe 日本", "größe 日本"),
        ([1, "a"], "[1, 'a']"),
        ("a\nb", r"a\nb"),
        ("\x1b[2J", r"\x1b[2J"),
        ("abc\u202ecba", r"abc\u202ecba"),
        ([2**20_000], "a list too long to show"),
        ("a" * 300, "a" * 200 + "..."),
    ],
)
def test_shown(value: object, text: str) -> None:
    assert shown(value) == text
