"""Predict new rows: `python -m mlc.predict run=<run folder> input=<file> output=<file.csv|jsonl>`.

Or one text: `python -m mlc.predict run=<run folder> text="..."`.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlc.data.dataset import TextSource
from mlc.errors import UserError
from mlc.experiment.assemble import read_trained_run
from mlc.experiment.command_line import existing_folder, exit_code, read_words, with_trust
from mlc.training.prediction import predict_file, predict_text

USAGE = (
    "python -m mlc.predict run=<run folder> input=<file> output=<file.csv or file.jsonl>, "
    'or run=<run folder> text="..."'
)


def main() -> None:
    """The command-line door."""
    sys.exit(exit_code(lambda: with_trust(predict, sys.argv[1:])))


def predict(words: Sequence[str]) -> None:
    """Write the probabilities of all labels and the decided set for every row of the input."""
    keys = ["run", "input", "output"]
    values = read_words(words, usage=USAGE, known=[*keys, "text"], required=["run"])
    if "text" in values:
        print(_about_text(values))
        return
    values = read_words(words, usage=USAGE, known=keys, required=keys)
    source, target = Path(values["input"]).expanduser(), Path(values["output"]).expanduser()
    if not source.exists():
        raise UserError(f"input={values['input']} does not exist: give the file to predict on")
    if target.suffix not in (".csv", ".jsonl"):
        raise UserError(f"output={values['output']} has no known ending: use .csv or .jsonl")
    if target.is_dir():
        raise UserError(f"output={values['output']} is a folder: name a file")
    if not target.parent.is_dir():
        raise UserError(
            f"output={values['output']}: the folder {target.parent} does not exist; make it first"
        )
    if target.exists() and target.samefile(source):
        raise UserError(f"output={values['output']} is the input file: name another, it would be overwritten")
    trained = read_trained_run(existing_folder(values["run"], key="run"))
    rows = predict_file(
        trained.classifier,
        trained.recipe.source.read_inputs(source, preparation=trained.facts.preparation, chunk_rows=1024),
        target,
        label_names=trained.facts.label_names,
    )
    print(f"{rows} rows predicted: {target}")


def _about_text(values: Mapping[str, str]) -> str:
    """The labels of one text with their probabilities."""
    if "input" in values or "output" in values:
        raise UserError(f"text= stands for itself: leave input= and output= away. Usage: {USAGE}")
    trained = read_trained_run(existing_folder(values["run"], key="run"))
    source = trained.recipe.source
    if not isinstance(source, TextSource) or "text" not in trained.recipe.makers:
        raise UserError(f"run={values['run']} was not trained on texts: give it rows with input=<file>")
    inputs = source.text_inputs([values["text"]], preparation=trained.facts.preparation)
    return predict_text(trained.classifier, inputs, label_names=trained.facts.label_names)


if __name__ == "__main__":
    main()
