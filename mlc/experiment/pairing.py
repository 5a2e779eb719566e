"""What fits what: dry runs of head, loss, calibrator and decision rule on one example of zeros."""

from collections.abc import Mapping

import torch

from mlc.backbones.flatten import Flatten
from mlc.batch import LabelStatistics
from mlc.errors import UserError
from mlc.experiment.instantiate import Maker, make
from mlc.experiment.shipped import Config, load_shipped, shipped
from mlc.heads.base import Head
from mlc.inputs import MAIN, InputSpec
from mlc.losses.base import Loss, PairingError
from mlc.model import Auxiliary, Network
from mlc.outputs.base import LabelOutput, NotDefinedError
from mlc.training import processes
from mlc.training.label_chunk_check import check_label_chunks
from mlc.training.label_evaluation_check import check_label_evaluation
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
    with torch.random.fork_rng(devices=[]):
        built = head(in_features=1, labels=labels)
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


def check_fit(makers: Makers, settings: TrainerSettings, labels: LabelStatistics) -> None:
    """Check that head, loss, calibrator and decision rule fit, given the label statistics.

    Raises:
        UserError: one sentence that names what fits.
    """
    output = linked_output(makers["head"], makers["loss"], labels)
    _check_monitor(settings, output)
    if "calibration" in makers:
        calibrator = makers["calibration"](n_labels=labels.n_labels)
        calibrator.check(output)
        if "decision" in makers:
            decision = makers["decision"](n_labels=labels.n_labels)
            decision.check(calibrator(output))
            if settings.label_chunk is not None:
                check_label_evaluation(output, calibrator, decision)


def check_label_training(
    makers: Makers, settings: TrainerSettings, labels: LabelStatistics, *, auxiliary: bool
) -> None:
    """Check that labels in chunks can be trained, given the label statistics.

    Args:
        makers: head, loss and optimiser among them.
        settings: of the trainer, with a `label_chunk`.
        labels: statistics.
        auxiliary: whether there is an auxiliary head.

    Raises:
        UserError: one sentence that names what fits.
    """
    with torch.random.fork_rng(devices=[]):
        head: Head = makers["head"](in_features=1, labels=labels)
    loss: Loss = makers["loss"](labels=labels)
    beside = Auxiliary(feature="pooled", head=head, loss=loss, weight=1.0) if auxiliary else None
    backbone = Flatten(inputs={MAIN: InputSpec("numbers", (1,))})
    network = Network(backbone=backbone, head=head, auxiliary=beside)
    check_label_chunks(
        settings,
        makers["optimizer"](params=network.parameters()),
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
