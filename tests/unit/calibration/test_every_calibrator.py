"""What holds for every calibrator: an unknown target is no target, and a row of weight k is k rows."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from mlc.calibration.base import Calibrator
from mlc.calibration.beta import Beta
from mlc.calibration.histogram import Histogram
from mlc.calibration.isotonic import Isotonic
from mlc.calibration.none import NoCalibration
from mlc.calibration.platt import Platt
from mlc.calibration.temperature import Temperature
from mlc.calibration.vector import VectorScaling
from mlc.outputs.base import LabelOutput
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.label_sets import LabelSets
from mlc.outputs.levels import LabelLevels
from mlc.outputs.single_choice import SingleChoice
from tests.unit.calibration.outputs import sample

L = 8
SETS = torch.cat((torch.eye(L), torch.zeros(1, L), torch.ones(1, L))).bool()


@dataclass(frozen=True)
class Case:
    """A calibrator, the output it is fitted on, and whether each label is fitted by itself."""

    calibrator: Callable[..., Calibrator]
    output: Callable[[Tensor], LabelOutput] = IndependentLabels
    alone: bool = True

    def fitted(self, z_NL: Tensor, y_NL: Tensor, weight_N: Tensor | None = None) -> Calibrator:
        calibrator = self.calibrator(n_labels=y_NL.shape[1])
        output = self.output(z_NL)
        calibrator.check(output)
        calibrator.fit(output, y_NL, weight_N)
        return calibrator

    def logits(self, calibrator: Calibrator, z_NL: Tensor) -> Tensor:
        return calibrator(self.output(z_NL)).score_logits()


CASES = {
    "none": Case(NoCalibration),
    "platt": Case(Platt),
    "beta": Case(Beta),
    "isotonic": Case(Isotonic),
    "histogram": Case(lambda **k: Histogram(bins=6, shrinkage=1.5, **k)),
    "temperature": Case(Temperature, alone=False),
    "temperature_single_choice": Case(Temperature, SingleChoice, alone=False),
    "temperature_sets": Case(
        Temperature, lambda z: LabelSets(torch.cat((z, z[:, :2]), dim=1), SETS), alone=False
    ),
    "temperature_levels": Case(
        Temperature, lambda z: LabelLevels(torch.stack((-z, z, z / 2), dim=2)), alone=False
    ),
    "vector": Case(lambda **k: VectorScaling(prior_deviation=0.7, **k), alone=False),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def rare_and_common(rows: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Six common labels; one with three positives and one with three negatives."""
    z_NL, y_NL = sample(rows, L, seed=seed, slope=0.8)
    y_NL[:, 6:] = 0
    y_NL[z_NL[:, 6].topk(8).indices[::3], 6] = 1
    y_NL[:, 7] = 1 - y_NL[:, 6].roll(1)
    return z_NL, y_NL


def some_unknown(y_NL: Tensor, *, seed: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return y_NL.masked_fill(torch.rand(y_NL.shape, generator=g) < 0.3, torch.nan)


def assert_same(case: Case, first: Calibrator, second: Calibrator, *, atol: float = 1e-5) -> None:
    z_NL, _ = sample(50, L, seed=99)
    torch.testing.assert_close(case.logits(first, z_NL), case.logits(second, z_NL), rtol=1e-4, atol=atol)


@every_case
def test_rows_of_which_nothing_is_known_are_no_rows(case: Case) -> None:
    z_NL, y_NL = rare_and_common(150, seed=0)
    y_NL[::4] = torch.nan
    known_N = ~y_NL.isnan().all(1)
    z_NL[~known_N] = 1e4  # must not matter
    assert_same(case, case.fitted(z_NL, y_NL), case.fitted(z_NL[known_N], y_NL[known_N]))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.alone])
def test_a_label_is_fitted_on_its_known_targets(name: str) -> None:
    case = CASES[name]
    z_NL, y_NL = sample(150, L, seed=1)
    y_NL = some_unknown(y_NL, seed=2)
    whole = case.logits(case.fitted(z_NL, y_NL), z_NL)
    for label in range(L):
        known_N = ~y_NL[:, label].isnan()
        column = slice(label, label + 1)
        alone = case.fitted(z_NL[known_N, column], y_NL[known_N, column])
        torch.testing.assert_close(
            whole[:, column], case.logits(alone, z_NL[:, column]), rtol=1e-4, atol=1e-5
        )


@every_case
@pytest.mark.parametrize("unknown", [False, True])
def test_a_row_of_weight_k_is_k_rows(case: Case, unknown: bool) -> None:
    z_NL, y_NL = rare_and_common(150, seed=3)
    if unknown:
        y_NL = some_unknown(y_NL, seed=4)
    k_N = torch.arange(150) * 7 % 4
    repeated = case.fitted(z_NL.repeat_interleave(k_N, dim=0), y_NL.repeat_interleave(k_N, dim=0))
    weighted = case.fitted(z_NL, y_NL, k_N.float())
    assert_same(case, weighted, repeated)
    if not isinstance(weighted, NoCalibration):
        unweighted = case.fitted(z_NL, y_NL)
        new_NL, _ = sample(50, L, seed=99)
        assert not torch.allclose(case.logits(weighted, new_NL), case.logits(unweighted, new_NL), atol=1e-4)
    for name, buffer in weighted.named_buffers():
        if buffer.dtype == torch.bool:
            assert torch.equal(buffer, repeated.get_buffer(name))


@every_case
@pytest.mark.parametrize("unknown", [False, True])
def test_no_weights_are_weights_of_one_bit_for_bit(case: Case, unknown: bool) -> None:
    z_NL, y_NL = rare_and_common(120, seed=5)
    if unknown:
        y_NL = some_unknown(y_NL, seed=6)
    ones = case.fitted(z_NL, y_NL, torch.ones(120)).state_dict()
    for name, value in case.fitted(z_NL, y_NL).state_dict().items():
        assert torch.equal(value, ones[name])


@every_case
def test_labels_and_splits_without_a_known_target_stay_finite(case: Case) -> None:
    z_NL, y_NL = rare_and_common(100, seed=7)
    y_NL[:, 2] = torch.nan
    logits_NL = case.logits(case.fitted(z_NL, y_NL), z_NL)
    assert logits_NL.isfinite().all()
    nothing = case.fitted(z_NL, torch.full_like(y_NL, torch.nan))
    assert case.logits(nothing, z_NL).isfinite().all()
    if case.calibrator in (Platt, Beta, Isotonic, Temperature):
        assert torch.equal(case.logits(nothing, z_NL), case.output(z_NL).score_logits())
