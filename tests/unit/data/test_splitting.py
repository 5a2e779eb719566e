from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mlc.data.examples import OPEN, TEST, TRAIN, VALID
from mlc.data.splitting import Splitting, split_rows
from mlc.data.stratify import stratified_split
from mlc.errors import UserError
from mlc.rows import LabelRows

Y_NL = (
    torch.rand(400, 3, generator=torch.Generator().manual_seed(0)) < torch.tensor([0.4, 0.2, 0.05])
).float()


def split(
    y_NL: Tensor | LabelRows = Y_NL,
    *,
    given: Any = None,
    group: Any = None,
    time: Any = None,
    seed: int = 0,
    **options: Any,
) -> tuple[np.ndarray, list[str]]:
    return split_rows(
        y_NL,
        given_N=None if given is None else np.asarray(given, dtype=np.int8),
        group_N=None if group is None else np.asarray(group, dtype=np.int64),
        time_N=None if time is None else np.asarray(time, dtype=np.float64),
        splitting=Splitting(**options),
        seed=seed,
    )


def sizes(part_N: np.ndarray) -> list[int]:
    return np.bincount(part_N, minlength=3).tolist()


@pytest.mark.parametrize("by", ["labels", "random"])
def test_open_rows_are_split_by_the_fractions(by: str) -> None:
    part_N, notes = split(by=by, valid_fraction=0.25, test_fraction=0.2)
    assert sizes(part_N) == pytest.approx([240, 80, 80], abs=0 if by == "random" else 3)
    how = ", at random." if by == "random" else "."
    assert notes == [
        f"{sizes(part_N)[1]} of the 400 rows are held out for validation{how}",
        f"{sizes(part_N)[2]} of the 400 rows are held out for testing{how}",
    ]


@pytest.mark.parametrize(("held", "told"), [(8, True), (39, True), (40, False), (160, False), (161, True)])
def test_a_part_far_from_what_was_asked_for_is_said(
    held: int, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    part_N = np.repeat(np.asarray([0, 1, 2], dtype=np.int32), [320 - held, held, 80])
    monkeypatch.setattr("mlc.data.splitting.stratified_parts", lambda *_, **__: part_N)
    for by in ("labels", "random"):
        _, notes = split(by=by, valid_fraction=0.25, test_fraction=0.2)
        said = [note for note in notes if "80 were asked for validation" in note]
        assert bool(said) is (told and by == "labels")
        assert not any("asked for testing" in note for note in notes)


def test_by_labels_keeps_their_shares() -> None:
    part_N, _ = split(valid_fraction=0.25, test_fraction=0.2)
    for part, share in ((TRAIN, 0.6), (VALID, 0.2), (TEST, 0.2)):
        held_L = Y_NL[torch.from_numpy(part_N == part)].sum(0)
        assert (held_L - share * Y_NL.sum(0)).abs().max() <= 2


def test_validation_is_held_out_of_given_training_rows_as_by_stratified_split() -> None:
    given_N = np.where(np.arange(400) % 4 == 0, TEST, TRAIN)
    part_N, notes = split(given=given_N, valid_fraction=0.3)
    train = np.flatnonzero(given_N == TRAIN)
    rest, held = stratified_split(Y_NL[train], fraction=0.3, seed=0)
    assert np.flatnonzero(part_N == TRAIN).tolist() == train[rest].tolist()
    assert np.flatnonzero(part_N == VALID).tolist() == train[held].tolist()
    assert (part_N == TEST).tolist() == (given_N == TEST).tolist()
    assert notes == [f"{len(held)} of the 300 training rows are held out for validation."]


def test_a_whole_split_is_kept() -> None:
    given_N = np.arange(400) % 3
    part_N, notes = split(given=given_N)
    assert part_N.tolist() == given_N.tolist()
    assert notes == []


def test_what_is_missing_is_held_out_of_the_open_rows_first() -> None:
    given_N = np.repeat([OPEN, TRAIN, VALID], [100, 200, 100])
    part_N, notes = split(given=given_N, test_fraction=0.2, by="random")
    assert sizes(part_N[:100]) == [80, 0, 20]
    assert (part_N[100:] == given_N[100:]).all()
    assert notes == ["20 of the 100 rows are held out for testing, at random."]


def test_open_rows_train_where_nothing_is_missing() -> None:
    given_N = np.repeat([OPEN, TRAIN, VALID, TEST], 100)
    part_N, notes = split(given=given_N)
    assert sizes(part_N) == [200, 100, 100]
    assert notes == ["100 rows that are in no given split train."]


def test_groups_stay_together() -> None:
    group_N = np.arange(400) // 8
    part_N, notes = split(group=group_N)
    assert (part_N.reshape(50, 8) == part_N[::8, None]).all()
    assert sizes(part_N) == pytest.approx([272, 48, 80], abs=8)
    assert notes[0].endswith("rows are held out for validation, in whole groups.")


def test_open_rows_join_the_rows_of_their_group_that_are_given() -> None:
    group_N = np.arange(400) // 8
    given_N = np.full(400, OPEN)
    given_N[[0, 9]] = TEST
    given_N[16] = TRAIN
    given_N[[24, 31]] = [VALID, TEST]  # torn: what is open goes to the last split
    part_N, notes = split(given=given_N, group=group_N)
    assert [set(part_N[start : start + 8]) for start in (0, 8, 16)] == [{TEST}, {TEST}, {TRAIN}]
    assert part_N[24:32].tolist() == [VALID, *[TEST] * 7]
    assert notes[0] == "27 rows are in the split that the data give to their group."
    assert set(part_N[32:]) == {TRAIN}
    assert notes[-1] == "Groups that have rows in more than one split, because the data give them so: 1."


def test_where_all_open_rows_join_groups_the_rest_is_held_out_of_train() -> None:
    given_N = np.where(np.arange(400) % 8 == 0, OPEN, np.where(np.arange(400) < 80, TEST, TRAIN))
    part_N, notes = split(given=given_N, group=np.arange(400) // 8)
    assert (part_N.reshape(50, 8) == part_N[::8, None]).all()
    assert (np.flatnonzero(part_N == TEST) == np.arange(80)).all()
    held = sizes(part_N)[VALID]
    assert notes[1] == f"{held} of the 320 training rows are held out for validation, in whole groups."


def test_groups_that_the_data_tear_are_counted() -> None:
    given_N = np.where(np.arange(400) < 204, TRAIN, TEST)
    part_N, notes = split(given=given_N, group=np.arange(400) // 8)
    assert (part_N[:200].reshape(25, 8) == part_N[:200:8, None]).all()
    assert notes[-1] == "Groups that have rows in more than one split, because the data give them so: 1."


def test_the_latest_rows_are_tested_on_and_those_before_validate() -> None:
    time_N = np.random.default_rng(0).permutation(400) * 1.5 - 7
    part_N, notes = split(time=time_N, valid_fraction=0.25, test_fraction=0.2)
    assert part_N[np.argsort(time_N)].tolist() == [TRAIN] * 240 + [VALID] * 80 + [TEST] * 80
    assert notes[1] == "80 of the 400 rows are held out for testing, by time."


def test_rows_of_one_time_stay_together() -> None:
    time_N = np.repeat([1, 2, 3, 4, 5], [150, 80, 30, 70, 70])
    part_N, _ = split(time=time_N, valid_fraction=0.25, test_fraction=0.2)
    assert part_N.tolist() == [TRAIN] * 230 + [VALID] * 100 + [TEST] * 70  # 240, 80 and 80 would tear 3 and 4


def test_a_group_is_as_late_as_its_latest_row() -> None:
    group_N, time_N = np.arange(400) % 20, np.arange(400) // 20 * 1.0
    time_N[3] = 99
    part_N, _ = split(time=time_N + group_N / 100, group=group_N, test_fraction=0.05, valid_fraction=0.5)
    assert set(np.flatnonzero(part_N == TEST)) == set(range(3, 400, 20))


def test_validation_of_given_training_rows_is_their_latest() -> None:
    given_N, time_N = np.arange(400) % 2 * TEST, np.arange(400.0)
    time_N[given_N == TEST] = np.nan  # not looked at
    part_N, _ = split(given=given_N, time=time_N, valid_fraction=0.1)
    assert np.flatnonzero(part_N == VALID).tolist() == list(range(360, 400, 2))


def test_folds_cover_every_row_once_and_validate_on_others() -> None:
    tested_N = np.zeros(400, dtype=int)
    for fold in range(5):
        part_N, notes = split(folds=5, fold=fold, valid_fraction=0.25)
        tested_N += part_N == TEST
        assert sizes(part_N) == pytest.approx([240, 80, 80], abs=4)
        assert notes[0].startswith(f"Fold {fold} of 5 (from 0) tests: {sizes(part_N)[2]} rows; ")
    assert (tested_N == 1).all()


@pytest.mark.parametrize("options", [{}, {"group": np.arange(400)}])
def test_folds_may_be_hundreds(options: dict[str, Any]) -> None:
    part_N, _ = split(folds=200, fold=150, **options)
    assert 1 <= sizes(part_N)[TEST] <= 4
    assert part_N.tolist() != split(folds=200, fold=199, **options)[0].tolist()


def test_folds_ignore_the_given_split_and_say_so() -> None:
    given_N = np.arange(400) % 2 * TEST
    part_N, notes = split(folds=4, fold=3, given=given_N)
    assert part_N.tolist() == split(folds=4, fold=3)[0].tolist()
    assert notes[-1] == "The split that the data bring is not used, because folds are asked for."
    assert len(split(folds=4, given=np.full(400, OPEN))[1]) == 1


def test_folds_keep_groups_together() -> None:
    group_N = np.arange(400) // 8
    part_N, _ = split(folds=5, fold=2, group=group_N)
    assert (part_N.reshape(50, 8) == part_N[::8, None]).all()


@pytest.mark.parametrize("options", [{}, {"by": "random"}, {"folds": 3}, {"group": np.arange(400) // 3}])
def test_the_seed_decides(options: dict[str, Any]) -> None:
    first = split(seed=1, **options)[0]
    assert split(seed=1, **options)[0].tolist() == first.tolist()
    assert split(seed=2, **options)[0].tolist() != first.tolist()


def test_sparse_targets_are_split_as_dense_ones_are() -> None:
    lengths = Y_NL.sum(1).long()
    sparse = LabelRows(Y_NL.nonzero()[:, 1].int(), lengths.cumsum(0) - lengths, lengths, 3)
    assert split(sparse)[0].tolist() == split()[0].tolist()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"y_NL": Y_NL[:3], "by": "random"}, "2 training, 0 validation and 1 test rows"),
        ({"y_NL": Y_NL[:0]}, "0 training, 0 validation and 0 test rows"),
        ({"y_NL": Y_NL[:4], "given": [VALID, VALID, TEST, TEST]}, "0 training, 2 validation and 2 test rows"),
        ({"group": np.zeros(400)}, "every split needs one"),
        ({"time": np.zeros(400)}, "every split needs one"),
        ({"time": np.where(np.arange(400) < 3, np.nan, 1.0)}, "3 of the 400 rows to split have no time"),
        ({"time": np.arange(400), "folds": 5}, "leave out the times or the folds"),
        ({"folds": 401, "fold": 0}, "401 folds of 400 rows"),
        ({"folds": 5, "fold": 5}, "choose one from 0 to 4"),
        ({"fold": 1}, "without folds"),
    ],
)
def test_what_cannot_be_split_is_said(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        split(**options)
