from collections.abc import Callable

import pytest
import torch

from mlc.metrics.suite import EvaluationSuite
from mlc.training.evaluation import Evaluation

MakeEvaluation = Callable[..., Evaluation]


@pytest.fixture(scope="session")
def make_evaluation() -> MakeEvaluation:
    """Evaluations by the real suite: rare labels are badly found, "uncalibrated" is overconfident."""

    def make(
        *, n_labels: int = 4, rows: int = 300, seed: int = 0, no_probabilities: str | None = None
    ) -> Evaluation:
        generator = torch.Generator().manual_seed(seed)
        logits_NL = torch.linspace(0, -4, n_labels) + 2 * torch.randn(rows, n_labels, generator=generator)
        y_NL = (torch.rand(rows, n_labels, generator=generator) < logits_NL.sigmoid()).float()
        suite = EvaluationSuite(n_labels=n_labels, mode="exact", no_probabilities=no_probabilities)
        suite.update(
            decisions_BL=logits_NL > 0,
            scores_BL=logits_NL,
            probabilities_BL=None if no_probabilities else logits_NL.sigmoid(),
            uncalibrated_BL=(3 * logits_NL).sigmoid(),
            y_BL=y_NL,
        )
        result = suite.compute()
        return Evaluation(metrics={"loss": 0.5, **result.values}, reasons=result.reasons, suite=result)

    return make
