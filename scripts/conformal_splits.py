"""Does conformal risk control hold its promise? `python scripts/conformal_splits.py <run folder>`.

The test rows of a trained run, which shaped nothing, are split at random: some fit the threshold, the others
are new rows. The mean false-negative rate over many splits must be at most the promised rate plus two
standard errors; a row without labels counts 0.
"""

import argparse
from pathlib import Path

import torch

from mlc.decisions.conformal import ConformalThreshold
from mlc.experiment.assemble import read_trained_run
from mlc.training.evaluation import predict_split


def main() -> None:
    """Print a line for each number of calibration rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--rate", type=float, default=0.1, help="promised false-negative rate")
    parser.add_argument("--rows", type=int, nargs="+", default=[50, 200, 458], help="calibration rows")
    parser.add_argument("--splits", type=int, default=200)
    arguments = parser.parse_args()

    trained = read_trained_run(arguments.run)
    recipe, classifier = trained.recipe, trained.classifier
    predictions = predict_split(classifier.network, recipe.data().test, recipe.settings, "cpu")
    assert predictions.kept, "raise trainer.memory_limit_mb"
    raw, y_NL, _ = next(predictions.chunks())
    output = classifier.calibrator(classifier.loss.link(raw))
    for rows in arguments.rows:
        rates, sizes = [], []
        for seed in range(arguments.splits):
            order_N = torch.randperm(len(y_NL), generator=torch.Generator().manual_seed(seed))
            fitted, new = order_N[:rows], order_N[rows:]
            rule = ConformalThreshold(n_labels=y_NL.shape[1], false_negative_rate=arguments.rate)
            rule.fit(output.map_tensors(lambda t, rows=fitted: t[rows]), y_NL[fitted])
            decided_NL = rule(output.map_tensors(lambda t, rows=new: t[rows]))
            missed_N = ((y_NL[new] > 0) & ~decided_NL).sum(1) / (y_NL[new] > 0).sum(1).clamp(min=1)
            rates.append(float(missed_N.mean()))
            sizes.append(float(decided_NL.sum(1).float().mean()))
        rate_S = torch.tensor(rates, dtype=torch.float64)
        error = float(rate_S.std() / len(rates) ** 0.5)
        verdict = "holds" if rate_S.mean() <= arguments.rate + 2 * error else "BROKEN"
        print(
            f"{rows} calibration rows: false-negative rate {float(rate_S.mean()):.4f} ± {error:.4f} "
            f"(promised {arguments.rate}: {verdict}), {sum(sizes) / len(sizes):.1f} labels decided"
        )


if __name__ == "__main__":
    main()
