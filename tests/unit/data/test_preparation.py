from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mlc.data.examples import Codes, Examples
from mlc.data.numbers import fit_numbers, prepare
from mlc.data.picture_rows import PictureRows
from mlc.data.preparation import as_batch, fit_preparation, prepare_inputs
from mlc.data.schema import Attribute, Schema
from mlc.data.text.words import Words
from mlc.errors import UserError
from mlc.rows import SparseRows, TokenRows
from tests.contract.grid import build

CODES = Codes(Schema((Attribute("a"), Attribute("b"))), np.array([[1.0, 2], [3, 4], [8, np.nan]]))
TEXTS = ["red green", "blue red", "green green red"]
PIXELS = torch.arange(3 * 12).reshape(3, 1, 3, 4).to(torch.uint8)
SPARSE = SparseRows(torch.tensor([0, 2, 1]), torch.tensor([0, 1, 2]), torch.ones(3).long(), None, 4)


def examples(**columns: Any) -> Examples:
    return Examples(label_names=("l",), y_NL=torch.zeros(3, 1), **columns)


def everything() -> Examples:
    return examples(codes=CODES, text=TEXTS, pictures=PictureRows.every(PIXELS), sparse=SPARSE)


def fitted(given: Examples) -> dict[str, Tensor]:
    return fit_preparation(given, text=Words(min_count=1), standardise=True)[0]


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        (["text", "pictures", "codes"], ["x", "picture", "numbers"]),
        (["text", "codes"], ["x", "numbers"]),
        (["pictures", "codes"], ["x", "numbers"]),
        (["sparse", "codes"], ["x", "numbers"]),
        (["codes"], ["x"]),
        (["sparse"], ["x"]),
    ],
)
def test_the_first_of_text_pictures_sparse_and_numbers_is_the_main_input(
    columns: list[str], names: list[str]
) -> None:
    whole = everything()
    given = examples(**{name: getattr(whole, name) for name in columns})
    found = prepare_inputs(given, fitted(given))
    assert list(found) == names
    kinds = {"text": TokenRows, "pictures": PictureRows, "sparse": SparseRows, "codes": Tensor}
    assert isinstance(found["x"], kinds[columns[0]])
    assert all(len(values) == 3 for values in found.values())


def test_everything_is_prepared_by_what_was_fitted() -> None:
    whole = everything()
    preparation = fitted(whole)
    new = whole.rows(torch.tensor([2]))
    batch = as_batch(prepare_inputs(new, preparation))
    words = Words(min_count=1).fit(TEXTS).encode(TEXTS)
    assert isinstance(batch["x"], Tensor)
    assert torch.equal(batch["x"], words[torch.tensor([2])])
    numbers = prepare(CODES.schema.expand(CODES.codes_NA), fit_numbers(CODES, standardised=True))
    assert isinstance(batch["numbers"], Tensor)
    assert torch.equal(batch["numbers"], numbers[2:])
    light = PIXELS.float() / 255
    assert isinstance(batch["picture"], Tensor)
    torch.testing.assert_close(
        batch["picture"], (light[2:] - light.mean()) / light.std(correction=0), rtol=1e-4, atol=1e-5
    )


def test_without_standardising_numbers_stay_as_they_are() -> None:
    given = examples(codes=CODES)
    preparation, _ = fit_preparation(given, text=None, standardise=False)
    assert prepare_inputs(given, preparation)["x"][:2].tolist() == [[1, 2], [3, 4]]  # type: ignore[index]


def test_the_encoder_of_texts_says_what_it_did_and_comes_back() -> None:
    encoder = build("text", "tfidf")
    given = examples(text=TEXTS)
    preparation, notes = fit_preparation(given, text=encoder, standardise=True)
    assert notes == list(encoder.fit(TEXTS).notes)
    assert preparation
    assert all(key.startswith("text.") for key in preparation)
    found = prepare_inputs(given, preparation)["x"]
    expected = encoder.fit(TEXTS).encode(TEXTS)
    assert isinstance(found, SparseRows)
    assert isinstance(expected, SparseRows)
    assert torch.equal(found.dense(), expected.dense())


def test_texts_without_an_encoder_say_what_to_choose() -> None:
    with pytest.raises(UserError, match=r"text=none .*text=words or text=tfidf"):
        fit_preparation(examples(text=TEXTS), text=None, standardise=True)


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ({"text": TEXTS}, "not trained on texts"),
        ({"pictures": PictureRows.every(PIXELS)}, r"pictures of the shape \(1, 3, 4\)"),
        ({"sparse": SPARSE}, "these sparse numbers"),
        ({"codes": CODES}, "these columns"),
    ],
)
def test_inputs_that_a_run_was_not_trained_on_are_refused(columns: dict[str, Any], what: str) -> None:
    with pytest.raises(UserError, match=what):
        prepare_inputs(examples(**columns), {})


def test_inputs_of_another_shape_are_refused() -> None:
    preparation = fitted(everything())
    wider = SparseRows(SPARSE.ids_M, SPARSE.start_N, SPARSE.length_N, None, 9)
    renamed = Codes(Schema((Attribute("a"), Attribute("c"))), CODES.codes_NA)
    for columns in (
        {"pictures": PictureRows.every(PIXELS.reshape(3, 1, 4, 3))},
        {"sparse": wider},
        {"codes": renamed},
    ):
        with pytest.raises(UserError, match="give it the same columns"):
            prepare_inputs(examples(**columns), preparation)
