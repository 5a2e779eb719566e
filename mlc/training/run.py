"""One run from its first checkpoint to its results, new or resumed, in its own folder."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from mlc.calibration.none import NoCalibration
from mlc.errors import UserError
from mlc.model import Classifier
from mlc.training.checkpoint import load_checkpoint, save_checkpoint
from mlc.training.dashboard import Dashboard
from mlc.training.evaluation import Evaluation, Predictions, evaluate, fit_on_validation, predict_split
from mlc.training.files import atomic_write_text
from mlc.training.finish import finish
from mlc.training.job import Job, config_yaml
from mlc.training.linear_baseline import LinearBaseline
from mlc.training.loop import Position, Session, StepReport, fit, nothing_left
from mlc.training.order import epoch_order
from mlc.training.parameter_groups import make_optimizer
from mlc.training.progress import Progress
from mlc.training.run_files import RunFiles
from mlc.training.sampling import ClassAwareSampler
from mlc.training.settings import RANKING_METRICS, TrainerSettings, choose_device
from mlc.training.validation_rows import rows_that_pick

_SHOWN = ("loss", "micro_f1", "macro_f1", "classwise_ece")


def run(job: Job, *, resume: bool) -> None:
    """Train, fit, evaluate, and write everything that a run leaves."""
    with _alone(RunFiles(job.folder)):
        _run(job, resume=resume)


def _run(job: Job, *, resume: bool) -> None:
    files = RunFiles(job.folder)
    device = choose_device(job.settings.device)
    session = _session(job, device)
    if resume:
        _restore(session, files)
        for of_fewer_epochs in (files.results, files.classifier):
            of_fewer_epochs.unlink(missing_ok=True)
    else:
        _save(files, session, best=True)
    # After the first checkpoint: a folder that has a config can be resumed.
    atomic_write_text(files.config, config_yaml(job.config))
    train = job.dataset.train.to(device)
    valid = rows_that_pick(job.dataset.valid, job.settings, seed=job.seed).to(device)
    position = session.position
    with (
        Progress(
            total_steps=job.settings.max_epochs
            * len(epoch_order(len(train), job.settings.batch_size, seed=0, epoch=0)),
            start_step=position.step,
            log=files.log,
        ) as progress,
        Dashboard(
            folder=job.folder,
            label_names=job.dataset.label_names,
            positives_L=job.facts.labels.positives_L,
            purge_step=position.step + 1 if resume else None,
        ) as dashboard,
    ):
        _introduce(job, session, progress, dashboard, resume=resume)

        def on_step(report: StepReport) -> None:
            progress.step(report.step, loss=report.loss, examples_per_s=report.examples_per_s)
            dashboard.train(
                report.step,
                loss=report.loss,
                learning_rate=report.learning_rate,
                examples_per_s=report.examples_per_s,
            )

        def validate() -> dict[str, float]:
            evaluation = _validate(job, predict_split(session.network, valid, job.settings, device))
            dashboard.validate(position.step, evaluation.suite, loss=evaluation.defined["loss"])
            return evaluation.defined

        def on_epoch(metrics: Mapping[str, float], improved: bool) -> None:
            shown = dict.fromkeys((*_SHOWN, job.settings.monitor))
            progress.epoch(
                position.epoch,
                {name: metrics[name] for name in shown if name in metrics},
                note=f"best {job.settings.monitor} so far" if improved else "",
            )
            _save(files, session, best=improved)

        fit(session, train, validate=validate, on_step=on_step, on_epoch=on_epoch)
        finish(job, session, progress, dashboard)


@contextmanager
def _alone(files: RunFiles) -> Iterator[None]:
    """Hold the folder's lock, which the system lets go when the process ends, however it ends.

    Raises:
        UserError: another process trains in this folder.
    """
    files.last.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(files.lock)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise UserError(
            f"another process is training in {files.folder}: wait for it, or name another folder "
            f"(hydra.run.dir=... or hydra.sweep.dir=...)"
        ) from None
    try:
        yield
    finally:
        lock.release()


def why_finished(folder: Path, settings: TrainerSettings) -> str:
    """Why a run with results has nothing left to train under these settings; "" if it is not finished.

    Raises:
        UserError: its checkpoint is missing or damaged.
    """
    files = RunFiles(folder)
    position = Position(**load_checkpoint(files.last)["position"])
    if not nothing_left(position, settings) or not files.results.exists():
        return ""
    if isinstance(settings, LinearBaseline):
        return "its linear classifiers are fitted"
    if position.epoch >= settings.max_epochs:
        return f"all {position.epoch} epochs are done; trainer.max_epochs=<more> trains longer"
    return (
        f"stopped after epoch {position.epoch}: no better {settings.monitor} for {settings.patience} epochs"
    )


def _session(job: Job, device: str) -> Session:
    job.classifier.to(device)
    torch.manual_seed(job.seed)
    class_aware = job.settings.sampling == "class_aware"
    sampler = ClassAwareSampler.of(job.dataset.train.y_NL) if class_aware else None
    return Session(
        network=job.classifier.network,
        loss=job.classifier.loss,
        optimizer=make_optimizer(job.make_optimizer, job.classifier.network),
        augment=job.augment,
        sampler=sampler,
        schedule=job.schedule,
        settings=job.settings,
        seed=job.seed,
        device=device,
    )


def _restore(session: Session, files: RunFiles) -> None:
    checkpoint = load_checkpoint(files.last)
    try:
        session.restore(checkpoint)
    except (KeyError, RuntimeError, ValueError) as error:
        raise UserError(
            f"{files.last} does not fit {files.config}: one of the two has been changed"
        ) from error


def _save(files: RunFiles, session: Session, *, best: bool) -> None:
    """Checkpoint the session; the best first: a kill in between repeats the epoch and loses nothing."""
    if best:
        save_checkpoint(
            files.best, {"network": session.network.state_dict(), "epoch": session.position.epoch}
        )
    save_checkpoint(files.last, session.state())


def _introduce(job: Job, session: Session, progress: Progress, dashboard: Dashboard, *, resume: bool) -> None:
    """Say what runs, on what, where; in TensorBoard only once."""
    parameters = sum(parameter.numel() for parameter in session.network.parameters())
    data = job.dataset
    position = session.position
    progress.line(f"run folder: {job.folder}")
    progress.line(
        f"{data.name}: {len(data.train)} training, {len(data.valid)} validation, {len(data.test)} test rows, "
        f"{len(data.label_names)} labels, {job.facts.labels.mean_count:.3g} per row"
    )
    progress.line(
        ", ".join(f"{group}={name}" for group, name in job.config["choices"].items() if group != "dataset")
        + f", seed={job.seed}; {parameters:,} parameters on {session.device}"
    )
    for note in job.notes:
        progress.line(f"note: {note}")
    if resume:
        progress.line(f"resumed after epoch {position.epoch}, step {position.step}")
    else:
        dashboard.introduce(config_yaml=config_yaml(job.config), notes=job.notes)


def _validate(job: Job, predictions: Predictions) -> Evaluation:
    """The metrics of an epoch: those that are cheap, and the monitored one."""
    settings = job.settings
    classifier = _for_epochs(job.classifier, predictions)
    fit_on_validation(classifier, predictions, memory_limit_mb=settings.memory_limit_mb)
    return evaluate(
        classifier,
        predictions,
        ranking=settings.monitor in RANKING_METRICS,
        average_precision=settings.monitor == "map",
    )


def _for_epochs(classifier: Classifier, predictions: Predictions) -> Classifier:
    """The classifier without its calibrator, where its decision rule can do without.

    Epochs then show what the network itself says, and do not wait for a fit that the last one repeats.
    """
    raw = next(predictions.chunks()).raw
    try:
        classifier.decision.check(classifier.loss.link(raw))
    except UserError:
        return classifier
    return replace(classifier, calibrator=NoCalibration(n_labels=raw.n_labels))
