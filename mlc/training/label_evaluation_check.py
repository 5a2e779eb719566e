"""Which calibrators and decision rules can be fitted and measured some labels at a time."""

from mlc.calibration.base import Calibrator
from mlc.calibration.none import NoCalibration
from mlc.calibration.temperature import Temperature
from mlc.decisions.base import Decision
from mlc.decisions.by_count import ByCount
from mlc.decisions.cost_weighted import CostWeighted
from mlc.decisions.fixed import FixedThreshold
from mlc.decisions.most_probable import MostProbableSet
from mlc.decisions.plug_in import PlugInThreshold
from mlc.decisions.scut_fbr import SCutFBR
from mlc.decisions.thresholds import GlobalThreshold, PerLabelThreshold
from mlc.decisions.top_k import TopK
from mlc.errors import UserError
from mlc.outputs.base import LabelOutput
from mlc.outputs.factorised import FactorisedCount
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.single_choice import SingleChoice
from mlc.training.option_names import option_name

_ANY = (GlobalThreshold, PerLabelThreshold, SCutFBR, TopK)  # their check() asks for nothing else
_WITH_MARGINALS = (FixedThreshold, CostWeighted, PlugInThreshold, MostProbableSet)


def default_calibration(output: LabelOutput) -> str:
    """Name of the config (calibration=...) that fits this output, of those that need few labels at once."""
    return "temperature" if isinstance(output, IndependentLabels) else "none"


def check_label_evaluation(output: LabelOutput, calibrator: Calibrator, decision: Decision) -> None:
    """Check that a classifier whose labels come in chunks can be fitted and measured.

    Args:
        output: of its head, as the loss's link leaves it.
        calibrator, decision: which also pass their own checks.

    Raises:
        UserError: one sentence that says what does not go together, and what does.
    """
    if isinstance(output, SingleChoice):
        raise UserError(
            "trainer.label_chunk measures shares of very many labels, and every training row has one label, "
            "so that head=softmax is a choice among them: set head.reading=label_shares, or "
            "train with trainer.label_chunk=null"
        )
    independent = isinstance(output, IndependentLabels)
    if not isinstance(calibrator, NoCalibration | Temperature):
        raise UserError(
            f"{option_name(calibrator)} is fitted on all labels at once, and trainer.label_chunk never has "
            f"them: set calibration={'temperature or none' if independent else 'none'}, or "
            f"train with trainer.label_chunk=null"
        )
    if isinstance(calibrator, Temperature) and not independent:
        raise UserError(
            "with trainer.label_chunk, calibration=temperature is for the probability of each label, which "
            "this head and loss do not give: set calibration=none, or train with trainer.label_chunk=null"
        )
    if isinstance(decision, PlugInThreshold) and decision.average != "macro":
        raise UserError(
            "decision.average=micro looks at all labels at once, and trainer.label_chunk never has them: set "
            "decision.average=macro or decision=global_threshold, or train with trainer.label_chunk=null"
        )
    if isinstance(decision, ByCount) and decision.count != "mean":
        raise UserError(
            "decision.count=mode needs a probability for every count up to the number of labels, and "
            "trainer.label_chunk is for very many: set decision.count=mean, or train with "
            "trainer.label_chunk=null"
        )
    if not _decides_in_pieces(output, decision):
        why = "looks at all labels at once, and trainer.label_chunk never has them"
        if isinstance(decision, _WITH_MARGINALS):
            why = (
                "needs the probability of each label, which this head and loss give only with a calibration "
                "that trainer.label_chunk does not go with"
            )
        raise UserError(
            f"{option_name(decision)} {why}: "
            f"choose decision={_what_works(output)}, or train with trainer.label_chunk=null"
        )


def _decides_in_pieces(output: LabelOutput, decision: Decision) -> bool:
    if isinstance(decision, ByCount):
        return isinstance(output, FactorisedCount)
    if isinstance(decision, _WITH_MARGINALS):
        return isinstance(output, IndependentLabels)
    return isinstance(decision, _ANY)


def _what_works(output: LabelOutput) -> str:
    own = {IndependentLabels: "fixed, cost_weighted, plug_in, most_probable, ", FactorisedCount: "by_count, "}
    return f"{own.get(type(output), '')}global_threshold, per_label_threshold, scut_fbr or top_k"
