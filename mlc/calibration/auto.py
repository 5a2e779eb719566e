"""Which calibrator fits an output, where the config leaves it open."""

from mlc.outputs.base import LabelOutput
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.single_choice import SingleChoice


def default_for(output: LabelOutput) -> str:
    """Name of the config (calibration=...) that fits this output.

    | output | calibration | why |
    |---|---|---|
    | IndependentLabels, SingleChoice | temperature | has marginals: one number mends their confidence |
    | ConditionalBernoulli | platt | has marginals, but no logits that one temperature could divide: its |
    | | | weights say which labels and its count how many, and each label is mended by a sigmoid instead |
    | LabelShares, FactorisedCount, ScoresOnly | platt | has none: scores must be turned into probabilities |
    """
    return "temperature" if isinstance(output, IndependentLabels | SingleChoice) else "platt"
