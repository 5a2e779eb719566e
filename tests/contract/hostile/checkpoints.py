"""Hostile classifier files: bytes that are no checkpoint, and checkpoints with facts that no run writes."""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Tree = dict[str, Any]
_SYSTEM = os.system  # before any test puts something else in its place


class _Payload:
    """What unpickling it does."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return _SYSTEM, (f"touch {self._canary}",)


def pickled(canary: Path) -> bytes:
    """A pickle that runs a command."""
    return pickle.dumps(_Payload(canary))


def saved_by_torch(canary: Path) -> bytes:
    """What torch.save writes, with the same payload."""
    buffer = io.BytesIO()
    torch.save({"parts": _Payload(canary)}, buffer)
    return buffer.getvalue()


def _safetensors(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def _zip(canary: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.pkl", pickled(canary))
    return buffer.getvalue()


_FLOATS = {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 8]}
BYTES: dict[str, Callable[[Path], bytes]] = {
    "a pickle": pickled,
    "a file of torch.save": saved_by_torch,
    "a zip archive": _zip,
    "nothing": lambda _: b"",
    "a header of 2**63 bytes": lambda _: struct.pack("<Q", 2**63) + b"{}",
    "a header that is a list": lambda _: _safetensors([]),
    "a header that nests": lambda _: _safetensors(b"[" * 50_000),
    "a shape larger than the file": lambda _: _safetensors({"a": _FLOATS}, b"\0" * 8),
    "a shape that overflows": lambda _: _safetensors({"a": {**_FLOATS, "shape": [2**62, 2**62]}}, b"\0" * 8),
    "data before the file": lambda _: _safetensors({"a": {**_FLOATS, "data_offsets": [-8, 0]}}),
    "an unknown type": lambda _: _safetensors({"a": {**_FLOATS, "dtype": "PICKLE", "shape": [2]}}, b"\0" * 8),
    "metadata that are no text": lambda _: _safetensors({"__metadata__": {"mlc": {"a": 1}}}),
    "no metadata": lambda _: _safetensors({"a": {**_FLOATS, "shape": [2]}}, b"\0" * 8),
    "a wrong checksum": lambda _: _safetensors({"__metadata__": {"mlc": "{}", "checksum": "0"}}),
}

# The JSON in a checkpoint whose checksum is right: anybody can compute one.
CONTENTS: dict[str, str] = {
    "no JSON": "os.system('touch owned')",
    "a list": "[]",
    "null": "null",
    "deep nesting": "[" * 50_000 + "]" * 50_000,
    "no tree": json.dumps({"format_version": 1}),
    "no version": json.dumps({"tree": {"$items": []}}),
    "a version that is a mapping": json.dumps({"format_version": {"$tensor": "a"}, "tree": {"$items": []}}),
    "a version that is a text": json.dumps({"format_version": "os.system", "tree": {"$items": []}}),
    "a version of the future": json.dumps({"format_version": 99, "tree": {"$items": []}}),
    "a tree that is a list": json.dumps({"format_version": 1, "tree": []}),
    "a tensor that is not there": json.dumps({"format_version": 1, "tree": {"$tensor": "/etc/passwd"}}),
    "a tensor whose name is a list": json.dumps({"format_version": 1, "tree": {"$tensor": []}}),
    "items that are no pairs": json.dumps({"format_version": 1, "tree": {"$items": [[1, 2, 3]]}}),
    "items that are a number": json.dumps({"format_version": 1, "tree": {"$items": 5}}),
    "a key that is a list": json.dumps({"format_version": 1, "tree": {"$items": [[[], 1]]}}),
    "a mapping of another kind": json.dumps({"format_version": 1, "tree": {"__reduce__": "os.system"}}),
}


def _in_spec(key: str, value: Any) -> Callable[[Tree], None]:
    return lambda tree: tree["inputs"]["x"].update({key: value})


def _at(key: str, value: Any) -> Callable[[Tree], None]:
    return lambda tree: tree.update({key: value})


def _in_labels(key: str, value: Any) -> Callable[[Tree], None]:
    return lambda tree: tree["labels"].update({key: value})


def _deep(depth: int = 5000) -> str:
    return "[" * depth + "]" * depth


def _bytes(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)


FACTS: dict[str, tuple[Callable[[Tree], None], str]] = {
    "a special name in an input": (_in_spec("__class__", "os.system"), "input x has the fact __class__"),
    "a kind that is none": (_in_spec("kind", "os.system"), r"input x is of the kind os\.system"),
    "a shape of terabytes": (_in_spec("shape", [2**50]), rf"input x has the shape \[{2**50}\]"),
    "a shape of texts": (_in_spec("shape", ["os.system"]), r"input x has the shape"),
    "a negative shape": (_in_spec("shape", [-3]), r"input x has the shape \[-3\]"),
    "no shape": (lambda tree: tree["inputs"]["x"].pop("shape"), "input x lacks its kind or shape"),
    "a vocabulary of terabytes": (_in_spec("vocabulary", 2**50), "input x has the vocabulary"),
    "an encoder that is no JSON": (
        _in_spec("encoder", "os.system"),
        "input x has an encoder that is no JSON",
    ),
    "an encoder that nests": (_in_spec("encoder", _deep(50_000)), "input x has an encoder that is no JSON"),
    "an input that is a list": (_at("inputs", {"x": ["os.system"]}), "inputs are no mapping"),
    "no main input": (_at("inputs", {}), "inputs lack x"),
    "names that are a text": (_at("label_names", "os.system"), "label_names are no list"),
    "one name twice": (_at("label_names", ["a"] * 5), "label_names are no list of different names"),
    "names that are mappings": (_at("label_names", [{}]), "label_names are no list"),
    "more names than labels": (_at("label_names", list("abcdefg")), "one number for each label"),
    "a special name in the labels": (_in_labels("__init__", 1), "labels do not hold"),
    "a count that is a text": (
        _in_labels("positives_L", "os.system"),
        "positives_L does not have one number",
    ),
    "an infinite count": (
        _in_labels("known_L", torch.full((5,), torch.inf).double()),
        "known_L does not have",
    ),
    "a count without end": (
        _in_labels("count_histogram_K", torch.zeros(99).double()),
        "count_histogram_K has more",
    ),
    "label sets that are a vector": (
        _in_labels("sets_ML", torch.zeros(9, dtype=torch.bool)),
        "sets_ML is no table",
    ),
    "levels without end": (_in_labels("levels", 2**60), r"labels\.levels is no number of levels"),
    "rows that are a text": (_in_labels("rows", "os.system"), r"labels\.rows is no number"),
    "auxiliary labels that are a list": (_at("auxiliary", ["os.system"]), "auxiliary do not hold"),
    "a preparation that is a text": (
        _at("preparation", {"mean": "os.system"}),
        r"preparation\.mean is no tensor",
    ),
    "a text encoder that is none": (
        _at("preparation", {"text.kind": _bytes('"os.system"')}),
        "what it prepares new rows with cannot be read",
    ),
    "a schema that nests": (_at("preparation", {"schema": _bytes(_deep())}), "new rows with cannot be read"),
    "parts that are a list": (_at("parts", ["os.system"]), "parts are not"),
    "a part that is code": (lambda tree: tree["parts"].update(code={}), "parts are not"),
    "a weight that is a text": (
        lambda tree: tree["parts"]["network"].update({"head.logits.weight": "os.system"}),
        r"parts\.network\.head\.logits\.weight is no tensor",
    ),
    "something beside the facts": (_at("hook", "os.system"), "does not hold"),
    "a weight of another shape": (
        lambda tree: tree["parts"]["network"].update({"head.logits.weight": torch.zeros(1, 1, 1)}),
        "does not fit|larger network",
    ),
}
