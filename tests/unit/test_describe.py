from dataclasses import replace
from pathlib import Path

import pytest

from mlc.describe import describe
from mlc.errors import UserError
from mlc.experiment.look import load_dataset

SMALL = ["dataset.n_train=60", "dataset.n_test=10"]


def test_a_table_is_printed_and_a_figure_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "mlc.describe.png", lambda figure, dots_per_inch: f"{len(figure.axes)} charts".encode()
    )
    describe(SMALL)
    printed = capsys.readouterr().out
    assert printed.startswith("digits: 10 labels\n")
    assert printed.endswith("\nfigure: describe_digits.png\n")
    assert [path.name for path in tmp_path.iterdir()] == ["describe_digits.png"]
    describe([*SMALL, f"output={tmp_path}/look $.png"])
    assert (tmp_path / "look $.png").read_bytes() == b"12 charts"  # three, a scale, and eight pictures


def test_the_name_of_a_data_set_does_not_choose_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("mlc.describe.png", lambda figure, dots_per_inch: b"")
    named = replace(load_dataset(SMALL), name="/../../x\0")
    monkeypatch.setattr("mlc.describe.load_dataset", lambda words: named)
    describe([])
    assert [path.name for path in tmp_path.rglob("*.png")] == ["describe__.._.._x_.png"]


@pytest.mark.parametrize(
    ("output", "words"), [("look.pdf", "must end in .png"), ("not/there.png", "not does not exist")]
)
def test_an_output_that_cannot_be_written_is_refused_before_data_are_read(output: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        describe(["dataset=nonsense", f"output={output}"])
