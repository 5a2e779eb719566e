"""What fits what: dry runs of head, loss, calibrator and decision rule on one example of zeros."""

from collections.abc import Mapping
from dataclasses import replace

import torch

from mlc.backbones.flatten import Flatten
from mlc.batch import LabelStatistics
from mlc.calibration.auto import default_for as default_calibration
from mlc.eager_optimizer import eager
from mlc.errors import UserError
from mlc.experiment.instantiate import Maker, make
from mlc.experiment.shipped import Config, load_shipped, shipped
from mlc.heads.base import Head
from mlc.inputs import MAIN, InputSpec
from mlc.losses.base import Loss, PairingError
from mlc.model import Auxiliary, Network
from mlc.outputs.base import LabelOutput, NotDefinedError
from mlc.training import processes
from mlc.training.label_chunk_check import check_label_chunks, check_label_head
from mlc.training.label_evaluation_check import check_label_evaluation
from mlc.training.label_evaluation_check import default_calibration as label_calibration
from mlc.training.settings import TrainerSettings

Makers = Mapping[str, Maker]
_FEATURE_SHAPES = {"pooled": (1, 1), "tokens": (1, 1, 1)}


def made_up_labels(config: Config, *, single_label: bool) -> LabelStatistics:
    """Statistics of labels that do not exist, for checks before any data is read."""
    # A list in the loss's options has one number per label. Else as many as top_k asks for, so that any k
    # passes here; it is checked again with the real L.
    lists = [len(value) for value in config["loss"].values() if isinstance(value, list)]
    numbers = [value for value in config["decision"].values() if isinstance(value, int) and value < 10_000]
    n_labels = lists[0] if lists else max(2, *numbers, 2)
    rows = n_labels if single_label else max(n_labels // 2, 1)
    histogram_K = torch.tensor([0, rows] if single_label else [0, 0, rows], dtype=torch.float64)
    return LabelStatistics(
        positives_L=torch.ones(n_labels, dtype=torch.float64),
        known_L=torch.full((n_labels,), float(rows), dtype=torch.float64),
        rows=rows,
        single_label=single_label,
        count_histogram_K=histogram_K,
        sets_ML=torch.eye(n_labels, dtype=torch.bool),
    )


def head_output(head: Maker, labels: LabelStatistics) -> LabelOutput:
    """What a head gives for one example of zeros."""
    built = _built(head, labels)
    built.eval()  # a head with dropout would draw random numbers
    output: LabelOutput = built(torch.zeros(_FEATURE_SHAPES[built.reads]))
    return output.detach()


def linked_output(head: Maker, loss: Maker, labels: LabelStatistics) -> LabelOutput:
    """What head and loss give for one example of zeros.

    Raises:
        PairingError: naming the losses that fit the head.
    """
    output = head_output(head, labels)
    built: Loss = loss(labels=labels)
    try:
        built.check(output)
    except PairingError as error:
        fitting = ", ".join(f"{loss.group}={name}" for name in losses_for(output, labels))
        raise PairingError(
            f"this {loss.group} does not fit this {head.group}: {error}; what fits is {fitting}"
        ) from None
    return built.link(output)


def losses_for(output: LabelOutput, labels: LabelStatistics) -> list[str]:
    """Names of the shipped losses that can train such an output."""
    fitting = []
    for name in shipped("loss"):
        loss = make(load_shipped("loss", name), group="loss", kind=Loss)(labels=labels)
        try:
            loss.check(output)
        except PairingError:
            continue
        fitting.append(name)
    return fitting


def check_fit(
    makers: Makers, settings: TrainerSettings, labels: LabelStatistics, *, auxiliary: bool = False
) -> None:
    """Check that head, loss, calibrator and decision rule fit, given the label statistics.

    What label chunks do not go with comes first: other checks name choices that chunks refuse.

    Args:
        makers: of all groups; calibration and decision may be missing.
        settings: of the trainer.
        labels: statistics.
        auxiliary: whether there is an auxiliary head.

    Raises:
        UserError: one sentence that names what fits.
    """
    output = linked_output(makers["head"], makers["loss"], labels)
    _check_monitor(settings, output)
    if settings.label_chunk is not None:
        _check_label_training(makers, settings, labels, auxiliary=auxiliary)
    if "calibration" in makers:
        calibrator = makers["calibration"](n_labels=labels.n_labels)
        decision = makers["decision"](n_labels=labels.n_labels) if "decision" in makers else None
        if settings.label_chunk is not None and decision is not None:
            check_label_evaluation(output, calibrator, decision)
        calibrator.check(output)
        if decision is not None:
            decision.check(calibrator(output))


def check_chunk_head(head: Maker, settings: TrainerSettings, labels: LabelStatistics) -> None:
    """Check that the head goes with label chunks, where there are any.

    Raises:
        UserError: one sentence that names the heads that do.
    """
    if settings.label_chunk is not None:
        check_label_head(_built(head, labels))


def calibration_for(output: LabelOutput, settings: TrainerSettings) -> tuple[str, str]:
    """What `calibration=auto` is, and a sentence where it is something else because of label chunks.

    Args:
        output: of the head, as the loss's link leaves it.
        settings: of the trainer.
    """
    usual = default_calibration(output)
    if settings.label_chunk is None:
        return usual, ""
    name = label_calibration(output)
    if name == usual:
        return name, ""
    return name, (
        f"calibration=auto is {name}: with trainer.label_chunk, which never has all labels at once, "
        f"{usual} cannot be fitted."
    )


def _built(head: Maker, labels: LabelStatistics) -> Head:
    with torch.random.fork_rng(devices=[]):
        built: Head = head(in_features=1, labels=labels)
    return built


def _check_label_training(
    makers: Makers, settings: TrainerSettings, labels: LabelStatistics, *, auxiliary: bool
) -> None:
    """Check that labels in chunks can be trained with these settings, which have a `label_chunk`."""
    head = _built(makers["head"], labels)
    loss: Loss = makers["loss"](labels=labels)
    beside = Auxiliary(feature="pooled", head=head, loss=loss, weight=1.0) if auxiliary else None
    backbone = Flatten(inputs={MAIN: InputSpec("numbers", (1,))})
    network = Network(backbone=backbone, head=head, auxiliary=beside)
    check_label_chunks(
        settings,
        replace(makers["optimizer"], target=eager(makers["optimizer"].target))(params=network.parameters()),
        loss,
        network,
        update=settings.label_update,
        processes=processes.size(),
    )


def _check_monitor(settings: TrainerSettings, output: LabelOutput) -> None:
    """Of all metrics only `nll` depends on the head: the others come from decisions and calibrated scores."""
    if settings.monitor != "nll":
        return
    try:
        output.log_prob(torch.zeros_like(output.scores()))
    except NotDefinedError as error:
        raise UserError(
            f"trainer.monitor=nll is not defined for {type(output).__name__}, which has no probability of a "
            f"label set: choose another metric, for example trainer.monitor=loss"
        ) from error
