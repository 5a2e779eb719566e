import pytest
import torch

from mlc.calibration.examples import (
    Cells,
    cell_weights,
    counts,
    is_rare,
    log_odds_of_mean,
    means,
    platt_targets,
    sizes,
    standardised,
)

NAN = torch.nan
Y = torch.tensor([[1.0, NAN], [0, 1], [1, NAN]])


def test_cells_count_by_their_row_and_not_where_unknown() -> None:
    y_NL, weight_NL = cell_weights(Y, torch.tensor([2.0, 3, 0.5]))
    assert y_NL.tolist() == [[1, 0], [0, 1], [1, 0]]
    assert weight_NL is not None
    assert weight_NL.tolist() == [[2, 0], [3, 3], [0.5, 0]]
    positives_L, negatives_L = counts(y_NL, weight_NL)
    assert positives_L.tolist() == [2.5, 3]
    assert negatives_L.tolist() == [3, 0]
    assert sizes(y_NL, weight_NL).tolist() == [5.5, 3]
    assert platt_targets(y_NL, weight_NL)[:2, 0].tolist() == pytest.approx([3.5 / 4.5, 1 / 5])


def test_weights_of_one_are_none() -> None:
    assert cell_weights(Y[:, :1], torch.ones(3))[1] is None
    assert cell_weights(Y[:, :1], None)[1] is None
    unknown_only = cell_weights(Y, None)[1]
    assert unknown_only is not None
    assert unknown_only.tolist() == [[1, 0], [1, 1], [1, 0]]
    assert sizes(Y[:, :1], None).tolist() == [3]


def test_rare_is_under_ten_effective_examples_of_either_kind() -> None:
    y_NL = torch.tensor([[1.0, 1], [0, 0]])
    weight_NL = torch.tensor([[10.0, 9.5], [10, 20]])
    assert is_rare(y_NL, weight_NL).tolist() == [False, True]
    assert is_rare(y_NL, weight_NL.flip(0)).tolist() == [False, True]


def test_weighted_columns_are_standardised_like_repeated_rows() -> None:
    s_NL = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)).double()
    k_N = torch.tensor([1, 2, 0, 3, 1, 1])
    weight_NL = k_N.double()[:, None].expand(6, 2)
    z_NL, centre_L, deviation_L = standardised(s_NL, weight_NL)
    repeated_NL, expected_centre_L, expected_deviation_L = standardised(s_NL.repeat_interleave(k_N, dim=0))
    torch.testing.assert_close(z_NL.repeat_interleave(k_N, dim=0), repeated_NL)
    torch.testing.assert_close((centre_L, deviation_L), (expected_centre_L, expected_deviation_L))
    assert (z_NL[2] == 0).all()


def test_a_column_that_varies_only_where_unknown_does_not_vary() -> None:
    s_NL, weight_NL = torch.tensor([[3.0], [3], [9]]).double(), torch.tensor([[1.0], [1], [0]]).double()
    z_NL, centre_L, deviation_L = standardised(s_NL, weight_NL)
    assert (z_NL.tolist(), centre_L.tolist(), deviation_L.tolist()) == ([[0], [0], [0]], [3], [1])


def test_labels_without_examples_have_mean_zero_and_even_odds() -> None:
    values_NL, weight_NL = torch.tensor([[0.8, 0.8]]).double(), torch.tensor([[2.0, 0]]).double()
    assert means(values_NL, weight_NL).tolist() == pytest.approx([0.8, 0])
    assert log_odds_of_mean(values_NL, weight_NL).exp().tolist() == pytest.approx([4, 1])


@pytest.mark.parametrize("weighted", [False, True])
def test_blocks_hold_every_label_once(weighted: bool) -> None:
    s_NL = torch.arange(10.0).reshape(2, 5)
    cells = Cells(s_NL, s_NL + 1, s_NL + 2 if weighted else None)
    parts = list(cells.blocks(cells=4))
    assert [part.s_NL.shape[1] for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat([part.y_NL for part in parts], dim=1), s_NL.double() + 1)
    if weighted:
        assert torch.equal(torch.cat([p.weight_NL for p in parts], dim=1), s_NL.double() + 2)
    else:
        assert all(part.weight_NL is None for part in parts)
