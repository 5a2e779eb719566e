"""What rules that need marginals share: the refusal of outputs that have none."""

from mlc.decisions.instead import rules_for_scores
from mlc.errors import UserError
from mlc.outputs.base import LabelOutput, NotDefinedError


def require_marginals(output: LabelOutput, *, rule: str) -> None:
    """Raise UserError, naming calibrators and rules that help, for an output without marginals.

    Args:
        output: what is to be decided.
        rule: the name of the rule's config.
    """
    try:
        output.marginals()
    except NotDefinedError as error:
        raise UserError(
            f"decision={rule} needs marginals, and {type(output).__name__} has none: use calibration=platt, "
            f"isotonic or histogram, or {rules_for_scores(output)}"
        ) from error
