"""W6: what it costs to measure 20,000 rows × 4,000 probabilities, beside torchmetrics and scikit-learn.

    OMP_NUM_THREADS=2 python -m benchmarks.evaluation
    OMP_NUM_THREADS=2 python -m benchmarks.evaluation --cases exact streaming small    # seconds, not minutes

The data: labels whose frequencies fall like Zipf's law, 5 true labels per row, score logits that know
something about them; float32 probabilities and one byte per target. Always the same, written once to a
temporary folder.

    exact, streaming       the whole suite in one pass: F1 and its kin, AP and curves, ECE, reliability,
                           Brier, log loss, ranking; fed in batches, as an evaluation feeds it
    exact_evaluate         the same behind a classifier (`mlc.training.evaluation.evaluate`): also loss, link,
                           calibrator, decision rule and likelihood
    torchmetrics_ap_exact, torchmetrics_ap_binned (100 thresholds), torchmetrics_f1
    sklearn_ap, sklearn_f1 what a user calls for one of these numbers alone
    small                  300 rows × 14 labels, the validation after an epoch of W1: F1, ECE, log loss

Each case is a process of its own. Wall and CPU time start once all is imported, the arrays are loaded, and a
small evaluation has run; extra memory is the largest resident set (resource.getrusage) above that at the
start. Cases are run in turn, `--repeats` times; the table has medians. The first column is time over that of
the first case.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROWS, LABELS, LABELS_PER_ROW = 20_000, 4_000, 5
BATCH = 512
BLOCK = 1_000


def write_data(folder: Path, rows: int, labels: int) -> None:
    """Write logits, probabilities and targets, some rows at a time."""
    random = np.random.default_rng(0)
    frequency_L = 1 / (np.arange(labels) + 10.0)
    frequency_L = np.minimum(frequency_L * LABELS_PER_ROW / frequency_L.sum(), 0.5).astype(np.float32)
    files = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, (rows, labels))
        for name, dtype in (("logits", np.float32), ("probabilities", np.float32), ("y", np.int8))
    }
    for start in range(0, rows, BLOCK):
        block = slice(start, min(start + BLOCK, rows))
        shape = (block.stop - start, labels)
        y_BL = random.random(shape, dtype=np.float32) < frequency_L
        noise_BL = random.standard_normal(shape, dtype=np.float32)
        logits_BL = np.log(frequency_L / (1 - frequency_L)) + noise_BL + 3 * y_BL
        files["logits"][block], files["y"][block] = logits_BL, y_BL
        files["probabilities"][block] = 1 / (1 + np.exp(-logits_BL))
    for file in files.values():
        file.flush()


class Data:
    """The arrays of a folder, in memory."""

    def __init__(self, folder: Path):
        self.logits, self.p, self.y = (
            np.load(folder / f"{name}.npy") for name in ("logits", "probabilities", "y")
        )

    def head(self, rows: int, labels: int) -> "Data":
        """The first rows and labels."""
        part = object.__new__(Data)
        part.logits, part.p, part.y = (
            np.ascontiguousarray(values[:rows, :labels]) for values in (self.logits, self.p, self.y)
        )
        return part


def _suite(mode: str) -> Callable[[Data], float]:
    import torch

    from mlc.metrics.suite import EvaluationSuite

    def measure(data: Data) -> float:
        logits, p, y = (torch.from_numpy(values) for values in (data.logits, data.p, data.y))
        suite = EvaluationSuite(n_labels=y.shape[1], mode=mode, no_uncalibrated="the same")
        for rows in (slice(start, start + BATCH) for start in range(0, len(y), BATCH)):
            suite.update(
                decisions_BL=p[rows] > 0.5,
                scores_BL=logits[rows],
                probabilities_BL=p[rows],
                uncalibrated_BL=None,
                y_BL=y[rows].float(),
            )
        return suite.compute().values["map"]

    return measure


def exact() -> Callable[[Data], float]:
    """The whole suite with exact average precision."""
    return _suite("exact")


def streaming() -> Callable[[Data], float]:
    """The whole suite with average precision from histograms."""
    return _suite("streaming")


def exact_evaluate() -> Callable[[Data], float]:
    """The whole suite behind a classifier."""
    import torch

    from mlc.batch import LabelStatistics
    from mlc.calibration.none import NoCalibration
    from mlc.decisions.fixed import FixedThreshold
    from mlc.losses.binary_cross_entropy import BinaryCrossEntropy
    from mlc.model import Classifier
    from mlc.outputs.independent import IndependentLabels
    from mlc.training.evaluation import Chunk, Predictions, evaluate

    def measure(data: Data) -> float:
        n_labels = data.y.shape[1]
        chunk = Chunk(
            IndependentLabels(torch.from_numpy(data.logits)), torch.from_numpy(data.y).float(), None
        )
        predictions = Predictions(lambda: iter([chunk]), len(data.y), n_labels, n_labels, kept=True, why="")
        classifier = Classifier(
            network=torch.nn.Identity(),
            loss=BinaryCrossEntropy(
                labels=LabelStatistics.from_targets(chunk.y_BL[:1000]),
                positive_weight=1.0,
                max_positive_weight=1.0,
                label_weight="equal",
            ),
            calibrator=NoCalibration(n_labels=n_labels),
            decision=FixedThreshold(n_labels=n_labels, threshold=0.5),
        )
        return evaluate(classifier, predictions).defined["map"]

    return measure


def _torchmetrics_ap(thresholds: int | None) -> Callable[[Data], float]:
    import torch
    from torchmetrics.classification import MultilabelAveragePrecision

    def measure(data: Data) -> float:
        metric = MultilabelAveragePrecision(data.y.shape[1], thresholds=thresholds, validate_args=False)
        for rows in (slice(start, start + BATCH) for start in range(0, len(data.y), BATCH)):
            metric.update(torch.from_numpy(data.p[rows]), torch.from_numpy(data.y[rows]).long())
        return float(metric.compute())

    return measure


def torchmetrics_ap_exact() -> Callable[[Data], float]:
    """Average precision by torchmetrics, exact."""
    return _torchmetrics_ap(None)


def torchmetrics_ap_binned() -> Callable[[Data], float]:
    """Average precision by torchmetrics at 100 thresholds."""
    return _torchmetrics_ap(100)


def torchmetrics_f1() -> Callable[[Data], float]:
    """Macro-F1 by torchmetrics."""
    import torch
    from torchmetrics.classification import MultilabelF1Score

    def measure(data: Data) -> float:
        metric = MultilabelF1Score(data.y.shape[1], average="macro", validate_args=False)
        for rows in (slice(start, start + BATCH) for start in range(0, len(data.y), BATCH)):
            metric.update(torch.from_numpy(data.p[rows]), torch.from_numpy(data.y[rows]).long())
        return float(metric.compute())

    return measure


def sklearn_ap() -> Callable[[Data], float]:
    """Average precision by scikit-learn."""
    from sklearn.metrics import average_precision_score

    return lambda data: average_precision_score(data.y[:, data.y.any(0)], data.p[:, data.y.any(0)])


def sklearn_f1() -> Callable[[Data], float]:
    """Macro-F1 by scikit-learn."""
    from sklearn.metrics import f1_score

    return lambda data: f1_score(data.y, data.p > 0.5, average="macro", zero_division=0)


def small() -> Callable[[Data], float]:
    """The validation after an epoch of a small table."""
    import torch

    from mlc.metrics.suite import EvaluationSuite

    def measure(data: Data) -> float:
        logits, p, y = (
            torch.from_numpy(values[:300, :14].copy()) for values in (data.logits, data.p, data.y)
        )
        suite = EvaluationSuite(n_labels=14, mode="exact", ranking=False, average_precision=False)
        suite.update(
            decisions_BL=p > 0.5, scores_BL=logits, probabilities_BL=p, uncalibrated_BL=p, y_BL=y.float()
        )
        return suite.compute().values["micro_f1"]

    return measure


CASES: dict[str, Callable[[], Callable[[Data], float]]] = {
    case.__name__: case
    for case in (
        *(exact, streaming, exact_evaluate, small),
        *(sklearn_f1, sklearn_ap, torchmetrics_f1, torchmetrics_ap_exact, torchmetrics_ap_binned),
    )
}


def run_case(name: str, folder: Path) -> dict[str, float]:
    """Measure one case in this process."""
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    measure, data = CASES[name](), Data(folder)
    measure(data.head(50, 20))
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    value = measure(data)
    taken_s, cpu_s = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "seconds": taken_s,
        "cpu_s": cpu_s,
        "extra_mb": (peak_kb - before_kb) * 1024 / 1e6,
        "value": value,
    }


def main() -> None:
    """Run the cases in turn, and print what they took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--labels", type=int, default=LABELS)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where the medians are to be written")
    parser.add_argument("--case", choices=list(CASES), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help="where the data is, or is to be written once")
    args = parser.parse_args()
    if args.case:
        print(json.dumps(run_case(args.case, args.folder)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        if not (folder / "y.npy").exists():
            write_data(folder, args.rows, args.labels)
        taken: dict[str, list[dict[str, float]]] = {name: [] for name in args.cases}
        for _ in range(args.repeats):
            for name in args.cases:
                command = [sys.executable, __file__, "--case", name, "--folder", str(folder)]
                taken[name].append(json.loads(subprocess.check_output(command)))
    medians = {
        name: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for name, runs in taken.items()
    }
    if args.json:
        args.json.write_text(json.dumps(medians, indent=1), encoding="utf-8")
    base_s = medians[next(iter(medians))]["seconds"]
    print(f"{'case':24}{'ratio':>8}{'seconds':>10}{'CPU s':>10}{'extra MB':>10}   value")
    for name, row in medians.items():
        columns = (
            f"{row['seconds'] / base_s:8.3f}{row['seconds']:10.4f}{row['cpu_s']:10.4f}{row['extra_mb']:10.0f}"
        )
        print(f"{name:24}{columns}   {row['value']:.6f}")


if __name__ == "__main__":
    main()
