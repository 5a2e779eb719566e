"""Plain values as tensors, because what travels with a model holds tensors only."""

import json
from typing import Any

import torch
from torch import Tensor


def pack(value: Any) -> Tensor:
    """A value that JSON knows, as UTF-8 JSON in a uint8 tensor."""
    return torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)


def unpack(tensor: Tensor) -> Any:
    """The value that `pack` was given."""
    return json.loads(tensor.cpu().numpy().tobytes())
