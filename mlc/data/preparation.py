"""From rows as they were read to the inputs of a network, by what was fitted on the training rows."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mlc.batch import BatchInput
from mlc.data.categories import fit_schema, recoded
from mlc.data.dataset import Input
from mlc.data.examples import Codes, Examples
from mlc.data.numbers import fit_numbers, prepare
from mlc.data.schema import Schema
from mlc.data.text.encoder import TextEncoder
from mlc.data.text.restore import restore_text
from mlc.errors import UserError
from mlc.inputs import MAIN

_TEXT = "text."


def fit_preparation(
    train: Examples, *, text: TextEncoder | None, standardise: bool
) -> tuple[dict[str, Tensor], list[str]]:
    """Fit all that turns rows into inputs, on the training rows.

    Args:
        train: the training rows.
        text: how texts become numbers.
        standardise: give every numeric column the mean 0 and the standard deviation 1.

    Returns:
        Tensors that `prepare_inputs` needs and that travel with the model; notes on what was fitted.

    Raises:
        UserError: there are texts, and `text` is None; or no training row has a value in any column.
    """
    preparation: dict[str, Tensor] = {}
    notes: list[str] = []
    if train.text is not None:
        if text is None:
            raise UserError(
                "this data set has texts, and text=none says nothing about how to read them: choose a "
                "backbone for texts, such as backbone=text_cnn, or text=words or text=tfidf"
            )
        fitted = text.fit(train.text)
        notes += fitted.notes
        preparation |= {_TEXT + key: value for key, value in fitted.state().items()}
    if train.pictures is not None:
        mean, scale = train.pictures.fit()
        shape = torch.tensor(train.pictures.spec.shape)
        preparation |= {"picture.mean": mean, "picture.scale": scale, "picture.shape": shape}
    if train.sparse is not None:
        preparation["sparse.width"] = torch.tensor(train.sparse.width)
    if train.codes is not None:
        schema, schema_notes = fit_schema(train.codes)
        notes += schema_notes
        if schema.attributes:
            preparation |= fit_numbers(recoded(train.codes, schema)[0], standardised=standardise)
        elif preparation:
            preparation["schema"] = schema.to_tensor()
        else:
            raise UserError("no column has a value in the training rows: name other columns as inputs")
    return preparation, notes


def prepare_inputs(examples: Examples, preparation: Mapping[str, Tensor]) -> dict[str, Input]:
    """The named inputs of rows, whether of a split or new.

    The main input "x" is the text if there is one, else the pictures, the sparse numbers or the numbers;
    pictures and numbers beside it are called "picture" and "numbers".

    Raises:
        UserError: the preparation is of other data.
    """
    found: dict[str, Input] = {}
    if examples.text is not None:
        state = {k.removeprefix(_TEXT): v for k, v in preparation.items() if k.startswith(_TEXT)}
        _check(bool(state), "texts")
        found["text"] = restore_text(state).encode(examples.text)
    if examples.pictures is not None:
        shape = examples.pictures.spec.shape
        known = "picture.shape" in preparation and tuple(preparation["picture.shape"].tolist()) == shape
        _check(known, f"pictures of the shape {shape}")
        found["picture"] = examples.pictures.standardised(
            mean=preparation["picture.mean"], scale=preparation["picture.scale"]
        )
    if examples.sparse is not None:
        _check(int(preparation.get("sparse.width", -1)) == examples.sparse.width, "these sparse numbers")
        found["sparse"] = examples.sparse
    if examples.codes is not None:
        codes, _ = fitted_codes(examples.codes, preparation)
        if codes.schema.attributes:
            found["numbers"] = prepare(codes.schema.expand(codes.codes_NA), preparation)
    main = next(iter(found))
    return {MAIN: found.pop(main), **found}


def check_preparation(preparation: Mapping[str, Tensor]) -> None:
    """Read what was fitted once, so that what cannot be read shows before the first row does.

    Raises whatever reading it raises.
    """
    state = {key.removeprefix(_TEXT): value for key, value in preparation.items() if key.startswith(_TEXT)}
    if state:
        restore_text(state)
    if "schema" in preparation:
        Schema.from_tensor(preparation["schema"])


def fitted_codes(codes: Codes, preparation: Mapping[str, Tensor]) -> tuple[Codes, int]:
    """Numeric and nominal features as the preparation knows them, and how many values it does not know.

    Raises:
        UserError: the preparation is of other columns.
    """
    _check("schema" in preparation, "these columns")
    schema = Schema.from_tensor(preparation["schema"])
    if codes.most is None:
        _check(codes.schema == schema, "these columns")
    else:
        kinds = {attribute.name: bool(attribute.values) for attribute in codes.schema.attributes}
        _check(all(kinds.get(a.name) == bool(a.values) for a in schema.attributes), "these columns")
    return recoded(codes, schema)


def _check(known: bool, what: str) -> None:
    if not known:
        raise UserError(
            f"the run that prepares these rows was not trained on {what}: give it the same columns"
        )


def as_batch(inputs: Mapping[str, Input]) -> dict[str, BatchInput]:
    """All rows as one batch."""
    return {
        name: values if isinstance(values, Tensor) else values[torch.arange(len(values))]
        for name, values in inputs.items()
    }
