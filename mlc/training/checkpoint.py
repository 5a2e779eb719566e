"""Checkpoints: tensors and JSON in one safetensors file, written atomically, with a checksum.

Nothing in a checkpoint is pickled, so loading a stranger's file runs none of their code.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from mlc.errors import Fault, UserError
from mlc.training.files import atomic_path

FORMAT_VERSION = 1
_TENSOR = "$tensor"
_TURNED = "$turned"
_ITEMS = "$items"
_AGAIN = "resume=<its run folder> writes it again where a whole checkpoint is left; else train the run again"


class OtherFormatError(UserError):
    """A whole checkpoint that another version of this project wrote."""


def save_checkpoint(path: Path, tree: dict[str, Any]) -> None:
    """Write a tree of dicts, lists, plain values and tensors; the old file stays until the new is whole."""
    tensors: dict[str, torch.Tensor] = {}
    text = json.dumps({"format_version": FORMAT_VERSION, "tree": _pack(tree, "", tensors)})
    metadata = {"mlc": text, "checksum": _checksum(text, tensors)}
    with atomic_path(path) as temporary:
        try:
            save_file(tensors, temporary, metadata=metadata)
        except SafetensorError as error:  # its own kind also where the disk is full
            raise Fault(
                f"{path} cannot be written ({error}): make room; what was saved before is whole"
            ) from error


def load_plain(path: Path) -> dict[str, Any]:
    """The plain values of a checkpoint, from its header alone, without its checksum; tensors are None.

    Raises:
        UserError: the header cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            content = json.loads((file.metadata() or {})["mlc"])
    except (SafetensorError, OSError, ValueError, LookupError) as error:
        raise UserError(f"{path} is damaged or cut and cannot be read ({error})") from error
    tree: dict[str, Any] = _unpack(content["tree"], defaultdict(lambda: None))
    return tree


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint back, tensors on the CPU.

    Raises:
        UserError: the file is missing, cut, damaged or no checkpoint of this project.
        OtherFormatError: it is whole, and of another version.
    """
    if not path.is_file():
        raise UserError(f"{path} is not there: this folder holds no checkpoint to read")
    path.open("rb").close()  # what may not be read is not damaged: that error names the path and the reason
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise UserError(f"{path} is damaged or cut and cannot be read ({error}): {_AGAIN}") from error
    if "mlc" not in metadata or metadata.get("checksum") != _checksum(metadata["mlc"], tensors):
        raise UserError(f"{path} is no whole checkpoint: its checksum does not match; {_AGAIN}")
    try:
        content = json.loads(metadata["mlc"])
        version = content["format_version"]
        tree = _unpack(content["tree"], tensors) if version == FORMAT_VERSION else {}
    # A checksum says that a file is whole, and not that it was written here.
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path} is refused: no run of mlc writes such a checkpoint ({type(error).__name__}); train the "
            f"run again"
        ) from error
    if version != FORMAT_VERSION:
        raise OtherFormatError(
            f"{path} has checkpoint format {str(version)[:40]} and this version reads {FORMAT_VERSION}: use "
            f"the version of mlc that wrote it"
        )
    if not isinstance(tree, dict):
        raise UserError(f"{path} is refused: it holds no mapping, as every checkpoint of mlc does")
    return tree


def _pack(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        while name in tensors:  # the keys "a/b" and "a" > "b" read alike, as do 1 and "1"
            name += "'"
        tensor = value.detach().cpu()
        if tensor.ndim == 2 and not tensor.is_contiguous() and tensor.T.is_contiguous():
            # As it lies in memory: a copy of a large transposed weight is as large.
            tensors[name] = _own(tensor.T, tensors)
            return {_TENSOR: name, _TURNED: True}
        tensors[name] = _own(tensor, tensors)
        return {_TENSOR: name}
    if isinstance(value, dict):
        # As pairs, because JSON would turn the integer keys of an optimiser's state into strings.
        return {_ITEMS: [[key, _pack(item, f"{name}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_pack(item, f"{name}/{i}", tensors) for i, item in enumerate(value)]
    return value


def _own(value: torch.Tensor, others: dict[str, torch.Tensor]) -> torch.Tensor:
    """The tensor itself where it has its memory to itself, as the file format wants; else a copy."""
    whole = value.untyped_storage().nbytes() == value.nbytes and value.is_contiguous()
    shared = any(value.data_ptr() == other.data_ptr() for other in others.values())
    return value if whole and not shared else value.clone(memory_format=torch.contiguous_format)


def _unpack(value: Any, tensors: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    if isinstance(value, dict):
        if _TENSOR in value:
            tensor = tensors[value[_TENSOR]]
            return tensor.T if value.get(_TURNED) and tensor is not None else tensor
        return {key: _unpack(item, tensors) for key, item in value[_ITEMS]}
    return value


def _checksum(text: str, tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name in sorted(tensors):
        values = tensors[name]
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
