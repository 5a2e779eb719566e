"""The parameters beside labels in shards: the same in every process, and so are the steps they take."""

import contextlib
from collections.abc import Iterable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor

from mlc.model import Network
from mlc.training import processes
from mlc.training.label_chunks import label_blocks


class AlikeParts:
    """All parameters but those of the label layer.

    Each process takes the gradient of its own rows, for the loss of all labels; the sum over the processes is
    the gradient of the batch.

    Args:
        network: whose label layer is in shards; what the main process has becomes everybody's.
    """

    def __init__(self, network: Network):
        layer = label_blocks(network.head)
        self._parameters = [
            parameter
            for parameter in network.parameters()
            if parameter is not layer.weight_KDC and parameter is not layer.bias_L
        ]
        processes.share(parameter.detach() for parameter in self._parameters)

    @contextlib.contextmanager
    def gradients_added_up(self) -> Iterator[None]:
        """The context of a backward pass."""
        yield
        _add_up(parameter.grad for parameter in self._parameters if parameter.grad is not None)


def _add_up(gradients: Iterable[Tensor]) -> None:
    """Give every process the sum of these over all processes, in place, in one message for each type."""
    by_type: dict[torch.dtype, list[Tensor]] = {}
    for gradient in gradients:
        by_type.setdefault(gradient.dtype, []).append(gradient)
    for same in by_type.values():
        flat = torch.cat([gradient.reshape(-1) for gradient in same])
        dist.all_reduce(flat)
        for gradient, total in zip(same, flat.split([g.numel() for g in same]), strict=True):
            gradient.copy_(total.view_as(gradient))
