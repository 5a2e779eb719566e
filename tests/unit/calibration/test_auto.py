from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml

from mlc.calibration.auto import default_for
from mlc.outputs.base import LabelOutput
from mlc.outputs.chain import LabelChain
from mlc.outputs.conditional_bernoulli import ConditionalBernoulli
from mlc.outputs.counts import CategoricalCount, PointCount
from mlc.outputs.factorised import FactorisedCount
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.label_sets import LabelSets
from mlc.outputs.levels import LabelLevels
from mlc.outputs.scores_only import ScoresOnly
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice

CONFIGS = Path(__file__).parents[3] / "configs" / "calibration"
Z = torch.zeros(1, 3)


@pytest.mark.parametrize(
    ("output", "name"),
    [
        (IndependentLabels(Z), "temperature"),
        (SingleChoice(Z), "temperature"),
        (LabelSets(Z, torch.eye(3).bool()), "temperature"),
        (LabelLevels(torch.zeros(1, 3, 4)), "temperature"),
        (LabelChain(Z, torch.zeros(3, 3)), "platt"),
        (ConditionalBernoulli(Z, CategoricalCount(Z)), "platt"),
        (LabelShares(Z), "platt"),
        (FactorisedCount(Z, PointCount(Z[:, 0] + 1)), "platt"),
        (ScoresOnly(Z, Z), "platt"),
    ],
)
def test_default_exists_and_fits(output: LabelOutput, name: str) -> None:
    assert default_for(output) == name
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    module, cls = config.pop("_target_").rsplit(".", 1)
    assert config.pop("_partial_") is True
    calibrator = getattr(import_module(module), cls)(n_labels=3, **config)
    calibrator.check(output)
    assert calibrator(output).marginals().shape == (1, 3)
