"""Measure a trained run again: `python -m mlc.evaluate run=<run folder>`."""

import sys
from collections.abc import Sequence

from mlc.experiment.assemble import read_trained_run
from mlc.experiment.command_line import existing_folder, exit_code, read_words
from mlc.training.measure_again import measure_again

USAGE = "python -m mlc.evaluate run=<run folder>"


def main() -> None:
    """The command-line door."""
    sys.exit(exit_code(lambda: evaluate(sys.argv[1:])))


def evaluate(words: Sequence[str]) -> None:
    """Evaluate the run's classifier on its validation and test split, and compare with what it stored."""
    values = read_words(words, usage=USAGE, known=["run"], required=["run"])
    folder = existing_folder(values["run"], key="run")
    trained = read_trained_run(folder)
    dataset = trained.recipe.source.load(seed=trained.recipe.seed)
    print(measure_again(trained.classifier, dataset, trained.recipe.settings, folder, facts=trained.facts))


if __name__ == "__main__":
    main()
