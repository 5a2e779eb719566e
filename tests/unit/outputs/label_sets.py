"""Distributions over label sets, summed over every one of the 2^L sets."""

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from mlc.outputs.base import LabelOutput


def all_sets(n_labels: int) -> Tensor:
    """2^L×L sets, in float64."""
    return torch.tensor(list(product([0.0, 1.0], repeat=n_labels)), dtype=torch.float64)


@dataclass(frozen=True)
class Enumerated:
    """What an output says of its sets, by asking log_prob about each of them.

    Args:
        p_BS: probabilities of the S = 2^L sets.
        sets_SL: the sets.
    """

    p_BS: Tensor
    sets_SL: Tensor

    @property
    def marginals_BL(self) -> Tensor:  # noqa: N802 - the shape suffix
        return self.p_BS @ self.sets_SL

    @property
    def size_is_SK(self) -> Tensor:  # noqa: N802 - the shape suffix
        n_S = self.sets_SL.sum(1).long()
        return torch.nn.functional.one_hot(n_S, self.sets_SL.shape[1] + 1).double()

    @property
    def cardinality_BK(self) -> Tensor:  # noqa: N802 - the shape suffix
        return self.p_BS @ self.size_is_SK

    @property
    def marginals_by_count_BLK(self) -> Tensor:  # noqa: N802 - the shape suffix
        return torch.einsum("bs,sl,sk->blk", self.p_BS, self.sets_SL, self.size_is_SK)

    @property
    def mode_BL(self) -> Tensor:  # noqa: N802 - the shape suffix
        return self.sets_SL[self.p_BS.argmax(1)].bool()


def enumerate_sets(output: LabelOutput, dtype: torch.dtype = torch.float64) -> Enumerated:
    """Ask log_prob about every set; probabilities in float64, targets in `dtype`."""
    sets_SL = all_sets(output.n_labels)
    rows = len(output.score_logits())
    log_p = [output.log_prob(set_L.to(dtype).expand(rows, -1)) for set_L in sets_SL]
    return Enumerated(torch.stack(log_p, dim=1).double().exp(), sets_SL)


def log_prob_of_what_is_known(exact: Enumerated, y_BL: Tensor) -> Tensor:
    """B logs of the summed probabilities of every set that agrees with y where it is not NaN."""
    agrees_BSL = y_BL[:, None].isnan() | (y_BL[:, None] == exact.sets_SL)
    return (exact.p_BS * agrees_BSL.all(2)).sum(1).log()


def with_unknown(y_BL: Tensor, seed: int = 0) -> Tensor:
    """Targets of which about a third are unknown; none in the first row and all in the last."""
    hidden_BL = torch.rand(y_BL.shape, generator=torch.Generator().manual_seed(seed)) < 0.35
    hidden_BL[0], hidden_BL[-1] = False, True
    return torch.where(hidden_BL, torch.nan, y_BL)
