import pytest
import torch
from scipy.special import logit, softmax

from mlc.heads.priors import log_odds_of_frequency, log_share_of_labels
from tests.unit.label_statistics import labels_with

POSITIVES = [0, 3, 10]
LABELS = labels_with(POSITIVES, rows=10)


def test_log_odds_by_hand() -> None:
    expected = [logit(0.5 / 11), logit(3.5 / 11), logit(10.5 / 11)]
    assert log_odds_of_frequency(LABELS).tolist() == pytest.approx(expected, rel=1e-6)


def test_log_shares_give_the_smoothed_shares_through_softmax() -> None:
    expected = [0.5 / 14.5, 3.5 / 14.5, 10.5 / 14.5]
    assert softmax(log_share_of_labels(LABELS).numpy()).tolist() == pytest.approx(expected, rel=1e-6)


def test_rows_in_which_a_label_is_unknown_do_not_count() -> None:
    labels = labels_with([1.0, 3.0], rows=10, known=[4.0, 10.0])
    odds = [logit(1.5 / 5), logit(3.5 / 11)]
    assert log_odds_of_frequency(labels).tolist() == pytest.approx(odds, rel=1e-6)
    shares = [(1.5 / 5) / (1.5 / 5 + 3.5 / 11), (3.5 / 11) / (1.5 / 5 + 3.5 / 11)]
    assert softmax(log_share_of_labels(labels).numpy()).tolist() == pytest.approx(shares, rel=1e-6)


def test_a_label_that_is_never_known_starts_at_one_half() -> None:
    labels = labels_with([0.0, 3.0], rows=10, known=[0.0, 10.0])
    assert log_odds_of_frequency(labels)[0].item() == 0


def test_log_shares_are_centred() -> None:
    assert log_share_of_labels(LABELS).mean().item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("prior", [log_odds_of_frequency, log_share_of_labels])
@pytest.mark.parametrize("count", [0, 1_000_000])
def test_labels_that_are_never_or_always_true_stay_finite(prior, count) -> None:  # type: ignore[no-untyped-def]
    labels = labels_with([count, 1.0], rows=1_000_000)
    bias_L = prior(labels)
    assert bias_L.dtype == torch.float32
    assert bias_L.isfinite().all()
    assert bias_L.abs().max() < 15
