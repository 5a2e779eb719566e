"""Which blocks of very many labels each process holds, and how a block comes to the others.

    blocks 0 1 2 3 4 of labels in two processes:  0 1 | 2 3 4

A process holds the weights, the biases and the optimiser's state of its own blocks only, from which the
gradients of its labels come. Whole blocks are dealt out, so that a block is what it is in one process.
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from mlc.training import processes


@dataclass(frozen=True)
class LabelShards:
    """How K blocks are dealt out: each process has a run of them, as even as can be.

    Args:
        blocks: K, not fewer than processes.
        rank: the number of this process.
        world: how many processes there are.
    """

    blocks: int
    rank: int
    world: int

    @classmethod
    def here(cls, blocks: int) -> "LabelShards":
        """Among the processes that train together now."""
        return cls(blocks, processes.rank(), processes.size())

    def of(self, rank: int) -> range:
        """The blocks of a process."""
        return range(self.blocks * rank // self.world, self.blocks * (rank + 1) // self.world)

    @property
    def own(self) -> range:
        """The blocks of this process."""
        return self.of(self.rank)

    def owner(self, block: int) -> int:
        """The process that has a block."""
        return next(rank for rank in range(self.world) if block in self.of(rank))

    def fetch(self, own: Tensor, block: int, *, shape: tuple[int, ...]) -> Tensor:
        """What belongs to a block, in every process; all of them ask for the same block together.

        Args:
            own: what this process has for it, where it is its own; else anything of that type and device.
            block: its number.
            shape: of what is fetched.
        """
        if self.world == 1:
            return own
        piece = own.contiguous() if block in self.own else own.new_empty(shape)
        dist.broadcast(piece, self.owner(block))
        return piece

    def whole(self, own_K: Tensor) -> Tensor:
        """All blocks on the CPU of the main process, which come one after another; its own part in others.

        Args:
            own_K: the own blocks of this process, first dimension.
        """
        all_K = torch.empty(self.blocks if self.rank == 0 else 0, *own_K.shape[1:], dtype=own_K.dtype)
        for block in range(self.blocks):
            mine = block in self.own
            piece = self.fetch(
                own_K[block - self.own.start] if mine else own_K, block, shape=tuple(own_K.shape[1:])
            )
            if self.rank == 0:
                all_K[block] = piece
        return all_K if self.rank == 0 else own_K
