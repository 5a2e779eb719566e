"""In which number format the layers run."""

import contextlib
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from mlc.batch import BatchInput

_TYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
_LARGE = 2**18  # weights of a dense layer from which the faster multiplication outweighs the conversions


class Choice(NamedTuple):
    """A number format, and one sentence on why."""

    precision: Literal["fp32", "bf16"]
    why: str


def choose_precision(*, device: str, network: nn.Module) -> Choice:
    """What `trainer.precision=auto` means here, by a fixed rule and no stopwatch, so that two runs agree.

    It is bf16 on CUDA devices of capability 8.0 and newer; on processors that multiply bf16 natively for
    networks whose work is in convolutions or in dense layers of 2^18 weights and more, and that have no
    recurrent layer; else fp32.

    Args:
        device: where the network will run.
        network: whose layers decide.
    """
    if device != "cpu":
        capability = torch.cuda.get_device_capability(device)
        known = capability >= (8, 0)
        return Choice(
            "bf16" if known else "fp32", f"the device has CUDA capability {capability[0]}.{capability[1]}"
        )
    if not multiplies_bf16():
        return Choice("fp32", "this processor has no bf16 multiplication")
    if any(isinstance(layer, nn.RNNBase) for layer in network.modules()):
        return Choice("fp32", "recurrent layers gain nothing from bf16 on a processor")
    if any(_gains(layer) for layer in network.modules()):
        return Choice("bf16", "this processor multiplies bf16, and the network has large layers")
    return Choice("fp32", "the network's layers are too small to gain from bf16")


def _gains(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.in_channels >= 16
    return isinstance(layer, nn.Linear) and layer.weight.numel() >= _LARGE


def multiplies_bf16() -> bool:
    """Whether the processor has instructions for bf16 products."""
    if not hasattr(torch.cpu, "get_capabilities"):  # before torch 2.12
        return False
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def autocast(inputs: Mapping[str, BatchInput], precision: str) -> AbstractContextManager[object]:
    """The context in which layers run in this format, on the inputs' device; fp32 changes nothing.

    Args:
        inputs: of a batch.
        precision: fp32, bf16 or fp16.
    """
    dtype = _TYPES[precision]
    if dtype is None:
        return contextlib.nullcontext()
    first = next(iter(inputs.values()))
    device = first.device if isinstance(first, Tensor) else first.ids_M.device
    return torch.autocast(device.type, dtype=dtype)
