"""Ranks that are counted piece by piece against those of whole rows."""

import pytest
import torch

from mlc.metrics.ranking import ranking_sums, sums_of_ranks
from mlc.outputs.independent import IndependentLabels
from mlc.training.label_predictions import Piece
from mlc.training.label_ranks import LabelRanks

N, L, KS = 9, 12, (1, 3, 5)


@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize("size", [1, 5, 12])
def test_ties_and_unknown_labels(size, unknown):
    generator = torch.Generator().manual_seed(0)
    scores_NL = torch.randint(-3, 3, (N, L), generator=generator) / 2
    y_NL = (torch.rand(N, L, generator=generator) < 0.3).float()
    y_NL[4] = 0
    if unknown:
        y_NL[torch.rand(N, L, generator=generator) < 0.3] = torch.nan
    ranks = LabelRanks(N, torch.device("cpu"))
    cuts = [slice(first, min(first + size, L)) for first in range(0, L, size)]
    for number, labels in enumerate(cuts):
        true = tuple((y_NL[:, labels] > 0).nonzero().unbind(1))
        part_NC = scores_NL[:, labels]
        piece = Piece(number, labels, IndependentLabels(part_NC), y_NL[:, labels], true, torch.zeros(N))
        ranks.look(piece, part_NC)
    ranks.looked()
    for labels in cuts:
        ranks.count(scores_NL[:, labels], y_NL[:, labels].isnan() if unknown else None)
    found = sums_of_ranks(ranks.ranks(), L, KS, None)
    for name, value in ranking_sums(scores_NL, y_NL, KS)._asdict().items():
        torch.testing.assert_close(getattr(found, name), value, msg=name)
