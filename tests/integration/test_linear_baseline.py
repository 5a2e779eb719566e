"""The linear baseline through the doors, on texts with sparse counts."""

import csv
from pathlib import Path

import pytest

from tests.integration.doors import Doors, config, results, table
from tests.integration.test_bad_input import assert_sentence
from tests.integration.test_resume import SAVE, Killed, assert_same_end, kill_at

WORDS = {"red": ("warm",), "blue": ("cold",), "purple": ("warm", "cold"), "grey": ()}


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The words of a run on a small table of texts."""
    with (tmp_path / "texts.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "labels"])
        for number in range(80):
            word = list(WORDS)[number % 4]
            writer.writerow([f"the {word} thing {number}", "|".join(WORDS[word])])
    return [
        *("dataset=table", "dataset.path=texts.csv", "dataset.text=text", "dataset.labels=labels"),
        *("dataset.label_delimiter=|", "trainer=linear_baseline"),
    ]


def test_it_is_fitted_resumed_measured_again_and_predicts(
    doors: Doors, words: list[str], no_figures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = doors.train(*words, "hydra.run.dir=undisturbed")
    assert (outcome.code, outcome.err) == (0, "")
    folder = Path("undisturbed")
    chosen = config(folder)["choices"]
    assert (chosen["backbone"], chosen["head"], chosen["loss"]) == ("linear", "sigmoid", "squared_hinge")
    assert (chosen["text"], chosen["decision"]) == ("tfidf", "per_label_threshold")
    assert results(folder)["splits"]["test"]["micro_f1"] > 0.9

    revive = kill_at(monkeypatch, SAVE, call=4)
    with pytest.raises(Killed):
        doors.train(*words, "hydra.run.dir=run")
    revive()
    assert doors.train("resume=run").code == 0
    assert_same_end(Path("run"), folder)
    assert "its linear classifiers are fitted" in doors.train("resume=run").out
    assert "All metrics equal" in doors.evaluate("run=run").out

    outcome = doors.predict("run=run", "text=a purple thing")
    assert (outcome.code, outcome.err) == (0, "")
    assert "* decided: " in outcome.out
    decided = outcome.out.splitlines()[-1].partition("decided: ")[2].split(", ")
    assert sorted(decided) == ["cold", "warm"]
    assert doors.predict("run=run", "input=texts.csv", "output=p.csv").code == 0
    rows = table(Path("p.csv"))
    assert len(rows) == 80
    assert sorted(rows[2]["decided"].split("|")) == ["cold", "warm"]
    assert_sentence(doors.predict("run=run", "text=a", "output=p.csv"), "text= stands for itself")


def test_a_run_without_texts_predicts_no_text(doors: Doors, run: Path) -> None:
    outcome = doors.predict("run=run", "text=a purple thing")
    assert_sentence(outcome, "run=run was not trained on texts", "input=<file>")
