import pytest

from mlc.errors import UserError
from mlc.inputs import InputSpec, require_kind

PICTURES = InputSpec("pictures", (1, 8, 8))


def test_an_input_that_a_backbone_reads_is_given_back() -> None:
    assert require_kind(PICTURES, "numbers", "pictures", backbone="mlp") is PICTURES


@pytest.mark.parametrize(
    ("spec", "advice"),
    [
        (InputSpec("numbers", (3,)), r"numbers of the shape \(3,\): use backbone=mlp"),
        (PICTURES, r"pictures of the shape \(1, 8, 8\): use backbone=cnn"),
        (InputSpec("sparse", (3,)), r"sparse numbers of the shape \(3,\): use backbone=mlp"),
    ],
)
def test_one_that_it_does_not_read_is_refused_with_advice(spec: InputSpec, advice: str) -> None:
    with pytest.raises(
        UserError, match=f"backbone=lstm reads texts as tokens, and this data set has {advice}"
    ):
        require_kind(spec, "tokens", backbone="lstm")


def test_texts_are_refused_with_advice_on_both_sides() -> None:
    spec = InputSpec("tokens", (50,), vocabulary=9)
    with pytest.raises(UserError, match=r"backbone=mlp reads numbers or sparse numbers, .* text=tfidf"):
        require_kind(spec, "numbers", "sparse", backbone="mlp")


def test_what_may_be_long_is_not_shown() -> None:
    spec = InputSpec("tokens", (9,), vocabulary=3, encoder='[null, null, "word"]', unknown=1)
    assert "word" not in repr(spec)
    assert "unknown=1" in repr(spec)
