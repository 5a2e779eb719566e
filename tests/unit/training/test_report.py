import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mlc.outputs.base import NotDefinedError
from mlc.outputs.shares import LabelShares
from mlc.training.csv_cells import text_of
from mlc.training.report import (
    final_report,
    label_table,
    summary_table,
    where_next,
    write_per_label_csv,
    write_results,
)

NAMES = ("a/b", "größe", "日本語", "a very long name that would push all the numbers to the right")
NASTY = ('quote " comma ,', "line\nbreak", "carriage\rreturn", "=1+1")


def test_table_has_the_columns_in_line(make_evaluation) -> None:
    evaluation = make_evaluation()
    header, *rows = label_table(NAMES, evaluation, thresholds_L=torch.full((4,), 0.25)).splitlines()
    assert " ".join(header.split()) == (
        "label support predicted precision recall F1 AP ECE before ECE after threshold"
    )
    assert [row.split()[0] for row in rows] == ["a/b", "größe", "日本語", "a"]
    assert rows[3].startswith("a very long name that would p...  ")
    # On a terminal a Japanese character takes two columns.
    assert {len(header), len(rows[0]), len(rows[1]), len(rows[2]) + 3, len(rows[3])} == {len(header)}
    per_label = evaluation.suite.per_label
    cells = rows[0].split()[1:]
    assert cells[0] == str(int(per_label["support"][0]))
    assert cells[4] == f"{float(per_label['f1'][0]):.3f}"
    assert cells[6] == f"{float(per_label['ece_uncalibrated'][0]):.3f}"
    assert cells[7] == f"{float(per_label['ece'][0]):.3f}"
    assert cells[8] == "0.25"


def test_columns_that_do_not_exist_are_left_out(make_evaluation) -> None:
    table = label_table("abcd", make_evaluation(no_probabilities="scores only"), thresholds_L=None)
    assert "ECE before" in table
    assert "ECE after" not in table
    assert "threshold" not in table


def test_an_undefined_number_is_a_dash(make_evaluation) -> None:
    evaluation = make_evaluation()
    columns = {**evaluation.suite.per_label, "ap": torch.full((4,), math.nan)}
    evaluation = replace(evaluation, suite=replace(evaluation.suite, per_label=columns))
    table = label_table("abcd", evaluation, thresholds_L=None)
    assert table.splitlines()[1].split()[6] == "-"
    assert "nan" not in table


def test_of_many_labels_forty_are_shown_and_it_is_said(make_evaluation) -> None:
    names = [f"l{i}" for i in range(60)]
    lines = label_table(names, make_evaluation(n_labels=60), thresholds_L=None).splitlines()
    assert len(lines) == 1 + 40 + 1
    assert "20 most frequent of 60 labels" in lines[-1]
    assert "20 worst by F1" in lines[-1]


def test_summary_compares_splits_and_explains_gaps(make_evaluation) -> None:
    evaluations = {
        "valid": make_evaluation(),
        "test": make_evaluation(seed=1, no_probabilities="no marginals"),
    }
    lines = summary_table(evaluations).splitlines()
    assert lines[0].split() == ["valid", "test"]
    micro = [f"{evaluations[split].metrics['micro_f1']:.4f}" for split in ("valid", "test")]
    assert lines[1].split() == ["micro-F1", *micro]
    after = next(line for line in lines if line.startswith("class-wise ECE after"))
    assert after.split()[-1] == "-"
    assert lines[-1] == "- class-wise ECE after calibration: no marginals"


def test_no_run_in_label_chunks_is_sent_to_a_calibration_that_is_refused(make_evaluation) -> None:
    with pytest.raises(NotDefinedError) as caught:
        LabelShares(torch.zeros(1, 3)).marginals()
    assert "(calibration=platt)" in str(caught.value)
    table = summary_table({"test": make_evaluation(no_probabilities=str(caught.value))})
    assert "(calibration=platt, which trainer.label_chunk does not go with)" in table
    assert "platt)" not in table


def test_commands_can_be_pasted(tmp_path: Path) -> None:
    text = where_next(Path("runs/my run"))
    assert "tensorboard --logdir runs\n" in text
    assert "python -m mlc.evaluate run='runs/my run'\n" in text
    assert "python -m mlc.predict run='runs/my run' input=<file>" in text
    assert where_next(Path.cwd() / "runs/my run") == text
    assert f"run={tmp_path}/a input" in where_next(tmp_path / "a")


def test_final_report_has_all_three_parts(make_evaluation) -> None:
    evaluations = {"valid": make_evaluation(), "test": make_evaluation(seed=1)}
    text = final_report(evaluations, label_names=NAMES, thresholds_L=None, folder=Path("runs/x"))
    assert text.index("größe") < text.index("micro-F1") < text.index("tensorboard")


def test_csv_round_trip(make_evaluation, tmp_path: Path) -> None:
    evaluation = make_evaluation()
    columns = {**evaluation.suite.per_label, "ap": torch.tensor([0.5, math.nan, 0.25, 1.0])}
    evaluation = replace(evaluation, suite=replace(evaluation.suite, per_label=columns))
    path = tmp_path / "per_label.csv"
    write_per_label_csv(
        path,
        label_names=NASTY,
        evaluation=evaluation,
        thresholds_L=torch.full((4,), 0.1, dtype=torch.float64),
    )
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [text_of(row["label"]) for row in rows] == list(NASTY)
    assert rows[3]["label"] == "'=1+1", "no spreadsheet computes it"
    assert [row["ap"] for row in rows] == ["0.5", "", "0.25", "1.0"]
    assert [float(row["f1"]) for row in rows] == columns["f1"].tolist()
    assert [row["threshold"] for row in rows] == ["0.1"] * 4
    assert list(rows[0])[:6] == ["label", "support", "predicted", "precision", "recall", "f1"]


def test_csv_has_every_label(make_evaluation, tmp_path: Path) -> None:
    names = [f"l{i}" for i in range(60)]
    write_per_label_csv(
        tmp_path / "a.csv", label_names=names, evaluation=make_evaluation(n_labels=60), thresholds_L=None
    )
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 61


def test_results_round_trip(make_evaluation, tmp_path: Path) -> None:
    evaluations = {"valid": make_evaluation(), "test": make_evaluation(no_probabilities="no marginals")}
    path = tmp_path / "results.json"
    write_results(path, run={"seed": 1, "notes": ["größe"], "rows": {"train": 5}}, splits=evaluations)
    results = json.loads(path.read_text(encoding="utf-8"))
    assert results["format_version"] == 1
    assert results["run"] == {"seed": 1, "notes": ["größe"], "rows": {"train": 5}}
    assert list(results["splits"]) == ["valid", "test"]
    valid, test = results["splits"].values()
    assert valid["micro_f1"] == evaluations["valid"].metrics["micro_f1"]
    assert test["classwise_ece"] is None
    assert test["null_reasons"]["classwise_ece"] == "no marginals"
    for split in (valid, test):
        nulls = {name for name, value in split.items() if value is None}
        assert nulls == set(split["null_reasons"])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_that_is_not_finite_reaches_json(make_evaluation, tmp_path: Path, value: float) -> None:
    evaluation = make_evaluation()
    evaluation = replace(evaluation, metrics={**evaluation.metrics, "loss": value})
    path = tmp_path / "results.json"
    write_results(path, run={"speed": value, "list": [value]}, splits={"test": evaluation})

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    results = json.loads(path.read_text(), parse_constant=refuse)
    assert results["splits"]["test"]["loss"] is None
    assert str(value) in results["splits"]["test"]["null_reasons"]["loss"]
    assert results["run"] == {"speed": None, "list": [None]}


def test_a_failing_write_leaves_the_old_results(make_evaluation, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text("old")
    with pytest.raises(TypeError):
        write_results(path, run={"object": object()}, splits={"test": make_evaluation()})
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["results.json"]


def test_every_key_is_documented(make_evaluation) -> None:
    document = (Path(__file__).parents[3] / "docs" / "run_folder.md").read_text(encoding="utf-8")
    evaluation = make_evaluation()
    for name in (*evaluation.metrics, *evaluation.suite.per_label, "threshold", "null_reasons"):
        assert f"`{name}`" in document, name
