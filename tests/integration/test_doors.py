"""Measuring and predicting with a finished run."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mlc.experiment.assemble import read_trained_run
from mlc.training.evaluation import run_network
from tests.integration.doors import Doors, config, contents, digits, program, results, shipped, small, table
from tests.integration.tiny_mulan import LABELS, TEST_ROWS, mulan, write_mulan

HEADS = shipped("head")
ODD_NAMES = ("Übung ß", "a,b=c", "#1 [x]{y}(z)", 'it\'s "so" $HOME', "a\\b", "-m", "日本")


def expected_of_test(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities and decisions of the test split, without the doors."""
    trained = read_trained_run(folder)
    dataset = trained.recipe.data()
    classifier = trained.classifier
    (chunk,) = run_network(classifier.network, dataset.test, batch_size=1000)
    with torch.no_grad():
        output = classifier.calibrator(classifier.loss.link(chunk.raw))
        return output.marginals(), classifier.decision(output)


@pytest.mark.parametrize("head", [head for head in HEADS if head != "label_attention"])
def test_predictions_on_the_test_file_are_those_of_the_test_split(
    doors: Doors, tiny: Path, no_figures: None, head: str
) -> None:
    assert doors.train(*small("run", head)).code == 0
    levels = head == "levels"
    for ending in ("csv", "jsonl"):
        outcome = doors.predict("run=run", "input=data/tiny/test.arff", f"output=p.{ending}")
        assert outcome.code == 0
        assert f"{TEST_ROWS} rows predicted: p.{ending}" in outcome.out
    p_NL, decided_NL = expected_of_test(Path("run"))
    lines = [json.loads(line) for line in Path("p.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = table(Path("p.csv"))
    assert len(lines) == len(rows) == len(p_NL) == TEST_ROWS
    for i, (line, row) in enumerate(zip(lines, rows, strict=True)):
        assert line.keys() == {"row", "decided", "probabilities", *(["levels"] if levels else [])}
        level_columns = [f"level of {label}" for label in LABELS] if levels else []
        assert tuple(row) == ("row", "decided", *LABELS, *level_columns)
        assert [int(row[column]) for column in level_columns] == [*line.get("levels", {}).values()]
        assert line["row"] == int(row["row"]) == i
        assert tuple(line["probabilities"]) == LABELS
        p_L = p_NL[i].tolist()
        assert list(line["probabilities"].values()) == pytest.approx(p_L, rel=1e-5)
        assert [float(row[label]) for label in LABELS] == pytest.approx(p_L, rel=1e-4)
        decided = [label for label, is_in in zip(LABELS, decided_NL[i].tolist(), strict=True) if is_in]
        assert line["decided"] == decided
        assert row["decided"] == "|".join(decided)


def test_csv_npy_and_arff_inputs_agree(doors: Doors, run: Path) -> None:
    text = (Path("data/tiny/test.arff")).read_text(encoding="utf-8")
    rows = [line.split(",") for line in text.partition("@data\n")[2].splitlines()]
    with Path("rows.csv").open("w", encoding="utf-8", newline="") as file:
        # Features in another order, and no labels.
        csv.writer(file).writerows([["colour", "f3", "f2", "f1", "f0"], *(row[4::-1] for row in rows)])
    colours = [[float(row[4] == colour) for colour in ("red", "green", "blue")] for row in rows]
    np.save("rows.npy", np.hstack([np.array([row[:4] for row in rows], dtype=float), np.array(colours)]))
    header, _, data = text.partition("@data\n")
    unlabelled = [line for line in header.splitlines() if "{0,1}" not in line]
    lines = [",".join(line.split(",")[:5]) for line in data.splitlines()]
    Path("rows.arff").write_text("\n".join([*unlabelled, "@data", *lines]) + "\n", encoding="utf-8")
    for source in ("data/tiny/test.arff", "rows.arff", "rows.csv", "rows.npy"):
        outcome = doors.predict("run=run", f"input={source}", f"output={source.replace('/', '_')}.csv")
        assert outcome.code == 0, outcome.err
    outputs = {path.read_text(encoding="utf-8") for path in Path.cwd().glob("*.*.csv")}
    assert len(list(Path.cwd().glob("*.*.csv"))) == 4
    assert len(outputs) == 1


@pytest.mark.parametrize("head", ["sigmoid", "label_attention"])
def test_pictures(doors: Doors, no_figures: None, head: str) -> None:
    assert doors.train(*digits("run", f"head={head}")).code == 0
    np.save("pictures.npy", np.zeros((3, 28, 28), dtype=np.uint8))
    assert doors.predict("run=run", "input=pictures.npy", "output=p.csv").code == 0
    rows = table(Path("p.csv"))
    assert [row["row"] for row in rows] == ["0", "1", "2"]
    assert all(0 < float(row[str(digit)]) < 1 for row in rows for digit in range(10))


def test_no_rows_give_an_empty_output(doors: Doors, run: Path) -> None:
    Path("rows.csv").write_text("f0,f1,f2,f3,colour\n", encoding="utf-8")
    assert "0 rows predicted" in doors.predict("run=run", "input=rows.csv", "output=p.csv").out
    assert Path("p.csv").read_text(encoding="utf-8").startswith("row,decided,")


def test_an_output_is_replaced_whole(doors: Doors, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("run=run", "input=data/tiny/test.arff", "output=p.jsonl")
    Path("p.jsonl").write_text("old", encoding="utf-8")
    written = json.dumps

    def full_disk(value: object, **options: bool) -> str:
        if isinstance(value, dict) and value.get("row") == 5:
            raise OSError(28, "No space left on device")
        return written(value, **options)

    monkeypatch.setattr("mlc.training.prediction.json.dumps", full_disk)
    failed = doors.predict(*words)
    assert failed.code == 1
    assert failed.err.startswith("fault: No space left on device")
    assert Path("p.jsonl").read_text(encoding="utf-8") == "old"
    monkeypatch.setattr("mlc.training.prediction.json.dumps", written)
    assert doors.predict(*words).code == 0
    assert len(Path("p.jsonl").read_text(encoding="utf-8").splitlines()) == TEST_ROWS
    assert not list(Path.cwd().glob(".*"))


@pytest.mark.parametrize("head", HEADS)
def test_evaluate_finds_the_stored_numbers(doors: Doors, tiny: Path, no_figures: None, head: str) -> None:
    # At least the larger test split is streamed.
    assert doors.train(*small("run", head, "trainer.memory_limit_mb=0.0004")).code == 0
    before = contents(Path("run"))
    outcome = doors.evaluate("run=run")
    assert (outcome.code, outcome.err) == (0, "")
    assert "All metrics equal those in run/results.json." in outcome.out
    names = [row["label"] for row in table(Path("run/per_label.csv"))]
    assert all(label in outcome.out for label in names)
    assert contents(Path("run")) == before


def test_evaluate_names_what_differs(doors: Doors, run: Path) -> None:
    text = (run / "results.json").read_text(encoding="utf-8")
    changed = re.sub(r'"micro_f1": [0-9.]+', '"micro_f1": 0.123', text)
    (run / "results.json").write_text(changed, encoding="utf-8")
    outcome = doors.evaluate("run=run")
    assert "All metrics equal" not in outcome.out
    assert re.search(r"test micro_f1: [0-9.]+ here, 0.123 stored", outcome.out)


@pytest.mark.parametrize("name", [*ODD_NAMES, "${x}"])
def test_paths_may_be_called_anything(
    doors: Doors, run: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    shutil.move("run", name)
    shutil.copy("data/tiny/test.arff", f"{name}.arff")
    shutil.move("data", f"{name} data")
    monkeypatch.setenv("MLC_DATA", f"{name} data")
    assert "All metrics equal" in doors.evaluate(f"run={name}").out
    outcome = doors.predict(f"run={name}", f"input={name}.arff", f"output={name}.csv")
    assert (outcome.code, len(table(Path(f"{name}.csv")))) == (0, TEST_ROWS), outcome.err
    assert "is finished" in doors.train(f"resume={name}").out
    assert doors.train(f"resume={name}", "trainer.max_epochs=3").code == 0
    assert results(Path(name))["run"]["epochs"] == 3


@pytest.mark.parametrize("name", [*ODD_NAMES, "${x}"])
def test_data_files_may_be_called_anything(
    doors: Doors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_figures: None, name: str
) -> None:
    write_mulan(tmp_path / name)
    tiny = (tmp_path / name / "tiny").rename(tmp_path / name / f"{name}!")
    for file in ("train.arff", "test.arff", "labels.xml"):
        (tiny / file).rename(tiny / f"{name} {file}")
    monkeypatch.setenv("MLC_DATA", name)
    words = mulan(
        "run",
        f"dataset.folder={name}!",
        f"dataset.train={name} train.arff",
        f"dataset.test={name} test.arff",
        f"dataset.labels={name} labels.xml",
    )
    outcome = doors.train(*words)
    assert (outcome.code, outcome.err) == (0, "")
    assert config(Path("run"))["dataset"]["folder"] == f"{name}!"


@pytest.mark.parametrize("name", ODD_NAMES)  # Hydra reads ${ also in the working folder
def test_the_working_folder_may_be_called_anything(
    doors: Doors, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_figures: None, name: str
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    assert doors.train(*mulan("run")).code == 0
    assert "All metrics equal" in doors.evaluate("run=run").out


def test_the_doors_as_programs(run: Path) -> None:
    started = {
        "All metrics equal": program("mlc.evaluate", "run=run"),
        "30 rows predicted": program("mlc.predict", "run=run", "input=data/tiny/test.arff", "output=p.csv"),
    }
    for expected, process in started.items():
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert expected in out
