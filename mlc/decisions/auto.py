"""Which decision rule fits an output, where the config leaves it open."""

from mlc.outputs.base import LabelOutput
from mlc.outputs.conditional_bernoulli import ConditionalBernoulli
from mlc.outputs.factorised import FactorisedCount
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.single_choice import SingleChoice


def default_for(output: LabelOutput) -> str:
    """Name of the config (decision=...) that fits this output, by the model under any calibration.

    | model | decision | why |
    |---|---|---|
    | IndependentLabels | fixed | ½ on its marginals is optimal for Hamming loss and subset accuracy |
    | ConditionalBernoulli | fixed | ½ on its marginals is optimal for Hamming loss; its labels depend on |
    | | | one another, so for subset accuracy the mode is better: decision=most_probable |
    | SingleChoice | most_probable | exactly one label is true |
    | FactorisedCount | by_count | it says how many labels, and ranks them |
    | LabelShares, ScoresOnly | global_threshold | scores without a natural cut: the cut is fitted |
    """
    match output.model:
        case IndependentLabels() | ConditionalBernoulli():
            return "fixed"
        case SingleChoice():
            return "most_probable"
        case FactorisedCount():
            return "by_count"
        case _:
            return "global_threshold"
