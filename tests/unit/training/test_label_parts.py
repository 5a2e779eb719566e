import torch

from mlc.decisions.thresholds import PerLabelThreshold
from mlc.outputs.independent import IndependentLabels
from mlc.training.label_parts import of_labels


def test_what_a_part_fits_the_whole_has_fitted():
    rule = PerLabelThreshold(n_labels=5)
    z_NL = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
    y_NL = (z_NL > 0).float()
    expected = PerLabelThreshold(n_labels=5)
    expected.fit(IndependentLabels(z_NL), y_NL)
    for labels in (slice(0, 2), slice(2, 5)):
        of_labels(rule, labels).fit(IndependentLabels(z_NL[:, labels]), y_NL[:, labels])
    assert torch.equal(rule.threshold_L, expected.threshold_L)
    part = of_labels(rule, slice(1, 3))
    assert torch.equal(part(IndependentLabels(z_NL[:, 1:3])), rule(IndependentLabels(z_NL))[:, 1:3])
