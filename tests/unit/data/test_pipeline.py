import weakref
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mlc.data.dataset import Dataset, Split
from mlc.data.examples import OPEN, TEST, TRAIN, VALID, Codes, Examples
from mlc.data.pipeline import build_dataset
from mlc.data.preparation import prepare_inputs
from mlc.data.schema import Attribute, Schema
from mlc.data.splitting import Splitting
from mlc.data.text.words import Words
from mlc.errors import UserError
from mlc.rows import LabelRows

NAN = float("nan")
N = 40
NUMBER_N = np.arange(float(N))


def examples(**changes: Any) -> Examples:
    """Forty rows; the first column is the number of the row."""
    codes_NA = np.stack([NUMBER_N, np.cos(NUMBER_N)], axis=1)
    y_NL = torch.stack([torch.arange(N) % 2, torch.arange(N) % 3 // 2], 1).float()
    given: dict[str, Any] = {
        "label_names": ("a", "b"),
        "y_NL": y_NL,
        "codes": Codes(Schema((Attribute("n"), Attribute("m"))), codes_NA),
    }
    return Examples(**(given | changes))


def built(given: Examples, **changes: Any) -> Dataset:
    options: dict[str, Any] = {
        "name": "made",
        "splitting": Splitting(valid_fraction=0.25, test_fraction=0.25),
        "text": None,
        "standardise": False,
        "seed": 0,
    }
    return build_dataset(given, **(options | changes))


def rows_of(split: Split) -> list[int]:
    """The numbers of the rows in a split."""
    x_ND = split.inputs["x"]
    assert isinstance(x_ND, Tensor)
    return [int(x) for x in x_ND[:, 0].round()]


def parts(*lengths: int) -> Any:
    return np.repeat(np.array([TRAIN, VALID, TEST], dtype=np.int8), lengths)


def test_every_row_is_in_one_split_with_its_own_inputs_and_targets() -> None:
    dataset = built(examples())
    splits = (dataset.train, dataset.valid, dataset.test)
    assert sorted(row for split in splits for row in rows_of(split)) == list(range(N))
    for split in splits:
        rows_N = torch.tensor(rows_of(split))
        assert torch.equal(split.y_NL[:], torch.stack([rows_N % 2, rows_N % 3 // 2], 1).float())
    assert (dataset.name, dataset.label_names) == ("made", ("a", "b"))
    assert rows_of(built(examples()).test) == rows_of(dataset.test)
    assert rows_of(built(examples(), seed=1).test) != rows_of(dataset.test)


def test_the_split_of_the_data_stays_and_the_splitting_is_used() -> None:
    given = built(examples(part_N=parts(25, 5, 10)))
    assert [rows_of(split) for split in (given.train, given.valid, given.test)] == [
        list(range(25)),
        list(range(25, 30)),
        list(range(30, N)),
    ]
    folds = [
        built(examples(), splitting=Splitting(valid_fraction=0.25, folds=4, fold=fold)) for fold in range(4)
    ]
    assert sorted(row for fold in folds for row in rows_of(fold.test)) == list(range(N))


def test_groups_and_times_decide_the_split() -> None:
    by_group = built(examples(group_N=np.arange(N) // 4))
    for split in (by_group.train, by_group.valid, by_group.test):
        assert all(count == 4 for count in np.bincount(np.array(rows_of(split)) // 4) if count)
    by_time = built(examples(time_N=-NUMBER_N))
    assert sorted(rows_of(by_time.test)) == list(range(10))


def test_the_preparation_is_fitted_on_train_alone() -> None:
    dataset = built(examples(part_N=parts(25, 5, 10)), standardise=True)
    train = NUMBER_N[:25]
    for split, rows in ((dataset.train, train), (dataset.test, NUMBER_N[30:])):
        x_ND = split.inputs["x"]
        assert isinstance(x_ND, Tensor)
        np.testing.assert_allclose(x_ND[:, 0], (rows - train.mean()) / train.std(), rtol=1e-5)


def test_a_given_preparation_is_taken() -> None:
    other = examples(codes=Codes(examples().codes.schema, examples().codes.codes_NA * 3 + 1))  # type: ignore[union-attr]
    preparation = built(other, standardise=True).preparation
    dataset = built(examples(), standardise=True, preparation=preparation)
    assert dataset.preparation is preparation
    x_ND = dataset.train.inputs["x"]
    assert isinstance(x_ND, Tensor)
    raw = x_ND[:, 0] * preparation["scale"][0] + preparation["mean"][0]
    assert torch.equal(raw.round(), raw.round().long().double())
    assert int(raw.round().max()) < N


def test_weights_have_the_mean_1_in_each_split() -> None:
    dataset = built(examples(weight_N=NUMBER_N + 1, weight_name="mass"))
    for split in (dataset.train, dataset.valid, dataset.test):
        assert split.weight_N is not None
        expected = np.array(rows_of(split)) + 1
        np.testing.assert_allclose(split.weight_N, expected / expected.mean(), rtol=1e-6)
    assert any("weighted by the attribute mass" in note for note in dataset.notes)
    assert built(examples()).train.weight_N is None


def test_auxiliary_targets_travel_with_their_rows() -> None:
    auxiliary_NA = torch.from_numpy(NUMBER_N)[:, None].float()
    dataset = built(examples(auxiliary_names=("c",), auxiliary_NA=auxiliary_NA))
    assert dataset.auxiliary_names == ("c",)
    for split in (dataset.train, dataset.valid, dataset.test):
        assert split.auxiliary_NA is not None
        assert split.auxiliary_NA[:, 0].tolist() == rows_of(split)
        batch = split.select(torch.tensor([1, 0]))
        assert batch.auxiliary_BA is not None
        assert batch.auxiliary_BA[:, 0].tolist() == rows_of(split)[1::-1]
    assert built(examples()).train.auxiliary_NA is None


def test_notes_come_from_reading_to_leaks() -> None:
    codes_NA = examples().codes.codes_NA.copy()  # type: ignore[union-attr]
    codes_NA[35] = codes_NA[0]
    codes_NA[1, 1] = NAN
    y_NL = examples().y_NL[:].clone()
    y_NL[2, 0] = NAN
    given = examples(
        codes=Codes(examples().codes.schema, codes_NA),  # type: ignore[union-attr]
        y_NL=y_NL,
        part_N=parts(25, 5, 10),
        notes=("one row was dropped",),
    )
    notes = built(given).notes
    wanted = [
        "one row was dropped",
        "1 missing train value",
        "1 of 50 train label entries",
        "1 of 10 test rows has the same inputs as a training row",
    ]
    places = [next(i for i, note in enumerate(notes) if note.startswith(start)) for start in wanted]
    assert places == sorted(places)


def test_samples_are_a_few_short_texts_with_their_labels() -> None:
    text = [f"row\n  {n} " + ("long " * 100 if n == 1 else "") for n in range(N)]
    y_NL = examples().y_NL[:].clone()
    y_NL[0] = torch.tensor([NAN, 1])
    given = examples(text=text, codes=None, y_NL=y_NL, part_N=parts(25, 5, 10))
    samples = built(given, text=Words(min_count=1)).samples
    assert len(samples) == 5
    assert samples[0] == "row 0  [b]"
    assert samples[1].startswith("row 1 long")
    assert samples[1].endswith("...  [a]")
    assert len(samples[1]) == 200 + len("  [a]")
    assert built(examples()).samples == ()


def test_sparse_targets_stay_sparse() -> None:
    row_of, ids_M = examples().y_NL[:].nonzero(as_tuple=True)
    length_N = torch.bincount(row_of, minlength=N)
    y_NL = LabelRows(ids_M, length_N.cumsum(0) - length_N, length_N, 2)
    dataset = built(examples(y_NL=y_NL, part_N=parts(25, 5, 10)))
    assert isinstance(dataset.test.y_NL, LabelRows)
    assert torch.equal(dataset.test.y_NL[:], examples().y_NL[30:])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y": (30, N)}, r"^made: no test row has a known label; "),
        ({"y": (0, 25)}, "no train row has a known label;"),
        ({"weight": (25, 30)}, "no valid row has a known label and a weight above 0 in mass;"),
    ],
)
def test_a_split_that_counts_for_nothing_is_refused(
    changes: dict[str, tuple[int, int]], message: str
) -> None:
    y_NL, weight_N = examples().y_NL[:].clone(), np.ones(N)
    for name, (start, end) in changes.items():
        if name == "y":
            y_NL[start:end] = NAN
        else:
            weight_N[start:end] = 0
    weights = {"weight_N": weight_N, "weight_name": "mass"} if "weight" in changes else {}
    with pytest.raises(UserError, match=message):
        built(examples(y_NL=y_NL, part_N=parts(25, 5, 10), **weights))


def test_open_rows_are_dealt_out() -> None:
    part_N = parts(0, 0, N)
    part_N[:30] = OPEN
    dataset = built(examples(part_N=part_N))
    assert rows_of(dataset.test) == list(range(30, N))
    assert sorted(rows_of(dataset.train) + rows_of(dataset.valid)) == list(range(30))


def test_values_of_categories_are_those_of_the_training_rows() -> None:
    """What only validation and test rows have must not change what the network gets of the others."""
    datasets = []
    for other in (0, 1):
        code_N = np.where(NUMBER_N < 25, NUMBER_N % 2, NUMBER_N % 5 if other else 0.0)
        schema = Schema((Attribute("n"), Attribute("c", ("q", "p", "x", "y", "z"))))
        codes = Codes(schema, np.stack([NUMBER_N, code_N], axis=1), 3)
        datasets.append(built(examples(codes=codes, part_N=parts(25, 5, 10))))
    first, second = datasets
    assert first.train.inputs["x"].shape == (25, 2)  # type: ignore[union-attr]
    assert torch.equal(first.train.inputs["x"], second.train.inputs["x"])  # type: ignore[arg-type]
    for name, fitted in first.preparation.items():
        assert torch.equal(fitted, second.preparation[name])
    assert Schema.from_tensor(first.preparation["schema"]).attributes[1].values == ("p", "q")
    wanted = "3 valid values of categories are not known from training"
    assert [any(note.startswith(wanted) for note in dataset.notes) for dataset in datasets] == [False, True]


def test_without_any_value_in_train_there_is_nothing_to_learn_from() -> None:
    codes = Codes(Schema((Attribute("c", ("p",)),)), np.where(NUMBER_N < 25, NAN, 0.0)[:, None], 3)
    with pytest.raises(UserError, match="no column has a value in the training rows"):
        built(examples(codes=codes, part_N=parts(25, 5, 10)))
    text = [f"row {n}" for n in range(N)]
    dataset = built(examples(codes=codes, text=text, part_N=parts(25, 5, 10)), text=Words(min_count=1))
    assert list(dataset.train.inputs) == ["x"]


def test_what_cannot_be_split_names_the_data_set() -> None:
    with pytest.raises(UserError, match=r"^made: .* every split needs one"):
        built(examples(group_N=np.zeros(N, dtype=np.int64)))


def test_the_rows_before_the_split_are_not_held_while_inputs_are_prepared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alive: list[bool] = []
    made: list[weakref.ref[Examples]] = []

    def make() -> Examples:
        given = examples()
        made.append(weakref.ref(given))
        return given

    def looking(*args: Any) -> Any:
        alive.append(made[0]() is not None)
        return prepare_inputs(*args)

    monkeypatch.setattr("mlc.data.pipeline.prepare_inputs", looking)
    build_dataset(make(), name="made", splitting=Splitting(), text=None, standardise=True, seed=0)
    assert alive == [False] * 3
