"""A level per label: how many copies of each digit are on the picture."""

from pathlib import Path

import numpy as np

from tests.integration.doors import Doors, digits, results, table

LEVELS = "dataset.targets=levels"


def test_levels(doors: Doors, no_figures: None) -> None:
    outcome = doors.train(*digits("run", LEVELS, "head=levels"))
    assert (outcome.code, outcome.err) == (0, "")
    found = results(Path("run"))
    test = found["splits"]["test"]
    assert 0 < test["level_accuracy"] <= 1
    assert 0 <= test["level_exact"] <= test["level_accuracy"]
    assert test["micro_f1"] >= 0
    assert not any("reads them as there" in note for note in found["run"]["notes"])
    assert "All metrics equal" in doors.evaluate("run=run").out
    np.save("pictures.npy", np.zeros((2, 28, 28), dtype=np.uint8))
    assert doors.predict("run=run", "input=pictures.npy", "output=p.csv").code == 0
    assert [int(row["level of 3"]) >= 0 for row in table(Path("p.csv"))] == [True, True]


def test_another_head_reads_levels_as_there_or_not(doors: Doors, no_figures: None) -> None:
    assert doors.train(*digits("levels", LEVELS, "head=sigmoid")).code == 0
    assert doors.train(*digits("presence", "head=sigmoid")).code == 0
    found, expected = results(Path("levels")), results(Path("presence"))
    assert any("reads them as there (above 0) or not" in note for note in found["run"]["notes"])
    assert found["splits"] == expected["splits"]
    assert "level_accuracy" not in found["splits"]["test"]
    assert "All metrics equal" in doors.evaluate("run=levels").out
