"""Measure a trained run again, as it is or with another rule: `python -m mlc.evaluate run=<run folder>`."""

import sys
from collections.abc import Sequence
from typing import Any

from mlc import early_signals

if __name__ == "__main__":  # what comes next takes seconds
    early_signals.listen()

from mlc.experiment.assemble import TrainedRun, read_trained_run
from mlc.experiment.command_line import (
    existing_folder,
    exit_code,
    helped,
    read_words,
    refuse_several,
    with_trust,
)
from mlc.experiment.safe_yaml import parse_yaml
from mlc.training.measure_again import measure_again, measure_otherwise
from mlc.training.report import label_table, summary_table

USAGE = "python -m mlc.evaluate run=<run folder> [decision=<name>] [decision.<key>=...] [calibration=<name>]"
_OTHERWISE = ("decision", "calibration")


def main() -> None:
    """The command-line door."""
    sys.exit(exit_code(lambda: with_trust(evaluate, sys.argv[1:])))


def evaluate(words: Sequence[str]) -> None:
    """Measure the run's classifier on its validation and test split, and compare with what it stored.

    With `decision=` or `calibration=`, or one of their options, these are fitted anew on the run's validation
    rows instead, and nothing is stored: the network is the costly part, and any rule can be tried on it.
    """
    if helped(words, USAGE):
        return
    refuse_several("mlc.evaluate")
    options, rest = _take_options(words)
    values = read_words(rest, usage=USAGE, known=["run", *_OTHERWISE], required=["run"])
    folder = existing_folder(values.pop("run"), key="run")
    if values or options:
        print(_measure_otherwise(read_trained_run(folder, otherwise=values, options=options)))
        return
    trained = read_trained_run(folder)
    recipe = trained.recipe
    dataset = recipe.data(trained.facts.preparation)
    print(measure_again(trained.classifier, dataset, recipe.settings, folder, facts=trained.facts))


def _take_options(words: Sequence[str]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The words `decision.<option>=<value>` and `calibration.<option>=<value>` by group, and the others."""
    options: dict[str, dict[str, Any]] = {}
    rest = []
    for word in words:
        key, equals, value = word.partition("=")
        group, dot, option = key.partition(".")
        if group in _OTHERWISE and dot and equals:
            options.setdefault(group, {})[option] = parse_yaml(value, name=key)
        else:
            rest.append(word)
    return options, rest


def _measure_otherwise(trained: TrainedRun) -> str:
    recipe = trained.recipe
    dataset = recipe.data(trained.facts.preparation)
    evaluations = measure_otherwise(
        trained.classifier, dataset, recipe.settings, facts=trained.facts, seed=recipe.seed
    )
    thresholds_L = trained.classifier.decision.thresholds()
    table = label_table(trained.facts.label_names, evaluations["test"], thresholds_L=thresholds_L)
    return "\n\n".join([f"Labels on test\n{table}", summary_table(evaluations), "Nothing was stored."])


if __name__ == "__main__":
    early_signals.run(main)
