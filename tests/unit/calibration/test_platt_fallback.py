import torch
from torch import Tensor

from mlc.calibration.examples import MIN_EXAMPLES, Cells
from mlc.calibration.platt import Platt
from mlc.calibration.platt_fallback import PlattFallback
from mlc.outputs.base import LabelOutput
from tests.unit.calibration.outputs import sample, scores_only


class Seven(PlattFallback):
    def check(self, output: LabelOutput) -> None:
        pass

    def fit_labels(self, cells: Cells) -> None:
        self.fitted_rows = len(cells.s_NL)

    def logits(self, s_BL: Tensor) -> Tensor:
        return torch.full_like(s_BL, 7.0)


def test_labels_with_few_positives_or_negatives_take_platts_sigmoid() -> None:
    z_NL, _ = sample(60, 4, seed=0)
    places_N = torch.arange(60)[:, None]
    y_NL = (places_N < torch.tensor([MIN_EXAMPLES - 1, MIN_EXAMPLES, 60 - MIN_EXAMPLES, 51])).float()
    calibrator, platt = Seven(n_labels=4), Platt(n_labels=4)
    calibrator.fit(scores_only(z_NL), y_NL)
    platt.fit(scores_only(z_NL), y_NL)
    assert calibrator.fitted_rows == 60
    assert calibrator.fallback_L.tolist() == [True, False, False, True]
    output = scores_only(z_NL)
    calibrated = calibrator(output)
    assert calibrated.model is output
    assert (calibrated.logits_BL[:, 1:3] == 7).all()
    assert torch.equal(calibrated.logits_BL[:, ::3], platt(output).logits_BL[:, ::3])


def test_before_fitting_logits_pass_as_they_are() -> None:
    z_NL, _ = sample(5, 3, seed=1)
    assert torch.equal(Seven(n_labels=3)(scores_only(z_NL)).logits_BL, z_NL)
