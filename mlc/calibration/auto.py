"""Which calibrator fits an output, where the config leaves it open."""

from mlc.calibration.temperature import HasTemperature
from mlc.outputs.base import LabelOutput


def default_for(output: LabelOutput) -> str:
    """Name of the config (calibration=...) that fits this output.

    | output | calibration | why |
    |---|---|---|
    | IndependentLabels, SingleChoice, LabelSets | temperature | one number mends the confidence of their |
    | | | logits, and what they say of sets is calibrated, too |
    | LabelLevels | temperature | presence and levels stay one model, which Platt on presence would part |
    | ConditionalBernoulli | platt | has marginals, but no logits that one temperature could divide: its |
    | | | weights say which labels and its count how many, and each label is mended by a sigmoid instead |
    | LabelChain, LabelShares, FactorisedCount, ScoresOnly | platt | have none: scores must be turned into |
    | | | probabilities |
    """
    return "temperature" if isinstance(output, HasTemperature) else "platt"
