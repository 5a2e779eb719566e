"""Which decision rule fits an output, where the config leaves it open."""

from mlc.outputs.base import LabelOutput
from mlc.outputs.chain import LabelChain
from mlc.outputs.conditional_bernoulli import ConditionalBernoulli
from mlc.outputs.factorised import FactorisedCount
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.label_sets import LabelSets
from mlc.outputs.levels import LabelLevels
from mlc.outputs.single_choice import SingleChoice


def default_for(output: LabelOutput) -> str:
    """Name of the config (decision=...) that fits this output, by the model under any calibration.

    | model | decision | why |
    |---|---|---|
    | IndependentLabels | fixed | ½ on its marginals is optimal for Hamming loss and subset accuracy |
    | LabelLevels | fixed | the same, for which labels are there at any level |
    | ConditionalBernoulli | fixed | ½ on its marginals is optimal for Hamming loss; its labels depend on |
    | | | one another, so for subset accuracy the mode is better: decision=most_probable |
    | LabelSets | most_probable | it knows whole sets, and the most probable one is optimal for subset |
    | | | accuracy; for Hamming loss ½ on its marginals is better: decision=fixed |
    | SingleChoice | most_probable | exactly one label is true |
    | FactorisedCount | by_count | it says how many labels, and ranks them |
    | LabelChain | greedy | its marginals and mode are sums over and searches of all sets |
    | LabelShares, ScoresOnly | global_threshold | scores without a natural cut: the cut is fitted |
    """
    match output.model:
        case IndependentLabels() | LabelLevels() | ConditionalBernoulli():
            return "fixed"
        case LabelSets() | SingleChoice():
            return "most_probable"
        case FactorisedCount():
            return "by_count"
        case LabelChain():
            return "greedy"
        case _:
            return "global_threshold"
