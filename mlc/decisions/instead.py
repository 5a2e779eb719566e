"""What a rule that refuses an output names in its place."""

from mlc.outputs.base import LabelOutput
from mlc.outputs.chain import LabelChain
from mlc.outputs.factorised import FactorisedCount
from mlc.outputs.single_choice import SingleChoice


def rules_for_scores(output: LabelOutput) -> str:
    """The rules that need no marginals and no distribution over label sets, the model's own rule first."""
    match output.model:
        case LabelChain():
            own = "greedy, "
        case FactorisedCount():
            own = "by_count, "
        case SingleChoice():
            own = "most_probable, "
        case _:
            own = ""
    return f"decision={own}global_threshold, per_label_threshold or top_k"
