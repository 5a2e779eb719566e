import numpy as np
import pytest
import torch

from mlc.data.overview import overview, together
from mlc.rows import LabelRows

NAN = float("nan")
Y_NL = torch.tensor(
    [[1, 1, 0, 0], [1, 0, 0, 0], [0, 2, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0], [NAN] * 4, [1, NAN, 0, 0]]
)


def test_counts_by_hand() -> None:
    found = overview(Y_NL)
    assert found.rows == 7
    assert found.n_labels == 4
    assert found.positives_L.tolist() == [4, 3, 1, 0]
    assert found.known_L.tolist() == [6, 5, 6, 6]
    assert found.labels_of_row_N.tolist() == [2, 1, 2, 2, 0, 0, 1]
    assert (found.unknown, found.unknown_rows, found.empty_rows) == (5, 1, 1)
    assert found.label_sets == 4
    assert found.cardinality == pytest.approx(4 / 6 + 3 / 5 + 1 / 6)
    assert found.density == pytest.approx(found.cardinality / 4)
    assert found.imbalance_L[:3].tolist() == pytest.approx([1, 4 / 3, 4])
    assert np.isnan(found.imbalance_L[3])
    assert found.by_frequency.tolist() == [0, 1, 2, 3]


def test_sparse_targets_have_the_same_overview() -> None:
    y_NL = (torch.rand(300, 7, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    lengths = y_NL.sum(1).long()
    sparse = LabelRows(y_NL.nonzero()[:, 1].int(), lengths.cumsum(0) - lengths, lengths, 7)
    for name, value in vars(overview(y_NL)).items():
        assert np.array_equal(getattr(overview(sparse), name), value), name
    chosen = np.array([5, 0, 3])
    assert together(sparse, chosen).tolist() == together(y_NL, chosen).tolist()
    assert together(y_NL, chosen).tolist() == (y_NL[:, chosen].T @ y_NL[:, chosen]).tolist()
    assert overview(y_NL).label_sets == len(y_NL.unique(dim=0))


def test_pairs_are_counted_over_all_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlc.data.overview._CHUNK_ROWS", 3)
    y_NL = (torch.rand(10, 4, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    assert together(y_NL, np.arange(4)).tolist() == (y_NL.T @ y_NL).tolist()


def test_no_rows_and_no_labels() -> None:
    assert overview(torch.zeros(0, 3)).cardinality == 0
    assert overview(torch.zeros(0, 3)).label_sets == 0
    assert overview(torch.zeros(2, 0)).label_sets == 1
    assert together(torch.zeros(0, 3), np.arange(2)).tolist() == [[0, 0], [0, 0]]
