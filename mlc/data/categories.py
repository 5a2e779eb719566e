"""The values of categories: which of them the training rows make known, and codes by those values."""

import re
from collections.abc import Mapping

import numpy as np

from mlc.data.examples import Codes
from mlc.data.notes import counted, listed
from mlc.data.schema import Attribute, Floats, Schema

OTHER = "(other)"  # stands for all values of a category that are too rare to be one of their own
_WHOLE = re.compile(r"(-?[0-9]+)(\.0)?")


def fit_schema(train: Codes) -> tuple[Schema, list[str]]:
    """The columns as a model knows them: a category has the values that occur in the training rows.

    Where the file declares the values of its categories, and not its rows, the schema stays as it is.

    Args:
        train: the codes of the training rows.

    Returns:
        The schema, with the values of each category sorted, and notes on what became "(other)" and on
        categories that are left out because no training row has a value.
    """
    if train.most is None:
        return train.schema, []
    attributes, left_out, notes = [], [], []
    for attribute, codes_N in zip(train.schema.attributes, train.codes_NA.T, strict=True):
        if not attribute.values:
            attributes.append(attribute)
            continue
        values, rest = _most_frequent(attribute, codes_N, train.most)
        if rest:
            notes.append(
                f"{attribute.name} has {len(values) + len(rest)} values in the training rows; the "
                f"{train.most} most frequent ones are kept, and the others, in "
                f"{counted(sum(rest.values()), 'row')}, became {OTHER}."
            )
            values = {*values, OTHER}
        if values:
            attributes.append(Attribute(attribute.name, tuple(sorted(values))))
        else:
            left_out.append(attribute.name)
    if left_out:
        notes.append(
            f"{counted(len(left_out), 'category', 'categories')} without a value in the training rows "
            f"{'is' if len(left_out) == 1 else 'are'} left out: {listed(left_out)}."
        )
    return Schema(tuple(attributes)), notes


def _most_frequent(attribute: Attribute, codes_N: Floats, most: int) -> tuple[set[str], dict[str, int]]:
    """The most frequent values, and how often each of the others occurs."""
    counts = np.bincount(codes_N[~np.isnan(codes_N)].astype(np.int64), minlength=len(attribute.values))
    count = {value: int(n) for value, n in zip(attribute.values, counts, strict=True) if n}
    by_count = sorted(count, key=lambda value: (-count[value], value))
    return set(by_count[:most]), {value: count[value] for value in by_count[most:]}


def recoded(codes: Codes, schema: Schema) -> tuple[Codes, int]:
    """The same rows by the codes of a schema that was fitted on others.

    Args:
        codes: by the values that their file has.
        schema: some of the same columns, with other values. A value that it lacks becomes "(other)" where it
            has that, and is missing elsewhere.

    Returns:
        The codes, and how many values the schema lacks.
    """
    if codes.schema == schema:
        return codes, 0
    place_of = {attribute.name: place for place, attribute in enumerate(codes.schema.attributes)}
    codes_NA = np.empty((len(codes.codes_NA), len(schema.attributes)))
    n_unseen = 0
    for column, attribute in enumerate(schema.attributes):
        place = place_of[attribute.name]
        codes_N = codes.codes_NA[:, place]
        if attribute.values:
            values = codes.schema.attributes[place].values
            known = spellings(attribute)
            unseen_V = np.array([value not in known for value in values])
            code_V = np.array([known.get(value, known.get(OTHER, np.nan)) for value in values])
            there_N = ~np.isnan(codes_N)
            old = codes_N[there_N].astype(np.int64)
            n_unseen += int(unseen_V[old].sum())
            codes_N = np.full(len(codes_N), np.nan)
            codes_N[there_N] = code_V[old]
        codes_NA[:, column] = codes_N
    return Codes(schema, codes_NA), n_unseen


def unseen_note(number: int, part: str = "") -> str:
    """A sentence on values of categories that training did not make known."""
    values = counted(number, f"{part} value".strip(), f"{part} values".strip())
    return (
        f"{values} of categories {'is' if number == 1 else 'are'} not known from training, and read as "
        f"missing, or as {OTHER} where there is that value."
    )


def spellings(attribute: Attribute) -> Mapping[str, float]:
    """The code of every spelling of a value.

    A whole number may be written with or without ".0", unless both spellings are values of their own.
    """
    codes: dict[str, float] = {value: code for code, value in enumerate(attribute.values)}
    for code, value in enumerate(attribute.values):
        if whole := _WHOLE.fullmatch(value):
            codes.setdefault(whole[1] if whole[2] else f"{value}.0", code)
    return codes
