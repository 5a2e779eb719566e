"""What a classifier file must hold, checked before anything is built from it: somebody else may have made it.

A checksum says that a file is whole, and nothing about who wrote it. The file cannot name code, but its facts
decide the sizes of networks and the names of labels.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from mlc.batch import LabelStatistics
from mlc.errors import UserError
from mlc.inputs import MAIN, InputSpec, Kind

PARTS = frozenset({"network", "calibrator", "decision"})
_KEYS = frozenset({"parts", "inputs", "label_names", "preparation", "labels", "auxiliary"})
_SPEC = frozenset(field.name for field in fields(InputSpec))
_STATISTICS = frozenset(field.name for field in fields(LabelStatistics))
_LARGEST = 2**31


def check_facts(tree: Any, path: Path) -> None:
    """Check the content of a classifier file.

    Args:
        tree: what the file holds.
        path: of the file, for messages.

    Raises:
        UserError: naming what is not as `save_classifier` writes it.
    """
    problem = _problem(tree)
    if problem:
        raise UserError(f"{path} is refused: {problem}, which no run of mlc writes; train the run again")


def _problem(tree: Any) -> str:
    if not isinstance(tree, Mapping) or set(tree) != _KEYS:
        return f"it does not hold {', '.join(sorted(_KEYS))}"
    names = tree["label_names"]
    if not _is_list(names, str) or not names or len(set(names)) < len(names):
        return "its label_names are no list of different names"
    auxiliary = tree["auxiliary"]
    return (
        _of_inputs(tree["inputs"])
        or _of_labels(tree["labels"], "labels", len(names))
        or (_of_labels(auxiliary, "auxiliary", None) if auxiliary is not None else "")
        or _of_tensors(tree["preparation"], "preparation")
        or _of_parts(tree["parts"])
    )


def _of_inputs(inputs: Any) -> str:
    if not isinstance(inputs, Mapping) or MAIN not in inputs:
        return f"its inputs lack {MAIN}"
    for name, spec in inputs.items():
        if not isinstance(name, str) or not isinstance(spec, Mapping):
            return "its inputs are no mapping from names to facts"
        if problem := _of_spec(spec):
            return f"its input {name[:100]} {problem}"
    return ""


def _of_spec(spec: Mapping[Any, Any]) -> str:
    strange = [key for key in spec if key not in _SPEC]
    if strange or not {"kind", "shape"} <= set(spec):
        return f"has the fact {str(strange[0])[:100]}" if strange else "lacks its kind or shape"
    if spec["kind"] not in get_args(Kind):
        return f"is of the kind {str(spec['kind'])[:100]}"
    shape = spec["shape"]
    if not _is_list(shape, int) or not 0 < len(shape) <= 3 or not all(0 <= n < _LARGEST for n in shape):
        return f"has the shape {str(shape)[:100]}"
    for key in ("vocabulary", "padding", "unknown"):
        value = spec.get(key)
        if value is not None and not (_is_int(value) and 0 <= value < _LARGEST):
            return f"has the {key} {str(value)[:100]}"
    encoder = spec.get("encoder", "")
    try:
        known = isinstance(encoder, str) and isinstance(json.loads(encoder or "[]"), dict | list)
    except (ValueError, RecursionError):
        known = False
    return "" if known else "has an encoder that is no JSON"


def _of_labels(labels: Any, name: str, n_labels: int | None) -> str:
    if not isinstance(labels, Mapping) or set(labels) != _STATISTICS:
        return f"its {name} do not hold {', '.join(sorted(_STATISTICS))}"
    positives_L, known_L = labels["positives_L"], labels["known_L"]
    histogram_K, sets_ML = labels["count_histogram_K"], labels["sets_ML"]
    if n_labels is None and isinstance(positives_L, Tensor):
        n_labels = positives_L.numel()
    for key, value in (("positives_L", positives_L), ("known_L", known_L)):
        if not _is_vector(value) or len(value) != n_labels:
            return f"{name}.{key} does not have one number for each label"
    if not _is_vector(histogram_K) or not 0 < len(histogram_K) <= len(positives_L) + 1:
        return f"{name}.count_histogram_K has more counts than there are labels"
    if sets_ML is not None and not _is_table(sets_ML, len(positives_L)):
        return f"{name}.sets_ML is no table of label sets"
    if not (_is_int(labels["rows"]) and 0 <= labels["rows"] < 2**63):
        return f"{name}.rows is no number of rows"
    if not (_is_int(labels["levels"]) and 2 <= labels["levels"] < _LARGEST):
        return f"{name}.levels is no number of levels"
    return "" if isinstance(labels["single_label"], bool) else f"{name}.single_label is not true or false"


def _of_parts(parts: Any) -> str:
    if not isinstance(parts, Mapping) or set(parts) != PARTS:
        return f"its parts are not {', '.join(sorted(PARTS))}"
    return next((found for name in PARTS if (found := _of_tensors(parts[name], f"parts.{name}"))), "")


def _of_tensors(values: Any, name: str) -> str:
    if not isinstance(values, Mapping):
        return f"its {name} are no mapping from names to tensors"
    for key, value in values.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            return f"{name}.{str(key)[:100]} is no tensor"
    return ""


def _is_list(value: Any, kind: type) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(item, kind) and not isinstance(item, bool) for item in value
    )


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_vector(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.ndim == 1
        and value.dtype == torch.float64
        and bool(value.isfinite().all())
        and bool((value >= 0).all())
    )


def _is_table(value: Any, n_labels: int) -> bool:
    return (
        isinstance(value, Tensor)
        and value.dtype == torch.bool
        and value.ndim == 2
        and value.shape[1] == n_labels
    )
