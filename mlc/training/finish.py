"""The end of a run: fit on validation data, measure, and write down what came out."""

import time
from collections.abc import Mapping
from typing import Any

from mlc.training import processes
from mlc.training.checkpoints import Checkpoints
from mlc.training.dashboard import Dashboard
from mlc.training.evaluation import Fit
from mlc.training.feeding import place
from mlc.training.figures import draw_evaluation, write_figures
from mlc.training.job import Job
from mlc.training.label_chunks import join_labels
from mlc.training.label_layer import n_parameters
from mlc.training.progress import Progress
from mlc.training.provenance import Provenance
from mlc.training.report import final_report, write_per_label_csv, write_results
from mlc.training.roads import evaluate, fit_on_validation, predict_split
from mlc.training.run_files import RunFiles, save_classifier
from mlc.training.session import Session
from mlc.training.settings import TrainerSettings
from mlc.training.validation_rows import rows_to_fit_on


def finish(job: Job, session: Session, progress: Progress, dashboard: Dashboard) -> None:
    """Take the best network, fit calibrator and decision, evaluate, and write what a run leaves."""
    start_s = time.perf_counter()
    files, names, settings = RunFiles(job.folder), job.dataset.label_names, job.settings
    classifier, device = job.classifier, session.device
    best = Checkpoints(files.checkpoints)
    best.restore_network(classifier.network, epoch=session.position.best_epoch)

    fit_rows = rows_to_fit_on(job.dataset.valid, settings, seed=job.seed)
    fitting = predict_split(classifier.network, place(fit_rows, device).split, settings, device)
    fit = fit_on_validation(
        classifier, fitting, memory_limit_mb=settings.memory_limit_mb, separate=settings.separate_fit
    )
    valid = predict_split(classifier.network, place(job.dataset.valid, device).split, settings, device)
    test = predict_split(classifier.network, place(job.dataset.test, device).split, settings, device)
    evaluations = {"valid": evaluate(classifier, valid), "test": evaluate(classifier, test)}
    thresholds_L = classifier.decision.thresholds()

    join_labels(classifier.network.head)  # from here on the main process asks nothing of the others
    if not processes.is_main():
        return
    save_classifier(files.classifier, classifier, job.facts)
    write_per_label_csv(
        files.per_label, label_names=names, evaluation=evaluations["test"], thresholds_L=thresholds_L
    )
    figures = draw_evaluation(
        names, evaluations["test"], split="test", score_is_probability=fit.score_is_probability
    )
    files.figures.mkdir(exist_ok=True)
    write_figures(files.figures, figures)
    dashboard.finish(
        session.position.step,
        evaluations,
        figures=figures,
        hyperparameters=_hyperparameters(job.config, settings),
    )
    # Written last: a run with results is a finished run.
    run = _run_section(job, session, fit, mode=test.why, finish_time_s=time.perf_counter() - start_s)
    write_results(files.results, run=run, splits=evaluations)
    progress.line(f"note: {fit.sentence}")
    progress.line(final_report(evaluations, label_names=names, thresholds_L=thresholds_L, folder=job.folder))


def _run_section(job: Job, session: Session, fit: Fit, *, mode: str, finish_time_s: float) -> dict[str, Any]:
    """What results.json says about the run itself."""
    provenance = Provenance.read(job.folder)
    position, rows = session.position, len(job.dataset.train)
    return {
        "choices": dict(job.config["choices"]),
        "seed": job.seed,
        "device": session.device,
        "precision": job.settings.precision,
        **({} if provenance is None else provenance.for_results()),
        "parameters": n_parameters(session.network),
        "rows": {"train": rows, "valid": len(job.dataset.valid), "test": len(job.dataset.test)},
        "labels": len(job.dataset.label_names),
        "epochs": position.epoch,
        "steps": position.step,
        "bad_steps": position.bad_steps,
        "processes": processes.size(),
        "best_epoch": position.best_epoch,
        "monitor": job.settings.monitor,
        "time_s": position.train_time_s + position.valid_time_s + finish_time_s,
        "train_time_s": position.train_time_s,
        "examples_per_s": rows * position.epoch / position.train_time_s if position.epoch else None,
        "evaluation": mode,
        "fit": fit.sentence,
        "notes": list(job.notes),
    }


def _hyperparameters(config: Mapping[str, Any], settings: TrainerSettings) -> dict[str, Any]:
    """What the HParams tab compares: the names of the choices, the seed, and the settings people turn."""
    optimizer = config["optimizer"]
    return {
        **config["choices"],
        "seed": config["seed"],
        "lr": optimizer["lr"],
        "weight_decay": optimizer.get("weight_decay", 0.0),  # row_adagrad has none
        "batch_size": settings.batch_size,
        "max_epochs": settings.max_epochs,
    }
