import json

import pytest
import torch

from mlc.data.text.words import FittedWords, Words

TEXTS = ["the cat saw the dog", "a dog, a cat!", "the end"]
# the 3; a 2, cat 2, dog 2; , ! end saw 1


def fit(texts: list[str] = TEXTS, **options: object) -> FittedWords:
    return Words(**{"min_count": 1, **options}).fit(texts)  # type: ignore[arg-type]


def ids(fitted: FittedWords, *texts: str) -> list[list[int]]:
    rows = fitted.encode(list(texts))
    return [piece.tolist() for piece in rows.ids_M.split(rows.length_N.tolist())]


def test_vocabulary_falls_by_count_and_ties_by_word() -> None:
    assert fit().words == ("the", "a", "cat", "dog", "!", ",", "end", "saw")


def test_ids_by_hand() -> None:
    assert ids(fit(), "The DOG ran", "", "end !") == [[2, 5, 1], [1], [8, 6]]


def test_rare_words_are_unknown() -> None:
    fitted = fit(min_count=2)
    assert fitted.words == ("the", "a", "cat", "dog")
    assert ids(fitted, "the cat saw !") == [[2, 4, 1, 1]]
    assert fitted.notes == [
        "The vocabulary has 4 of the 8 different words in the training texts; "
        "30.8% of the words there are unknown to it."  # 4 of 13
    ]


def test_the_vocabulary_is_cut_to_the_most_frequent() -> None:
    assert fit(max_vocabulary=2).words == ("the", "a")


def test_long_texts_are_cut_before_they_are_counted() -> None:
    fitted = fit([*TEXTS, " "], max_tokens=2)
    assert fitted.words == ("the", "a", "cat", "dog", "end")
    assert ids(fitted, "the end of it") == [[2, 6]]
    assert fitted.notes[1:] == [
        "2 of 4 training texts are longer than 2 tokens and are cut there.",
        "1 of 4 training texts is empty.",
    ]


def test_case_makes_other_words_when_kept() -> None:
    assert fit(["A a a"], lowercase=False).words == ("a", "A")


def test_a_batch_is_padded_with_zero_and_the_spec_covers_every_id() -> None:
    fitted = fit(max_tokens=7)
    rows = fitted.encode(["the dog", "cat"])
    assert rows[torch.tensor([1, 0])].tolist() == [[4, 0], [2, 5]]
    assert rows.ids_M.dtype == torch.int32
    assert (rows.spec.kind, rows.spec.shape, rows.spec.vocabulary, rows.spec.padding) == (
        "tokens",
        (7,),
        10,
        0,
    )
    assert rows.spec == fitted.encode(["a much longer text than that"]).spec


def test_the_spec_tells_the_word_of_every_id_and_the_unknown_one() -> None:
    fitted = fit(["größe größe ab"])
    spec = fitted.encode([]).spec
    assert json.loads(spec.encoder) == [None, None, "größe", "ab"]
    assert spec.unknown == ids(fitted, "new")[0][0]
    assert spec == FittedWords.from_state(fitted.state()).encode([]).spec


def test_no_words_at_all_leave_the_unknown_one() -> None:
    fitted = fit(["", ""])
    assert fitted.words == ()
    assert ids(fitted, "new words") == [[1, 1]]


def test_no_texts_are_no_rows() -> None:
    rows = fit().encode([])
    assert len(rows) == 0
    assert rows.ids_M.dtype == torch.int32


@pytest.mark.parametrize("word", ["größe", "👍🏽", "我", "हिन्दी"])
def test_words_of_any_script_are_known(word: str) -> None:
    assert ids(fit([word]), word) == [[2]]
