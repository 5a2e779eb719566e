"""One run from its first checkpoint to its results, new or resumed, in its own folder."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from mlc.calibration.none import NoCalibration
from mlc.errors import Stopped, UserError
from mlc.model import Classifier
from mlc.training import processes
from mlc.training.checkpoints import Checkpoints, Found
from mlc.training.compile_report import compile_sentence
from mlc.training.dashboard import Dashboard
from mlc.training.evaluation import Evaluation
from mlc.training.faults import describe, explained
from mlc.training.feeding import place
from mlc.training.files import atomic_write_text
from mlc.training.finish import finish
from mlc.training.interruption import Interruption
from mlc.training.job import Job, config_yaml
from mlc.training.keeper import Keeper
from mlc.training.label_chunk_check import cut_labels
from mlc.training.label_layer import n_parameters
from mlc.training.linear_baseline import LinearBaseline
from mlc.training.loop import BadStep, Callbacks, StepReport, fit, nothing_left
from mlc.training.numerics import measuring, numerics
from mlc.training.order import epoch_order
from mlc.training.parameter_groups import make_optimizer
from mlc.training.position import Position
from mlc.training.profile import profiled
from mlc.training.progress import Progress
from mlc.training.provenance import Provenance
from mlc.training.roads import AnyPredictions, evaluate, fit_on_validation, predict_split
from mlc.training.run_files import RunFiles, load_facts
from mlc.training.sampling import ClassAwareSampler
from mlc.training.session import Session
from mlc.training.settings import RANKING_METRICS, TrainerSettings
from mlc.training.stored_metrics import read_metrics
from mlc.training.validation_rows import rows_that_pick

_SHOWN = ("loss", "micro_f1", "macro_f1", "classwise_ece")


def run(job: Job, *, found: Found | None) -> None:
    """Train, fit, evaluate, and write everything that a run leaves.

    Args:
        job: what to train.
        found: what a resumed run goes on from; None for a new one.

    Raises:
        Stopped: a signal has asked to stop; the run can be resumed.
        UserError, Fault: what the user must mend, and what went wrong.
    """
    with ExitStack() as stack:
        if processes.is_main():
            stack.enter_context(alone(RunFiles(job.folder)))
        stack.enter_context(explained())
        stack.enter_context(numerics(job.settings))
        _Run(job, found, stack).go()


class _Run:
    """The pieces of one run, and how they are joined to the loop."""

    def __init__(self, job: Job, found: Found | None, stack: ExitStack):
        self._job = job
        self._files = files = RunFiles(job.folder)
        self._session = session = make_session(job)
        self._keeper = Keeper(files, session)
        self._validated: Evaluation | None = None
        self._state = None if found is None else found.state
        self._begin(stack)
        self._interruption = stack.enter_context(Interruption())
        train = job.dataset.train
        self._batches = len(epoch_order(len(train), job.settings.batch_size, seed=0, epoch=0))
        steps = job.settings.max_epochs * self._batches
        self._progress = stack.enter_context(
            Progress(
                total_steps=min(steps, job.settings.max_steps or steps),
                start_step=session.position.step,
                log=files.log,
            )
            if processes.is_main()
            else Progress.silent()
        )
        self._dashboard = stack.enter_context(
            Dashboard(
                folder=job.folder,
                label_names=job.dataset.label_names,
                positives_L=job.facts.labels.positives_L,
                purge_step=None if found is None else session.position.step + 1,
                silent=not processes.is_main(),
            )
        )
        self._after_profiled_step = stack.enter_context(
            profiled(job.settings, folder=files.profile, tell=self._tell_of_profile)
        )
        self._introduce(found)
        placed = place(train, session.device)
        self._progress.line(placed.why)
        self._train = replace(placed.split, sparse_batches=job.settings.label_chunk is not None)
        self._valid = place(
            rows_that_pick(job.dataset.valid, job.settings, seed=job.seed), session.device
        ).split

    def go(self) -> None:
        """Train, and finish."""
        before = self._session.position.step
        fit(
            self._session,
            self._train,
            Callbacks(
                validate=self._validate,
                report=self._report,
                bad_step=self._bad_step,
                after_step=self._after_step,
                epoch=self._epoch,
                interruptible=self._interruptible,
            ),
        )
        taken = self._session.position.step - before
        if self._job.settings.compile is not None and taken:
            self._progress.line(compile_sentence(self._session, self._train, steps=taken))
        with ExitStack() as stack:
            if processes.size() == 1:  # several would wait for one another
                stack.enter_context(self._interruption.at_once())
            stack.enter_context(measuring())
            finish(self._job, self._session, self._progress, self._dashboard)

    def _begin(self, stack: ExitStack) -> None:
        """Take the state of a resumed run, or keep that of a new one."""
        files, job = self._files, self._job
        if self._state is not None:
            begun = Provenance.read(job.folder)
            if begun is not None:  # before anything is changed: other data end the run here
                begun = begun.resumed(job)
            self._session.restore(self._state, place=str(files.checkpoints))
            # Of fewer epochs.
            if processes.is_main():
                for old in (files.results, files.classifier):
                    old.unlink(missing_ok=True)
                if begun is not None:
                    begun.write(job.folder)
                atomic_write_text(files.config, config_yaml(job.config))  # its limits may be new
            return
        if processes.is_main():
            Checkpoints(files.checkpoints).set_aside()
        self._keeper.save_network()
        self._keeper.save_state()
        # After the first checkpoint: a folder that has a config can be resumed.
        if processes.is_main():
            Provenance.of(job).write(job.folder)
            atomic_write_text(files.config, config_yaml(job.config))
        elif job.settings.label_shards:
            job.classifier.network.state_dict()  # the main process asks each for its labels

    def _tell_of_profile(self, table: str) -> None:
        self._dashboard.profile(table)
        self._progress.line(
            f"the profile is in {self._files.profile}, for https://ui.perfetto.dev or TensorBoard"
        )

    def _report(self, report: StepReport) -> None:
        self._progress.step(report.step, loss=report.loss, examples_per_s=report.examples_per_s)
        self._dashboard.train(
            report.step,
            loss=report.loss,
            learning_rate=report.learning_rate,
            examples_per_s=report.examples_per_s,
        )

    def _bad_step(self, bad: BadStep) -> None:
        self._progress.line(describe(bad, self._train, self._job.dataset.label_names))

    def _after_step(self) -> None:
        self._after_profiled_step()
        position = self._session.position
        # After the last step of an epoch its validation comes first: what is killed there resumes from a step
        # before, and TensorBoard then has no point twice.
        last = position.batch == self._batches or position.step == self._job.settings.max_steps
        stop, save = processes.any_of(self._interruption.asked, self._keeper.due() and not last)
        if stop or save:
            self._keeper.save_state()
        if stop:
            self._interruption.stop()

    def _validate(self) -> dict[str, float]:
        job, session = self._job, self._session
        # Statistics of batch normalisation are each process's own until its next step.
        processes.share(session.network.buffers())
        if session.average is not None:
            session.average.take_buffers()
        classifier = replace(job.classifier, network=session.evaluated)
        with measuring():
            predictions = predict_split(session.evaluated, self._valid, job.settings, session.device)
            evaluation = _evaluate(classifier, predictions, job.settings)
        self._validated = evaluation
        return evaluation.defined

    def _epoch(self, metrics: Mapping[str, float], kept: bool) -> None:
        position, monitor = self._session.position, self._job.settings.monitor
        if self._validated is not None:
            self._dashboard.validate(position.step, self._validated.suite, loss=metrics["loss"])
        shown = dict.fromkeys((*_SHOWN, monitor))
        self._progress.epoch(
            position.epoch,
            {name: metrics[name] for name in shown if name in metrics},
            note=f"best {monitor} so far" if position.best_epoch == position.epoch else "",
        )
        (stop,) = processes.any_of(self._interruption.asked)
        self._keeper.epoch_ended(best=kept, last=stop or nothing_left(position, self._job.settings))
        if stop:
            self._interruption.stop()

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Work that a signal may stop at once; the steps before it are kept first."""
        if processes.size() > 1:  # they stop together, after the epoch
            yield
            return
        random = torch.get_rng_state()
        try:
            with self._interruption.at_once():
                yield
        except Stopped:
            torch.set_rng_state(random)
            self._keeper.save_state()
            raise

    def _introduce(self, found: Found | None) -> None:
        """Say what runs, on what, where; in TensorBoard only once."""
        job, session, progress = self._job, self._session, self._progress
        network, data, position = session.network, job.dataset, session.position
        parameters = n_parameters(network)
        progress.line(f"run folder: {job.folder}")
        progress.line(
            f"{data.name}: {len(data.train)} training, {len(data.valid)} validation, {len(data.test)} test "
            f"rows, {len(data.label_names)} labels, {job.facts.labels.mean_count:.3g} per row"
        )
        together = f" in {processes.size()} processes" if processes.size() > 1 else ""
        progress.line(
            ", ".join(
                f"{group}={name}" for group, name in job.config["choices"].items() if group != "dataset"
            )
            + f", seed={job.seed}; {parameters:,} parameters on {session.device}{together}"
        )
        for note in (*(found.notes if found else ()), *job.notes):
            progress.line(f"note: {note}")
        if self._state is not None:
            within = f" and {position.batch} batches" if position.batch else ""
            progress.line(f"resumed after epoch {position.epoch}{within}, step {position.step}")
        else:
            self._dashboard.introduce(config_yaml=config_yaml(job.config), notes=job.notes)


@contextmanager
def alone(files: RunFiles) -> Iterator[None]:
    """Hold the folder's lock, which the system lets go when the process ends, however it ends.

    Raises:
        UserError: another process trains in this folder.
    """
    files.folder.mkdir(parents=True, exist_ok=True)
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


def why_finished(folder: Path, found: Found, settings: TrainerSettings) -> str:
    """Why a run has nothing left to do under these settings; "" if it is not finished.

    A run whose results or classifier are lost or damaged is not finished: they are made again.

    Args:
        folder: of the run.
        found: its newest whole checkpoint.
        settings: of its trainer.
    """
    if found.state is None:
        return ""
    try:
        load_facts(RunFiles(folder).classifier)
        if read_metrics(folder) is None:
            return ""
    except UserError:
        return ""
    position = Position.of(found.state["position"])
    if not nothing_left(position, settings):
        return ""
    if isinstance(settings, LinearBaseline):
        return "its linear classifiers are fitted"
    if position.epoch > settings.max_epochs:
        return f"{position.epoch} epochs are done, and trainer.max_epochs={settings.max_epochs}"
    if position.epoch == settings.max_epochs:
        return f"all {position.epoch} epochs are done; trainer.max_epochs=<more> trains longer"
    if settings.max_steps is not None and position.step >= settings.max_steps:
        return f"all {position.step} steps are done (trainer.max_steps)"
    return (
        f"stopped after epoch {position.epoch}: no better {settings.monitor} for {settings.patience} epochs"
    )


def make_session(job: Job) -> Session:
    """The state of a new run: network, optimiser, schedule and random numbers."""
    settings = job.settings
    job.classifier.to(job.device)
    torch.manual_seed(job.seed + processes.rank())
    class_aware = settings.sampling == "class_aware"
    network = job.classifier.network
    if settings.label_chunk is not None:
        cut_labels(network, settings.label_chunk, sharded=settings.label_shards)
    return Session(
        network=network,
        loss=job.classifier.loss,
        optimizer=make_optimizer(job.make_optimizer, network, weight_decay_on=settings.weight_decay_on),
        augment=job.augment,
        sampler=ClassAwareSampler.of(job.dataset.train.y_NL) if class_aware else None,
        schedule=job.schedule,
        settings=settings,
        seed=job.seed,
        device=job.device,
    )


def _evaluate(classifier: Classifier, predictions: AnyPredictions, settings: TrainerSettings) -> Evaluation:
    """The metrics of an epoch: those that are cheap, and the monitored one."""
    classifier = _for_epochs(classifier, predictions)
    fit_on_validation(classifier, predictions, memory_limit_mb=settings.memory_limit_mb)
    return evaluate(
        classifier,
        predictions,
        ranking=settings.monitor in RANKING_METRICS,
        average_precision=settings.monitor == "map",
    )


def _for_epochs(classifier: Classifier, predictions: AnyPredictions) -> Classifier:
    """The classifier without its calibrator, where its decision rule can do without.

    Epochs then show what the network itself says, and do not wait for a fit that the last one repeats.
    """
    output = classifier.loss.link(predictions.example())
    try:
        classifier.decision.check(output)
    except UserError:
        return classifier
    return replace(classifier, calibrator=NoCalibration(n_labels=output.n_labels))
