"""Which rows train, which validate and which test."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge, Interval
from numpy.typing import NDArray

from mlc.data.examples import OPEN, TEST, TRAIN, VALID
from mlc.data.notes import counted
from mlc.data.schema import Floats
from mlc.data.stratify import stratified_parts
from mlc.data.stratify_groups import stratified_groups
from mlc.errors import UserError
from mlc.rows import Targets, take_targets

Parts = NDArray[np.int8]
Places = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Splitting:
    """How rows are dealt into train, validation and test.

    Args:
        valid_fraction: share of the rows that do not test held out for validation, where the data bring no
            validation rows.
        test_fraction: share of the rows held out for testing, where the data bring no test rows.
        by: "labels" keeps the share of every label in each part; "random" does not look at them.
        folds: number of folds of a cross-validation, in place of the split that the data bring; or None.
        fold: which of the folds tests, from 0.
    """

    valid_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.15
    test_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.2
    by: Literal["labels", "random"] = "labels"
    folds: Annotated[int, Ge(2)] | None = None
    fold: Annotated[int, Ge(0)] = 0

    def __post_init__(self) -> None:
        if self.folds is None and self.fold != 0:
            raise UserError(f"fold={self.fold} means nothing without folds=<number>: say how many there are")
        if self.folds is not None and self.fold >= self.folds:
            raise UserError(
                f"fold={self.fold} is none of {self.folds} folds: choose one from 0 to {self.folds - 1}"
            )


def split_rows(
    y_NL: Targets,
    *,
    given_N: Parts | None,
    group_N: Places | None,
    time_N: Floats | None,
    splitting: Splitting,
    seed: int,
) -> tuple[Parts, list[str]]:
    """Say of every row whether it is for training, validation or testing.

    What the data bring stays. The parts that they do not bring are held out of the open rows or, where there
    are none, of the training rows: the latest where rows have times, else by labels or at random, and rows of
    one group always together, open ones also with those that the data have given. What is left trains. With
    folds all rows are dealt anew.

    Args:
        y_NL: targets, NaN where unknown.
        given_N: the part that the data bring for each row, or OPEN; None where all are OPEN.
        group_N: rows with the same number stay together; with times, a group is as late as its latest row.
        time_N: any numbers that grow with time; rows of the same time stay together.
        splitting: how.
        seed: the same seed gives the same split; its folds have no row in common.

    Returns:
        TRAIN, VALID or TEST of each row, and sentences that say what was done.

    Raises:
        UserError: a part would be empty, a row has no time to split by, or both folds and times are given.
    """
    rows = _Rows(y_NL, group_N, time_N, splitting.by, seed)
    if splitting.folds is None:
        part_N, notes = _hold_out(rows, given_N, splitting)
    else:
        part_N, notes = _fold(rows, splitting.folds, splitting)
        if given_N is not None and (given_N != OPEN).any():
            notes.append("The split that the data bring is not used, because folds are asked for.")
    sizes = np.bincount(part_N, minlength=3)
    if not sizes.all():
        raise UserError(
            f"{sizes[TRAIN]} training, {sizes[VALID]} validation and {sizes[TEST]} test rows: every split "
            "needs one, so change the fractions, the folds or the data"
        )
    return part_N, notes + _torn_notes(part_N, group_N)


@dataclass(frozen=True)
class _Rows:
    """All rows, and by what they are dealt."""

    y_NL: Targets
    group_N: Places | None
    time_N: Floats | None
    by: str
    seed: int

    def deal(self, places: Places, shares: Sequence[float]) -> NDArray[np.int32]:
        """The part of each of the rows at `places`, from 0; the latest rows are in the last part."""
        group_N = None if self.group_N is None else self.group_N[places]
        if self.time_N is not None:
            return _deal_by_time(self.time_N[places], group_N, shares)
        # Without labels to look at, stratification is chance.
        targets = self.y_NL if self.looks_at_labels else torch.zeros(len(self.y_NL), 0)
        chosen = take_targets(targets, torch.from_numpy(places))
        if group_N is not None:
            return stratified_groups(chosen, group_N, shares=shares, seed=self.seed)
        return stratified_parts(chosen, shares=shares, seed=self.seed)

    @property
    def looks_at_labels(self) -> bool:
        """Whether rows are dealt so that each part has its share of every label."""
        return self.by == "labels" and self.time_N is None

    @property
    def manner(self) -> str:
        """How rows are dealt, as the end of a sentence; nothing where it is the usual way."""
        whole_groups = "" if self.group_N is None else ", in whole groups"
        if self.time_N is not None:
            return f", by time{whole_groups}"
        return (", at random" if self.by == "random" else "") + whole_groups


def _hold_out(rows: _Rows, given_N: Parts | None, splitting: Splitting) -> tuple[Parts, list[str]]:
    """Keep what is given, and hold out the parts that are not."""
    part_N = np.full(len(rows.y_NL), OPEN, dtype=np.int8) if given_N is None else given_N.copy()
    n_joined = _join_groups(part_N, rows.group_N)
    joined = [f"{counted(n_joined, 'row is', 'rows are')} in the split that the data give to their group."]
    notes = joined if n_joined else []
    brought = np.unique(part_N)
    pool = np.flatnonzero(part_N == (OPEN if OPEN in brought else TRAIN))
    part_N[pool] = TRAIN
    tested = 0.0 if TEST in brought else splitting.test_fraction
    validated = 0.0 if VALID in brought else splitting.valid_fraction
    shares = {TRAIN: (1 - validated) * (1 - tested), VALID: validated * (1 - tested), TEST: tested}
    wanted = {part: share for part, share in shares.items() if share > 0}
    if len(wanted) == 1:
        if len(pool) and OPEN in brought:
            notes.append(f"{counted(len(pool), 'row that is', 'rows that are')} in no given split train.")
        return part_N, notes
    part_N[pool] = np.array([*wanted], dtype=np.int8)[rows.deal(pool, [*wanted.values()])]
    whole = f"{len(pool)} {'' if OPEN in brought else 'training '}rows"
    for part, purpose in ((VALID, "validation"), (TEST, "testing")):
        if part in wanted:
            held = np.count_nonzero(part_N[pool] == part)
            notes.append(
                f"{held} of the {whole} {'is' if held == 1 else 'are'} held out for {purpose}{rows.manner}."
            )
            asked = round(wanted[part] * len(pool))
            if rows.looks_at_labels and not asked / 2 <= held <= 2 * asked:
                notes.append(
                    f"{asked} were asked for {purpose}, but rows of rare labels are dealt by these labels: "
                    f"split_by=random gives the number."
                )
    return part_N, notes


def _join_groups(part_N: Parts, group_N: Places | None) -> int:
    """Put open rows into the split that the data give to other rows of their group, and count them.

    Where the data have torn a group, they go to its last split: to test rather than to train, where they
    would tell of the rows that are tested on.
    """
    if group_N is None:
        return 0
    _, group_N = np.unique(group_N, return_inverse=True)
    given_G = np.full(group_N.max(initial=-1) + 1, OPEN, dtype=np.int8)
    np.maximum.at(given_G, group_N, part_N)  # OPEN is below all splits
    open_N = part_N == OPEN
    part_N[open_N] = given_G[group_N[open_N]]
    return int(np.count_nonzero(open_N & (part_N != OPEN)))


def _fold(rows: _Rows, folds: int, splitting: Splitting) -> tuple[Parts, list[str]]:
    """Test on one fold of all rows, and hold validation rows out of the others."""
    if rows.time_N is not None:
        raise UserError(
            "folds would train on rows later than those tested on: leave out the times or the folds"
        )
    if folds > len(rows.y_NL):
        raise UserError(
            f"{folds} folds of {len(rows.y_NL)} rows: every fold needs a row, so ask for fewer folds"
        )
    part_N = np.full(len(rows.y_NL), TEST, dtype=np.int8)
    fold_N = rows.deal(np.arange(len(part_N)), [1 / folds] * folds)
    rest = np.flatnonzero(fold_N != splitting.fold)
    part_N[rest] = rows.deal(rest, [1 - splitting.valid_fraction, splitting.valid_fraction])
    n_valid = np.count_nonzero(part_N == VALID)
    return part_N, [
        f"Fold {splitting.fold} of {folds} (from 0) tests: {len(part_N) - len(rest)} rows{rows.manner}; "
        f"{n_valid} of the other {len(rest)} are held out for validation."
    ]


def _deal_by_time(time_N: Floats, group_N: Places | None, shares: Sequence[float]) -> NDArray[np.int32]:
    """Cut the rows in order of time, at the places nearest to the shares that keep equal times together."""
    missing = np.count_nonzero(np.isnan(time_N))
    if missing:
        raise UserError(
            f"{missing} of the {len(time_N)} rows to split have no time: give them one, "
            f"or leave out the times"
        )
    if group_N is not None:
        _, group_N = np.unique(group_N, return_inverse=True)
        latest_G = np.full(group_N.max(initial=-1) + 1, -np.inf)
        np.maximum.at(latest_G, group_N, time_N)
        time_N = latest_G[group_N]
    _, time_rank_N, counts = np.unique(time_N, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    wanted = np.cumsum(shares[:-1]) * len(time_N)
    cuts = np.abs(ends[None] - wanted[:, None]).argmin(axis=1)  # the last time of each part but the last
    return np.searchsorted(cuts, time_rank_N, side="left").astype(np.int32)


def _torn_notes(part_N: Parts, group_N: Places | None) -> list[str]:
    """Count the groups that the data themselves have given to more than one split."""
    if group_N is None:
        return []
    pairs = np.unique(np.stack([group_N, part_N]), axis=1)
    torn = np.count_nonzero(np.unique(pairs[0], return_counts=True)[1] > 1)
    return (
        [f"Groups that have rows in more than one split, because the data give them so: {torn}."]
        if torn
        else []
    )
