"""Unknown labels and weights of rows, from the file to the results."""

import math
from pathlib import Path

import pytest

from tests.integration.doors import Doors, contents, results, shipped, small, table
from tests.integration.test_resume import SAVE, Killed, assert_same_end, kill_at
from tests.integration.tiny_mulan import LABELS, TEST_ROWS, mulan, write_mulan

TABLE_HEADS = [head for head in shipped("head") if head != "label_attention"]


@pytest.fixture(autouse=True)
def _data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_figures: None) -> None:
    monkeypatch.setenv("MLC_DATA", str(write_mulan(tmp_path / "data", unknown=True).parent))


def cells_of_test() -> list[list[str]]:
    """The label cells of the test file."""
    data = Path("data/tiny/test.arff").read_text(encoding="utf-8").partition("@data\n")[2]
    return [line.split(",")[-5:-1] for line in data.splitlines()]


@pytest.mark.parametrize("head", TABLE_HEADS)
def test_every_head_trains_and_is_measured(doors: Doors, head: str) -> None:
    outcome = doors.train(*small("run", head, "dataset.weight=mass", "trainer.max_epochs=1"))
    assert (outcome.code, outcome.err) == (0, "")
    test = results(Path("run"))["splits"]["test"]
    for name in ("loss", "micro_f1", "macro_f1", "lrap", "brier", "classwise_ece"):
        assert math.isfinite(test[name]), name


def test_what_the_results_say_is_unknown(doors: Doors) -> None:
    assert doors.train(*mulan("run")).code == 0
    cells = cells_of_test()
    unknown = sum(cell == "?" for row in cells for cell in row)
    test = results(Path("run"))["splits"]["test"]
    assert test["unknown_fraction"] == pytest.approx(unknown / (TEST_ROWS * len(LABELS)))
    assert test["rows_without_known_labels"] == sum(set(row) == {"?"} for row in cells) == 3
    for i, row in enumerate(table(Path("run/per_label.csv"))):
        assert float(row["known"]) == sum(cells_of_row[i] != "?" for cells_of_row in cells)
        assert float(row["support"]) == sum(cells_of_row[i] == "1" for cells_of_row in cells)


def test_a_weight_counts_in_the_results(doors: Doors) -> None:
    assert doors.train(*mulan("run", "dataset.weight=mass")).code == 0
    cells, masses = cells_of_test(), [i % 3 for i in range(TEST_ROWS)]
    assert sum(masses) == TEST_ROWS, "the mean is 1, so weights stay as they are"
    for i, row in enumerate(table(Path("run/per_label.csv"))):
        weighed = [mass for mass, cells_of_row in zip(masses, cells, strict=True) if cells_of_row[i] == "1"]
        assert float(row["support"]) == pytest.approx(sum(weighed))


def test_evaluate_and_predict(doors: Doors) -> None:
    assert doors.train(*mulan("run", "dataset.weight=mass")).code == 0
    before = contents(Path("run"))
    assert "All metrics equal" in doors.evaluate("run=run").out
    assert contents(Path("run")) == before
    outcome = doors.predict("run=run", "input=data/tiny/test.arff", "output=p.csv")
    assert (outcome.code, len(table(Path("p.csv")))) == (0, TEST_ROWS), outcome.err


def test_resume(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("dataset.weight=mass", "head=conditional_bernoulli")
    assert doors.train(*mulan("undisturbed", *words)).code == 0
    revive = kill_at(monkeypatch, SAVE, call=4)
    with pytest.raises(Killed):
        doors.train(*mulan("run", *words))
    revive()
    assert doors.train("resume=run").code == 0
    assert_same_end(Path("run"), Path("undisturbed"))
