"""Which calibrator fits an output, where the config leaves it open."""

from mlc.outputs.base import LabelOutput
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.single_choice import SingleChoice


def default_for(output: LabelOutput) -> str:
    """Name of the config (calibration=...) that fits this output.

    | output | calibration | why |
    |---|---|---|
    | IndependentLabels, SingleChoice | temperature | has marginals: one number mends their confidence |
    | LabelShares, FactorisedCount, ScoresOnly | platt | has none: scores must be turned into probabilities |
    """
    return "temperature" if isinstance(output, IndependentLabels | SingleChoice) else "platt"
