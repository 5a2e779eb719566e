"""One way from rows as they were read to a data set: split, look for leaks, fit on train, prepare, count."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from mlc.data.dataset import Dataset, Split
from mlc.data.examples import PART_NAMES, Examples
from mlc.data.leaks import leak_notes
from mlc.data.notes import label_notes
from mlc.data.numbers import number_notes
from mlc.data.preparation import fit_preparation, fitted_codes, prepare_inputs
from mlc.data.splitting import Splitting, split_rows
from mlc.data.text.encoder import TextEncoder
from mlc.data.weights import normalise_weights, weight_notes
from mlc.errors import UserError

_SAMPLES, _SAMPLE_CHARACTERS = 5, 200


def build_dataset(
    examples: Examples,
    *,
    name: str,
    splitting: Splitting,
    text: TextEncoder | None,
    standardise: bool,
    seed: int,
    preparation: Mapping[str, Tensor] | None = None,
) -> Dataset:
    """Split rows, prepare their inputs, and say what a reader of the results should know.

    Args:
        examples: the rows, as they were read.
        name: short name of the data set.
        splitting: how rows without a given split are dealt out.
        text: how texts become numbers.
        standardise: give every numeric column the mean 0 and the standard deviation 1.
        seed: of the split.
        preparation: of another run, to prepare with; None fits it on the training rows.

    Raises:
        UserError: a split is empty or has nothing to count, or the preparation is of other data.
    """
    parts, split_notes = _split(examples, name=name, splitting=splitting, seed=seed)
    del (
        examples
    )  # dense columns are copied by the split: they need not be held twice while inputs are prepared
    train = parts["train"]
    check_counting(parts, name=name)
    fit_notes: list[str] = []
    if preparation is None:
        preparation, fit_notes = fit_preparation(train, text=text, standardise=standardise)
    weights = {
        part: normalise_weights(rows.weight_N) for part, rows in parts.items() if rows.weight_N is not None
    }
    splits = {
        part: Split(
            prepare_inputs(rows, preparation),
            rows.y_NL,
            weights.get(part),
            None if rows.auxiliary_NA is None else rows.auxiliary_NA,
        )
        for part, rows in parts.items()
    }
    return Dataset(
        name=name,
        label_names=train.label_names,
        train=splits["train"],
        valid=splits["valid"],
        test=splits["test"],
        preparation=preparation,
        notes=(
            *train.notes,
            *(train.pictures.notes if train.pictures is not None else ()),
            *split_notes,
            *(weight_notes(train.weight_name, weights) if weights else ()),
            *fit_notes,
            *_number_notes(parts, preparation),
            *label_notes(train.label_names, {part: rows.y_NL for part, rows in parts.items()}),
            *leak_notes(parts),
        ),
        auxiliary_names=train.auxiliary_names,
        samples=_samples(train),
    )


def _split(
    examples: Examples, *, name: str, splitting: Splitting, seed: int
) -> tuple[dict[str, Examples], list[str]]:
    """The rows of each split, and sentences on how they were dealt."""
    try:
        part_N, notes = split_rows(
            examples.y_NL,
            given_N=examples.part_N,
            group_N=examples.group_N,
            time_N=examples.time_N,
            splitting=splitting,
            seed=seed,
        )
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    places = {part: np.flatnonzero(part_N == number) for number, part in enumerate(PART_NAMES)}
    return {part: examples.rows(torch.from_numpy(places[part])) for part in PART_NAMES}, notes


def check_counting(parts: Mapping[str, Examples], *, name: str) -> None:
    """Raise a UserError unless every split has a row with a known label and a weight above 0."""
    for part, rows in parts.items():
        known_N = np.ones(len(rows), dtype=bool)
        if isinstance(rows.y_NL, Tensor):
            known_N = (~rows.y_NL.isnan().all(1)).numpy()
        if rows.weight_N is not None:
            known_N &= rows.weight_N > 0
        if not known_N.any():
            needed = "a known label" + (
                f" and a weight above 0 in {rows.weight_name}" if rows.weight_name else ""
            )
            raise UserError(
                f"{name}: no {part} row has {needed}; every split needs one, "
                "so change valid_fraction or the files."
            )


def _number_notes(parts: Mapping[str, Examples], preparation: Mapping[str, Tensor]) -> list[str]:
    found = {
        part: fitted_codes(rows.codes, preparation) for part, rows in parts.items() if rows.codes is not None
    }
    if not found:
        return []
    return number_notes(
        found["train"][0].schema,
        {part: codes.codes_NA for part, (codes, _) in found.items()},
        unseen={part: number for part, (_, number) in found.items() if part != "train"},
    )


def _samples(train: Examples) -> tuple[str, ...]:
    """A few training texts with their labels."""
    if train.text is None:
        return ()
    samples = []
    for text, y_L in zip(train.text[:_SAMPLES], train.y_NL[0:_SAMPLES].tolist(), strict=True):
        labels = [name for name, true in zip(train.label_names, y_L, strict=True) if true == 1]
        samples.append(f"{_shortened(text)}  [{', '.join(labels)}]")
    return tuple(samples)


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SAMPLE_CHARACTERS else f"{line[: _SAMPLE_CHARACTERS - 3]}..."
