"""Checksums of data: of the numbers themselves, however they lie in memory."""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mlc.data.dataset import Dataset, Input, Split
from mlc.data.picture_rows import PictureRows
from mlc.rows import LabelRows, RaggedRows, SparseRows, Targets

if TYPE_CHECKING:
    from hashlib import _Hash

_CHUNK_BYTES = 1 << 24  # copied at a time, where rows do not lie in one piece
_CHUNK_ROWS = 1 << 14  # likewise, where the size of a row is not known
HEX_DIGITS = 32
_INT32 = torch.iinfo(torch.int32)


def digest(dataset: Dataset) -> dict[str, str]:
    """Checksums of all that training and evaluation read.

    They depend on the numbers alone: not on where the files were, nor on strides, on what else a view's
    memory holds, or on whether indices are int32 or int64. So the same rows in another order differ.

    Args:
        dataset: loaded, on any device; about 1 GB a second are read.

    Returns:
        32 hexadecimal digits each for "train", "valid" and "test" (inputs, targets, weights, auxiliary
        targets), for "labels" (their names) and for "preparation".
    """
    checksums = {
        name: _split(split)
        for name, split in (("train", dataset.train), ("valid", dataset.valid), ("test", dataset.test))
    }
    names = hashlib.sha256(repr((dataset.label_names, dataset.auxiliary_names)).encode())
    return checksums | {"labels": _text(names), "preparation": digest_tensors(dataset.preparation)}


def digest_tensors(tensors: Mapping[str, Tensor]) -> str:
    """One checksum of named tensors, whatever their order."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        _feed(sha, name, tensors[name])
    return _text(sha)


def _split(split: Split) -> str:
    sha = hashlib.sha256()
    for name, values in split.inputs.items():  # in their order: side inputs join in it
        sha.update(f"input {name!r} {_kind(values)}".encode())
        _feed_rows(sha, values)
    sha.update(f"targets {_kind(split.y_NL)}".encode())
    _feed_rows(sha, split.y_NL)
    for name, tensor in (("weights", split.weight_N), ("auxiliary targets", split.auxiliary_NA)):
        sha.update(f"{name} {tensor is not None}".encode())
        if tensor is not None:
            _feed_rows(sha, tensor)
    return _text(sha)


def _kind(values: Input | Targets) -> str:
    """What the numbers do not say themselves."""
    if isinstance(values, Tensor):
        return f"{len(values)} rows"
    if isinstance(values, LabelRows):
        return f"{values.shape} label sets"
    spec = values.spec
    return f"{len(values)} rows, {(spec.kind, spec.shape, spec.vocabulary, spec.padding)}"


def _feed_rows(sha: "_Hash", values: Input | Targets) -> None:
    if isinstance(values, Tensor):
        for chunk in values.split(_rows_at_a_time(values)):
            _feed(sha, "rows", chunk)
    elif isinstance(values, PictureRows):
        _feed_pictures(sha, values)
    elif isinstance(values, RaggedRows):
        for start in range(0, len(values), _CHUNK_ROWS):
            _feed_ragged(sha, values, slice(start, start + _CHUNK_ROWS))
    else:  # as batches, which is slower and says the same
        for rows in torch.arange(len(values)).split(_CHUNK_ROWS):
            _feed_rows(sha, values[rows])


def _feed_pictures(sha: "_Hash", values: PictureRows) -> None:
    """The pixels, not the files they came from: those may have been moved, copied or touched."""
    for rows in values.rows_N.split(_rows_at_a_time(values.pixels_MCHW)):
        _feed(sha, "pixels", values.pixels_MCHW.index_select(0, rows))
    for name, fitted in (("mean", values.mean_C), ("scale", values.scale_C)):
        if fitted is not None:
            _feed(sha, name, fitted)


def _feed_ragged(sha: "_Hash", values: RaggedRows, rows: slice) -> None:
    start_B, length_B = values.start_N[rows], values.length_N[rows]
    flat = {"ids": values.ids_M}
    if isinstance(values, SparseRows) and values.values_M is not None:
        flat["values"] = values.values_M
    _feed(sha, "lengths", length_B)
    if torch.equal(start_B[1:], start_B[:-1] + length_B[:-1]):  # one piece: nothing has to be copied
        piece = slice(int(start_B[0]), int(start_B[-1] + length_B[-1]))
        pieces = {name: values_M[piece] for name, values_M in flat.items()}
    else:
        places, _ = values.places(torch.arange(len(values), device=start_B.device)[rows])
        # Much faster than brackets, which prepare for any kind of index.
        pieces = {name: values_M.index_select(0, places) for name, values_M in flat.items()}
    for name, piece_M in pieces.items():
        _feed(sha, name, piece_M)


def _feed(sha: "_Hash", name: str, tensor: Tensor) -> None:
    """Name, type, shape and numbers of one tensor."""
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.int64 and (not tensor.numel() or _fits_int32(tensor)):
        tensor = tensor.int()
    sha.update(f"{name!r} {tensor.dtype} {tuple(tensor.shape)}".encode())
    sha.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)


def _fits_int32(tensor: Tensor) -> bool:
    lowest, highest = tensor.aminmax()
    return _INT32.min <= int(lowest) and int(highest) <= _INT32.max


def _rows_at_a_time(values: Tensor) -> int:
    each = values[:1].numel() * values.element_size()
    return max(1, _CHUNK_BYTES // max(1, each))


def _text(sha: "_Hash") -> str:
    return sha.hexdigest()[:HEX_DIGITS]
