import torch

from mlc.calibration.none import NoCalibration
from mlc.outputs.shares import LabelShares


def test_the_output_passes_unchanged() -> None:
    output = LabelShares(torch.randn(3, 2))
    calibrator = NoCalibration(n_labels=2)
    calibrator.check(output)
    calibrator.fit(output, torch.ones(3, 2))
    assert calibrator(output) is output
    assert not calibrator.state_dict()
