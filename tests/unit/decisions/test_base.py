"""What `fit` promises for every rule: unknown targets do not exist, and a row of weight k is k rows."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mlc.decisions.base import Decision
from mlc.decisions.by_count import ByCount
from mlc.decisions.conformal import ConformalThreshold, highest_threshold
from mlc.decisions.cost_weighted import CostWeighted
from mlc.decisions.expected_f1 import ExpectedF1
from mlc.decisions.fixed import FixedThreshold
from mlc.decisions.greedy import GreedySet
from mlc.decisions.most_probable import MostProbableSet
from mlc.decisions.plug_in import PlugInThreshold
from mlc.decisions.scut_fbr import SCutFBR
from mlc.decisions.threshold_by_frequency import ThresholdByFrequency, cut_by_frequency
from mlc.decisions.thresholds import GlobalThreshold, PerLabelThreshold
from mlc.decisions.top_k import TopK
from mlc.outputs.chain import LabelChain
from mlc.outputs.independent import IndependentLabels

NAN = float("nan")
Make = Callable[[int], Decision]
# By name, because a label's cut does not see the other labels, or does.
PER_LABEL: dict[str, Make] = {
    "per_label": lambda n: PerLabelThreshold(n_labels=n),
    "scut_fbr": lambda n: SCutFBR(n_labels=n, fbr=0.4, below="highest_score"),
    "scut_fbr never": lambda n: SCutFBR(n_labels=n, fbr=0.4, below="never"),
    "plug_in macro": lambda n: PlugInThreshold(n_labels=n, average="macro"),
}
FITTED: dict[str, Make] = PER_LABEL | {
    "global": lambda n: GlobalThreshold(n_labels=n),
    "by_frequency": lambda n: ThresholdByFrequency(n_labels=n, folds=1),
    "plug_in micro": lambda n: PlugInThreshold(n_labels=n, average="micro"),
    "conformal": lambda n: ConformalThreshold(n_labels=n, false_negative_rate=0.2),
}
IN_FOLDS: dict[str, Make] = FITTED | {"in folds": lambda n: ThresholdByFrequency(n_labels=n, folds=3)}
UNFITTED: list[Make] = [
    lambda n: FixedThreshold(n_labels=n, threshold=0.3),
    lambda n: CostWeighted(n_labels=n, false_positive=1.0, false_negative=3.0),
    lambda n: TopK(n_labels=n, k=2),
    lambda n: ByCount(n_labels=n, count="mode"),
    lambda n: MostProbableSet(n_labels=n),
    lambda n: ExpectedF1(n_labels=n),
]


def sample(rows: int = 60, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits with ties and targets that follow them, for five labels from frequent to rare."""
    g = torch.Generator().manual_seed(seed)
    z_NL = torch.randn(rows, 5, generator=g).mul(8).round() / 8
    noise_NL = torch.randn(rows, 5, generator=g)
    return z_NL, (z_NL + noise_NL > torch.tensor([-0.5, 0, 0.5, 1.2, 2])).float()


def fitted(make: Make, z_NL: Tensor, y_NL: Tensor, weight_N: Tensor | None = None) -> Decision:
    rule = make(z_NL.shape[1])
    rule.check(IndependentLabels(z_NL))
    rule.fit(IndependentLabels(z_NL), y_NL, weight_N)
    return rule


def assert_same(rule: Decision, other: Decision) -> None:
    """The same state; exact, but for sums of marginals, which are rounded in another order."""
    rtol = 1e-6 if isinstance(rule, PlugInThreshold) else 0
    for name, value in rule.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name], rtol=rtol, atol=0)


@pytest.mark.parametrize("make", FITTED.values(), ids=FITTED)
@pytest.mark.parametrize("unknown", [False, True])
def test_a_row_of_weight_k_is_k_rows_and_of_weight_0_is_none(make: Make, unknown: bool) -> None:
    z_NL, y_NL = sample()
    if unknown:
        y_NL[torch.rand(y_NL.shape, generator=torch.Generator().manual_seed(2)) < 0.3] = NAN
    # Rows with many labels come more often, which moves every cut.
    k_N = (y_NL.nansum(1) + 2 * torch.rand(60, generator=torch.Generator().manual_seed(1))).long()
    k_N[z_NL.amax(1).argmax()] = 0  # the highest score of all does not count
    weighted = fitted(make, z_NL, y_NL, k_N.float())
    assert_same(weighted, fitted(make, z_NL.repeat_interleave(k_N, 0), y_NL.repeat_interleave(k_N, 0)))
    unweighted = fitted(make, z_NL, y_NL).thresholds()
    assert unweighted is not None
    assert not torch.equal(unweighted, weighted.thresholds())


@pytest.mark.parametrize("make", IN_FOLDS.values(), ids=IN_FOLDS)
def test_no_weights_are_equal_weights(make: Make) -> None:
    z_NL, y_NL = sample()
    y_NL[7, 2] = NAN
    assert_same(fitted(make, z_NL, y_NL), fitted(make, z_NL, y_NL, torch.ones(60)))


@pytest.mark.parametrize("make", IN_FOLDS.values(), ids=IN_FOLDS)
@pytest.mark.parametrize("by_weight", [False, True])
def test_rows_without_a_known_label_do_not_exist(make: Make, by_weight: bool) -> None:
    z_NL, y_NL = sample()
    kept_N = y_NL.sum(1) + 3 * torch.rand(60, generator=torch.Generator().manual_seed(3)) > 2.5
    removed = y_NL if by_weight else torch.where(kept_N[:, None], y_NL, NAN)
    rule = fitted(make, z_NL, removed, kept_N.float() if by_weight else None)
    assert_same(rule, fitted(make, z_NL[kept_N], y_NL[kept_N]))
    assert not torch.equal(rule.thresholds(), fitted(make, z_NL, y_NL).thresholds())


@pytest.mark.parametrize("make", PER_LABEL.values(), ids=PER_LABEL)
@pytest.mark.parametrize("weighted", [False, True])
def test_unknown_targets_are_removed_label_by_label(make: Make, weighted: bool) -> None:
    z_NL, y_NL = sample()
    g = torch.Generator().manual_seed(4)
    known_NL = torch.rand(60, 5, generator=g) < 0.5
    weight_N = torch.rand(60, generator=g) if weighted else None
    rule = fitted(make, z_NL, torch.where(known_NL, y_NL, NAN), weight_N)
    for label in range(5):
        known_N, column = known_NL[:, label], slice(label, label + 1)
        kept_weight_N = None if weight_N is None else weight_N[known_N]
        alone = fitted(make, z_NL[known_N, column], y_NL[known_N, column], kept_weight_N)
        for name, value in rule.state_dict().items():
            assert torch.equal(value[column], alone.state_dict()[name])


@pytest.mark.parametrize("make", [FITTED["global"], FITTED["plug_in micro"]], ids=["global", "plug_in"])
def test_unknown_targets_are_removed_from_all_entries_together(make: Make) -> None:
    z_NL, y_NL = sample()
    known_NL = torch.rand(60, 5, generator=torch.Generator().manual_seed(5)) < 0.5
    rule = fitted(make, z_NL, torch.where(known_NL, y_NL, NAN))
    alone = fitted(make, z_NL[known_NL][:, None], y_NL[known_NL][:, None])
    assert torch.equal(rule.thresholds(), alone.thresholds().expand(5))


def test_unknown_targets_are_removed_from_the_cuts_by_frequency() -> None:
    """Against the rule's own words, with the unknown entries left out of every sum."""
    z_NL, y_NL = sample()
    known_NL = torch.rand(60, 5, generator=torch.Generator().manual_seed(6)) < 0.6
    rule = fitted(FITTED["by_frequency"], z_NL, torch.where(known_NL, y_NL, NAN))
    p_NL, hits, total = torch.sigmoid(z_NL), 0.0, 0.0
    true_L = (y_NL * known_NL).sum(0)
    for done, label in enumerate(true_L.argsort(descending=True, stable=True).tolist(), start=1):
        p_N, y_N = p_NL[known_NL[:, label], label], y_NL[known_NL[:, label], label]
        tried = []
        for cut in [torch.inf, *p_N.unique().flip(0).tolist()]:
            hit, decided = float(y_N[p_N >= cut].sum()), float((p_N >= cut).sum())
            own = 2 * hit / (decided + float(y_N.sum()))
            joint = 2 * (hits + hit) / (total + decided + float(y_N.sum()))
            tried.append((own / done + joint, hit, decided))
        _, hit, decided = max(tried, key=lambda values: values[0])
        assert float((p_N > rule.thresholds()[label]).sum()) == decided
        hits, total = hits + hit, total + decided + float(y_N.sum())


def test_conformal_rates_are_those_of_the_known_labels() -> None:
    z_NL, y_NL = sample()
    known_NL = torch.rand(60, 5, generator=torch.Generator().manual_seed(7)) < 0.3
    weight_N = torch.rand(60, generator=torch.Generator().manual_seed(8)) * 2
    counts_N = known_NL.any(1)
    assert not counts_N.all()
    true_NL = (y_NL > 0) & known_NL
    n = float(weight_N.double()[counts_N].sum())

    def is_bounded(threshold: float) -> bool:
        missed_N = (true_NL & ~(torch.sigmoid(z_NL) > threshold)).sum(1) / true_NL.sum(1).clamp(min=1)
        return float((weight_N * missed_N).double()[counts_N].sum()) + 1 <= 0.2 * (n + 1) + 1e-6

    rule = fitted(FITTED["conformal"], z_NL, torch.where(known_NL, y_NL, NAN), weight_N)
    threshold = float(rule.thresholds()[0])
    assert is_bounded(threshold)
    assert not any(is_bounded(t) for t in torch.sigmoid(z_NL).unique().tolist() if t > threshold)
    assert highest_threshold(z_NL, y_NL, torch.zeros(60).double(), allowed=-0.1) == -torch.inf


@pytest.mark.parametrize(
    "make", [*PER_LABEL.values(), IN_FOLDS["in folds"]], ids=[*PER_LABEL, "by_frequency in folds"]
)
def test_a_label_known_nowhere_is_decided_nowhere_and_said(make: Make) -> None:
    z_NL, y_NL = sample()
    y_NL[:, 1] = NAN
    rule = fitted(make, z_NL, y_NL)
    assert rule.get_buffer("fallback_L")[1]
    assert rule.thresholds()[1] == (0.5 if isinstance(rule, PlugInThreshold) else torch.inf)
    assert rule.thresholds()[0].isfinite()
    if not isinstance(rule, PlugInThreshold):
        assert not rule(IndependentLabels(torch.full((1, 5), 99.0)))[0, 1]


@pytest.mark.parametrize("make", IN_FOLDS.values(), ids=IN_FOLDS)
def test_validation_data_without_any_known_target_fits_without_nan(make: Make) -> None:
    z_NL, _ = sample(rows=4)
    rule = fitted(make, z_NL, torch.full((4, 5), NAN), torch.ones(4))
    thresholds_L = rule.thresholds()
    assert not thresholds_L.isnan().any()
    if isinstance(rule, ConformalThreshold):
        assert rule(IndependentLabels(z_NL)).all()  # no row bounds anything
    elif not isinstance(rule, PlugInThreshold):
        assert not rule(IndependentLabels(z_NL)).any()
    assert isinstance(rule, GlobalThreshold) or rule.get_buffer("fallback_L").all()


def test_a_fold_that_does_not_know_a_label_has_no_part_in_its_threshold() -> None:
    z_NL, y_NL = sample()
    folds = torch.randperm(60, generator=torch.Generator().manual_seed(0)).tensor_split(3)
    y_NL[folds[0], 3] = NAN
    order_L = y_NL.nansum(0).argsort(descending=True, stable=True)
    count_NL, p_NL = (~y_NL.isnan()).double(), torch.sigmoid(z_NL)
    cuts = torch.stack([cut_by_frequency(p_NL[r], y_NL[r], count_NL[r], order_L) for r in folds])
    assert cuts[0].isnan().tolist() == [False, False, False, True, False]
    thresholds_L = fitted(IN_FOLDS["in folds"], z_NL, y_NL).thresholds()
    torch.testing.assert_close(thresholds_L[3], cuts[1:, 3].mean())
    torch.testing.assert_close(thresholds_L[:3], cuts[:, :3].mean(0))


@pytest.mark.parametrize("make", UNFITTED)
def test_rules_without_a_fit_take_unknown_targets_and_weights(make: Make) -> None:
    z_NL, y_NL = sample()
    decided_NL = make(5)(IndependentLabels(z_NL))
    rule = fitted(make, z_NL, torch.full_like(y_NL, NAN), torch.rand(60))
    assert torch.equal(rule(IndependentLabels(z_NL)), decided_NL)


def test_threshold_rules_decide_the_scores_of_a_chain() -> None:
    z_NL, y_NL = sample()
    output = LabelChain(z_NL, torch.randn(5, 5, generator=torch.Generator().manual_seed(9)))
    for name in ("global", "per_label", "scut_fbr", "by_frequency", "conformal"):
        rule = FITTED[name](5)
        rule.check(output)
        rule.fit(output, y_NL)
        assert torch.equal(rule(output), output.scores() > rule.thresholds())
    TopK(n_labels=5, k=2).check(output)
    GreedySet(n_labels=5).check(output)
