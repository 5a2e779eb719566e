"""Pictures with their channels last in memory: convolutions are often faster, and the same but for rounding.

Only what flows through the network is laid out so. Weights, their gradients and the optimiser's state stay as
they are, and with them every checkpoint: convolutions follow the layout of their input.
"""

from typing import Literal

import torch
from torch import Tensor

ChannelsLast = Literal["auto"] | bool


def laid_out(x_BCHW: Tensor, wanted: ChannelsLast, *, pays_on_cpu: bool) -> Tensor:
    """The same pictures, with their channels last in memory where it is wanted.

    Args:
        x_BCHW: pictures.
        wanted: True, False, or "auto" for a fixed rule: on a processor where it pays for this network, on
            CUDA under autocast, because tensor cores multiply bf16 and fp16 in this layout only.
        pays_on_cpu: what has been measured of networks of this kind (docs/performance.md).

    Source: "Channels last memory format in PyTorch", docs.pytorch.org/tutorials, for CUDA.
    """
    device = x_BCHW.device.type
    if wanted == "auto":
        wanted = pays_on_cpu if device == "cpu" else torch.is_autocast_enabled(device)
    if not wanted:
        return x_BCHW
    # By hand, because to(memory_format=...) leaves pictures of one channel as they are: they are both.
    return torch.empty_like(x_BCHW, memory_format=torch.channels_last).copy_(x_BCHW)
