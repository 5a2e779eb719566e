import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from mlc.metrics import score_histogram
from mlc.metrics.average_precision import average_precision
from mlc.metrics.score_histogram import (
    BINS,
    add_to_histograms,
    empty_histograms,
    histogram_average_precision,
    score_bins,
)

finite = st.floats(width=32, allow_nan=False)


def histograms(scores, y, weight=None):
    counts = empty_histograms(scores.shape[1], weighted=weight is not None)
    add_to_histograms(counts, scores, y, weight)
    return counts


@given(st.lists(finite, min_size=2, max_size=50))
def test_bins_never_reverse_scores(values):
    bins = score_bins(torch.tensor(sorted(values)))
    assert bool((bins.diff() >= 0).all())
    assert 0 <= int(bins.min()) <= int(bins.max()) < BINS


def test_bins_are_as_fine_as_they_say():
    assert score_bins(torch.tensor([-0.0])) == score_bins(torch.tensor([0.0]))  # equal scores
    for score, width in ((0.0, 1 / 128), (0.5, 1 / 128), (10.0, 1 / 16), (-10.0, 1 / 16), (253.0, 1.0)):
        near, far = score_bins(torch.tensor([score, score + width]))
        assert far == near + 1
    assert score_bins(torch.tensor([-torch.inf, -255.0, 255.0, torch.inf])).tolist() == [
        0,
        0,
        BINS - 1,
        BINS - 1,
    ]


def test_bins_are_symmetrical_in_every_type():
    scores = torch.tensor([0.0, 1 / 200, 1 / 64, 1.0, 6.3, 254.0, 1e30])
    up, down = score_bins(scores), score_bins(-scores)
    assert (up + down).tolist() == [BINS - 1] * 7
    assert score_bins(scores.double()).tolist() == up.tolist()
    assert score_bins(torch.tensor([255.0, -255.0]).bfloat16()).tolist() == [BINS - 1, 0]


# A few coarse scores: rows share bins, tied and untied, and bins hold only positives, only others, or both.
rows = st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 5), st.booleans()), min_size=1, max_size=40)


@given(rows)
def test_bound_holds_the_exact_value(rows):
    scores = torch.tensor([[coarse + fine / 1000] for coarse, fine, _ in rows])
    y = torch.tensor([[float(positive)] for *_, positive in rows])
    found = histogram_average_precision(histograms(scores, y))
    if y.sum() == 0:
        assert found.ap_L.isnan().all()
        return
    exact = average_precision_score(y[:, 0].numpy(), scores[:, 0].numpy())
    assert abs(float(found.ap_L) - exact) <= float(found.error_bound_L) + 1e-12


@pytest.mark.parametrize("positives_first", [True, False])
def test_bound_is_reached(positives_first):
    """3 positives and 2 others in one bin, below a bin with 1 positive and 4 others in a known order."""
    apart = torch.tensor([4.0, 5.0, 4.5, 4.2, 4.1])
    together = torch.tensor(
        [0.002] * 3 + [0.001] * 2 if positives_first else [0.001, 0.002, 0.003, 0.004, 0.005]
    )
    scores = torch.cat([apart, together])[:, None]
    y = torch.tensor([0, 1, 0, 0, 0, 1, 1, 1, 0, 0]).float()[:, None]
    found = histogram_average_precision(histograms(scores, y))
    exact = average_precision_score(y[:, 0].numpy(), scores[:, 0].numpy())
    assert float(found.error_bound_L) > 0.01
    side = 1 if positives_first else -1
    assert exact == pytest.approx(float(found.ap_L + side * found.error_bound_L))


def test_realistic_scores_give_a_tight_bound(monkeypatch):
    g = torch.Generator().manual_seed(0)
    scores = torch.randn(4000, 30, generator=g) * 2 - torch.linspace(0, 8, 30)
    y = (torch.rand(4000, 30, generator=g) < torch.sigmoid(scores)).float()
    counts = histograms(scores, y)
    found = histogram_average_precision(counts)
    exact = average_precision([scores], [y])
    assert float(found.error_bound_L.nanmean()) < 5e-3
    gap = (found.precision_LC - exact.precision_LC).abs().nanmean()
    assert float(gap) < 5e-3
    torch.testing.assert_close(found.ap_L.isnan(), exact.ap_L.isnan())
    monkeypatch.setattr(score_histogram, "CELLS", 4 * BINS)
    torch.testing.assert_close(histogram_average_precision(counts), found, equal_nan=True)
    assert histograms(scores, y).tolist() == counts.tolist()


def test_curve_points_are_bin_edges_that_reach_their_recall():
    scores = torch.tensor([[3.0], [2.0], [2.001], [1.0]])
    y = torch.tensor([[0.0], [1.0], [0.0], [1.0]])
    found = histogram_average_precision(histograms(scores, y))
    assert found.recall_LC[0, [0, 49, 50, 99]].tolist() == [0.5, 0.5, 1, 1]
    assert found.precision_LC[0, [0, 49, 50, 99]].tolist() == pytest.approx([1 / 3, 1 / 3, 0.5, 0.5])


weighted_rows = st.lists(
    st.tuples(
        st.integers(-3, 3),
        st.integers(0, 5),
        st.sampled_from([0.0, 1.0, float("nan")]),
        st.sampled_from([0.0, 0.01, 0.3, 1.0, 1.5, 7.25]),
    ),
    min_size=1,
    max_size=40,
)


@given(weighted_rows)
def test_bound_holds_the_exact_value_with_weights_and_unknown_targets(rows):
    scores = torch.tensor([[coarse + fine / 1000] for coarse, fine, *_ in rows])
    y = torch.tensor([[target] for *_, target, _ in rows])
    weight = torch.tensor([weight for *_, weight in rows])
    found = histogram_average_precision(
        histograms(scores, y, weight), unit=min([1.0, *weight[weight > 0].tolist()])
    )
    exact = average_precision([scores], [y], weight)
    torch.testing.assert_close(found.ap_L.isnan(), exact.ap_L.isnan())
    gap_L = (found.ap_L - exact.ap_L).abs().nan_to_num()
    assert bool((gap_L <= found.error_bound_L.nan_to_num() + 1e-9).all())


def test_small_weights_need_their_unit():
    """100 positives below 100 others in one bin, each of weight 1/100: far worse than 1 below 1."""
    scores = torch.linspace(0.001, 0.002, 200)[:, None]
    y = (torch.arange(200) < 100).float()[:, None]
    counts = histograms(scores, y, torch.full((200,), 0.01))
    exact = average_precision([scores], [y]).ap_L
    found, too_sure = (histogram_average_precision(counts, unit=unit) for unit in (0.01, 1.0))
    assert exact < too_sure.ap_L - too_sure.error_bound_L
    torch.testing.assert_close(found.ap_L - found.error_bound_L, exact)


def test_unknown_targets_are_in_no_histogram():
    g = torch.Generator().manual_seed(0)
    scores, y = torch.randn(50, 2, generator=g), (torch.rand(50, 2, generator=g) < 0.4).float()
    expected = histograms(scores[20:, :1], y[20:, :1])
    y[:20, 0] = torch.nan
    found = histograms(scores, y)
    assert found[:1].tolist() == expected.tolist()
    assert found.dtype == torch.int32
