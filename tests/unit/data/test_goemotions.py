from pathlib import Path

import pytest
import torch

from mlc.data.examples import TEST, TRAIN, VALID
from mlc.data.goemotions import GoEmotions, read_goemotions
from mlc.data.text.words import Words
from mlc.errors import UserError
from mlc.rows import TokenRows
from tests.unit.data.real_data import real_file

TRAIN_LINES = [
    '"Open quote [NAME]\t0\tid1',
    "no quote, and a , comma\t0,2\tid2",
    'closed" here\t1\tid3',
    "joy, joy\t2\tid4",
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLC_DATA", str(tmp_path))
    folder = tmp_path / "goemotions"
    folder.mkdir()
    (folder / "labels.txt").write_text("anger\nfear\njoy")  # the real one has no newline at its end, either
    (folder / "train.tsv").write_text("\n".join(TRAIN_LINES) + "\n")
    (folder / "dev.tsv").write_text(" \t1\tid5\n")
    (folder / "test.tsv").write_text("joy quote\t2,1\tid6\n")
    return folder


def test_rows_are_what_the_files_say(folder: Path) -> None:
    examples = read_goemotions()
    assert examples.label_names == ("anger", "fear", "joy")
    assert examples.text == [*(line.split("\t")[0] for line in TRAIN_LINES), " ", "joy quote"]
    assert examples.y_NL[:].tolist() == [[1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]]
    assert examples.part_N is not None
    assert examples.part_N.tolist() == [TRAIN] * 4 + [VALID, TEST]


def test_oddities_are_counted(folder: Path) -> None:
    masked, blank = read_goemotions().notes
    assert masked.startswith("1 of 6 texts hold [NAME] or [RELIGION]")
    assert blank == "1 of 6 texts is empty."


def test_the_published_split_is_loaded(folder: Path) -> None:
    dataset = GoEmotions().load(seed=0, text=Words(min_count=1))
    assert [len(split) for split in (dataset.train, dataset.valid, dataset.test)] == [4, 1, 1]
    assert isinstance(dataset.train.inputs["x"], TokenRows)
    assert dataset.inputs["x"].kind == "tokens"


def test_folds_deal_all_rows_anew(folder: Path) -> None:
    tested = [
        len(GoEmotions(folds=3, fold=fold, valid_fraction=0.3).load(seed=0, text=Words(min_count=1)).test)
        for fold in range(3)
    ]
    assert sum(tested) == 6


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("text\t0", "2 cells instead of 3"),
        ("text\tmore\t0\tid", "4 cells instead of 3"),
        ("text\t3\tid", "'3' are not numbers of the 3 labels"),
        ("text\t-1\tid", "'-1' are not numbers"),
        ("text\t\tid", "'' are not numbers"),
        ("text\t0,joy\tid", "'0,joy' are not numbers"),
    ],
)
def test_a_malformed_line_is_named(line: str, problem: str, folder: Path) -> None:
    (folder / "dev.tsv").write_text(f"fine\t0\tid\n{line}\n")
    with pytest.raises(UserError, match=rf"dev\.tsv, line 2: {problem}"):
        read_goemotions()


@pytest.mark.parametrize("names", ["joy\n\nfear\n", "joy\nfear\njoy\n"])
def test_malformed_label_names(names: str, folder: Path) -> None:
    (folder / "labels.txt").write_text(names)
    with pytest.raises(UserError, match=r"labels\.txt, line [23]: "):
        read_goemotions()


def test_new_texts_are_read_like_the_training_texts(folder: Path, tmp_path: Path) -> None:
    source = GoEmotions()
    dataset = source.load(seed=0, text=Words(min_count=1))
    expected = dataset.test.select(torch.tensor([0])).inputs["x"]
    new = source.text_inputs(["joy quote"], preparation=dataset.preparation)
    assert new["x"].tolist() == expected.tolist()
    path = tmp_path / "new.txt"
    path.write_text("joy quote\n")
    (batch,) = source.read_inputs(path, preparation=dataset.preparation, chunk_rows=8)
    assert batch["x"].tolist() == expected.tolist()


@pytest.mark.data
def test_the_real_files() -> None:
    for name in ("train.tsv", "dev.tsv", "test.tsv", "labels.txt"):
        real_file("goemotions", name)
    examples = read_goemotions()
    assert examples.part_N is not None
    assert [(examples.part_N == part).sum() for part in (TRAIN, VALID, TEST)] == [43410, 5426, 5427]
    assert len(examples.label_names) == 28
    assert float(examples.y_NL[:43410].sum()) / 43410 == pytest.approx(1.177, abs=5e-4)
