import time
from typing import Any

import numpy as np
import torch

from mlc.data.examples import Codes, Examples
from mlc.data.leaks import leak_notes, row_keys
from mlc.data.picture_rows import PictureRows
from mlc.data.schema import Attribute, Schema
from mlc.rows import SparseRows


def examples(n_rows: int, **columns: Any) -> Examples:
    return Examples(label_names=("a",), y_NL=torch.zeros(n_rows, 1), **columns)


def texts(*values: str) -> Examples:
    return examples(len(values), text=values)


def codes(rows: list[list[float]]) -> Codes:
    return Codes(Schema(tuple(Attribute(f"n{i}") for i in range(len(rows[0])))), np.array(rows))


def test_texts_that_differ_in_case_and_blanks_only_are_the_same() -> None:
    parts = {
        "train": texts("One  two", "three", "one two", " ONE\ttwo\n", "Straße"),
        "valid": texts("four", "Three"),
        "test": texts("five", "STRASSE", "four", "onetwo", "one Two"),
    }
    assert leak_notes(parts) == [
        "2 of 5 training rows repeat the inputs of another.",
        "1 of 2 validation rows has the same inputs as a training row (the first is “Three”).",
        "2 of 5 test rows have the same inputs as a training row (the first is “STRASSE”).",
        "1 of 5 test rows has the same inputs as a validation row (the first is “four”).",
    ]


def test_nothing_in_common_is_nothing_to_say() -> None:
    assert leak_notes({"train": texts("a", "b"), "valid": texts("c", "c"), "test": texts("d", "d")}) == []


def test_a_long_text_is_shortened() -> None:
    notes = leak_notes({"train": texts("x" * 80), "valid": texts("a"), "test": texts("x" * 80)})
    assert notes == [f"1 of 1 test row has the same inputs as a training row (the first is “{'x' * 59}…”)."]


def test_numbers_are_the_same_to_the_last_bit() -> None:
    nan = float("nan")
    train = examples(4, codes=codes([[0.0, 1.5], [nan, 1.0], [1.0, nan], [0.1 + 0.2, 0]]))
    test = examples(4, codes=codes([[0.3, 0], [1.5, 0.0], [-0.0, 1.5], [nan, 1.0]]))
    notes = leak_notes({"train": train, "valid": examples(1, codes=codes([[9, 9]])), "test": test})
    assert notes == ["2 of 4 test rows have the same inputs as a training row (the first is row 3 of test)."]


def test_many_rows_of_numbers_match_a_set_of_tuples() -> None:
    values_NA = np.random.default_rng(0).integers(0, 6, (9000, 5)).astype(float)
    keys = row_keys(examples(9000, codes=codes(values_NA.tolist())))
    assert len(np.unique(keys)) == len(set(map(tuple, values_NA.tolist()))) < 8000


def test_sparse_rows_are_compared_by_columns_and_values() -> None:
    ids, start, length = (
        torch.tensor([3, 7, 3, 3, 7, 3, 7]),
        torch.tensor([0, 2, 3, 5, 0]),
        torch.tensor([2, 1, 2, 2, 0]),
    )
    values = torch.tensor([1.0, 2, 1, 1, 2, 1, 3])
    with_values = row_keys(examples(5, sparse=SparseRows(ids, start, length, values, 9)))
    assert [with_values.tolist().index(key) for key in with_values] == [0, 1, 0, 3, 4]
    all_ones = row_keys(examples(5, sparse=SparseRows(ids.int(), start, length, None, 9)))
    assert [all_ones.tolist().index(key) for key in all_ones] == [0, 1, 0, 0, 4]


def test_pictures_are_compared_by_their_pixels() -> None:
    pixels_MCHW = torch.randint(
        0, 2, (200, 1, 2, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    rows_N = torch.arange(200).flip(0).repeat(2)[:300]
    keys = row_keys(examples(300, pictures=PictureRows(pixels_MCHW, rows_N)))
    pictures = [tuple(pixels_MCHW[row].flatten().tolist()) for row in rows_N]
    assert [keys.tolist().index(key) for key in keys] == [pictures.index(picture) for picture in pictures]


def test_rows_of_several_inputs_are_the_same_when_all_are() -> None:
    train = examples(2, text=["a", "b"], codes=codes([[1], [2]]))
    test = examples(3, text=["a", "B", "b"], codes=codes([[2], [2], [1]]))
    notes = leak_notes({"train": train, "valid": texts("z"), "test": test})
    assert notes == ["1 of 3 test rows has the same inputs as a training row (the first is “B”)."]


def test_a_hundred_thousand_texts_take_less_than_a_second() -> None:
    train = [f"text number {i} of a few words that say nothing" for i in range(100_000)]
    start_s = time.process_time()
    keys = row_keys(examples(len(train), text=train))
    assert time.process_time() - start_s < 1
    assert len(np.unique(keys)) == len(train)


def test_blank_pictures_are_not_compared_where_there_is_nothing_else() -> None:
    pixels = torch.zeros(4, 2, 1, 3, dtype=torch.uint8)
    pixels[1, 1] = 7  # blank, too: one colour
    pixels[3, 0, 0, 0] = 1
    rows = {"train": [0, 0, 1, 3, 3], "valid": [2], "test": [0, 1, 3]}

    def parts(*, with_text: bool) -> dict[str, Examples]:
        return {
            part: examples(
                len(its),
                pictures=PictureRows(pixels, torch.tensor(its)),
                **({"text": ["same"] * len(its)} if with_text else {}),
            )
            for part, its in rows.items()
        }

    assert leak_notes(parts(with_text=False)) == [
        "1 of 5 training rows repeats the inputs of another.",
        "1 of 3 test rows has the same inputs as a training row (the first is row 3 of test).",
    ]
    assert leak_notes(parts(with_text=True))[0] == "2 of 5 training rows repeat the inputs of another."
