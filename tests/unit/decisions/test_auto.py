from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml

from mlc.decisions.auto import default_for
from mlc.outputs.base import LabelOutput
from mlc.outputs.calibrated import CalibratedLabels
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

CONFIGS = Path(__file__).parents[3] / "configs" / "decision"
Z = torch.zeros(1, 3)


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize(
    ("model", "name"),
    [
        (IndependentLabels(Z), "fixed"),
        (ConditionalBernoulli(Z, CategoricalCount(Z)), "fixed"),
        (LabelLevels(torch.zeros(1, 3, 4)), "fixed"),
        (LabelSets(torch.zeros(1, 2), torch.eye(3).bool()[:2]), "most_probable"),
        (LabelChain(Z, torch.zeros(3, 3)), "greedy"),
        (SingleChoice(Z), "most_probable"),
        (FactorisedCount(Z, PointCount(Z[:, 0] + 1)), "by_count"),
        (LabelShares(Z), "global_threshold"),
        (ScoresOnly(Z, Z), "global_threshold"),
    ],
)
def test_default_exists_and_fits(model: LabelOutput, name: str, calibrated: bool) -> None:
    output = CalibratedLabels(Z, model) if calibrated else model
    assert default_for(output) == name
    config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    module, cls = config.pop("_target_").rsplit(".", 1)
    assert config.pop("_partial_") is True
    rule = getattr(import_module(module), cls)(n_labels=3, **config)
    rule.check(output)
    rule.fit(output, Z)
    assert rule(output).dtype == torch.bool
    assert rule(output).shape == (1, 3)
