"""Unknown labels and weights of the MULAN sets."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mlc.data.dataset import Dataset, Split
from mlc.data.mulan import Mulan
from mlc.errors import UserError
from tests.contract.grid import numbers
from tests.unit.data.real_data import real_file

HEADER = """@relation small
@attribute rain {1,0}
@attribute size numeric
@attribute cost numeric
@attribute sex {m,f}
@attribute sun numeric
@data
"""
XML = '<labels><label name="sun"/><label name="rain"/></labels>'
NAN = float("nan")
Cell = float | str


def row_of(i: int) -> list[Cell]:
    """Row i: its size is i and its weight i / 10; some labels are unknown."""
    return [0 if i % 4 else "?", i, i / 10, "m" if i % 5 else "f", "?" if i % 8 == 0 else int(i % 3 == 0)]


def dense(rows: list[list[Cell]]) -> str:
    return HEADER + "\n".join(",".join(map(str, row)) for row in rows)


def sparse(rows: list[list[Cell]]) -> str:
    """Leaves out what a sparse file leaves out: the number 0 and the first nominal value."""
    implicit = ["1", "0", "0.0", "m", "0"]
    lines = [
        ",".join(f"{i} {cell}" for i, cell in enumerate(row) if str(cell) != implicit[i]) for row in rows
    ]
    return HEADER + "\n".join("{" + line + "}" for line in lines)


TRAIN = [row_of(i) for i in range(40)]
TEST: list[list[Cell]] = [[1, 7, 3, "f", "?"], [0, 8, 0, "m", 0], ["?", 9, 1, "m", "?"]]
Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes the train and the test file of the small set; returns the data root."""
    monkeypatch.setenv("MLC_DATA", str(tmp_path))

    def write(train: str, test: str) -> Path:
        (tmp_path / "train.arff").write_text(train)
        (tmp_path / "test.arff").write_text(test)
        (tmp_path / "small.xml").write_text(XML)
        return tmp_path

    return write


def small(*, weight: str | None = None, standardise: bool = False) -> Mulan:
    return Mulan(
        name="small",
        folder="",
        train="train.arff",
        test="test.arff",
        labels="small.xml",
        valid_fraction=0.25,
        standardise=standardise,
        weight=weight,
    )


def splits(data: Dataset) -> list[Split]:
    return [data.train, data.valid, data.test]


def assert_same(found: torch.Tensor, expected: list[float] | list[list[float]]) -> None:
    torch.testing.assert_close(
        found, torch.tensor(expected, dtype=torch.float32), rtol=0, atol=0, equal_nan=True
    )


@pytest.mark.parametrize("form", [dense, sparse])
def test_unknown_labels_are_nan_and_every_row_stays(
    form: Callable[[list[list[Cell]]], str], write: Write
) -> None:
    write(form(TRAIN), form(TEST))
    data = small().load(seed=0)
    assert_same(data.test.y_NL, [[NAN, 1], [0, 0], [NAN, NAN]])
    together = [
        (int(x[0]), y)
        for split in (data.train, data.valid)
        for x, y in zip(split.inputs["x"], split.y_NL, strict=True)
    ]
    assert sorted(i for i, _ in together) == list(range(40))
    for i, y in together:
        assert_same(y, [NAN if i % 8 == 0 else float(i % 3 == 0), 0 if i % 4 else NAN])


def test_notes_count_what_is_unknown(write: Write) -> None:
    write(dense(TRAIN), dense(TEST))
    notes = small().load(seed=0).notes
    assert "3 of 6 test label entries are unknown, and left out of losses and metrics." in notes
    assert "1 of 3 test rows has no known label; such rows stay, but count for nothing." in notes
    assert "1 of 3 test rows has no label." in notes
    counts = [int(n.split()[0]) for n in notes if "label entries" in n and "test" not in n]
    assert sum(counts) == 15  # 10 of rain and 5 of sun
    assert len(counts) == 2


def test_missing_features_are_imputed_as_before(write: Write) -> None:
    rows = [*TRAIN[:-1], [0, "?", 1, "m", "?"]]
    write(dense(rows), dense([[0, "?", "?", "?", 1]]))
    data = small().load(seed=0)
    assert all(split.inputs["x"].isfinite().all() for split in splits(data))
    assert "3 missing test values were imputed with the training mean of the column." in data.notes


def test_a_file_without_unknown_labels_has_no_note_on_them(write: Write) -> None:
    write(dense([[i % 2, i, 1, "m", 1] for i in range(20)]), dense([[1, 1, 1, "m", 1]]))
    data = small().load(seed=0)
    assert not [note for note in data.notes if "known" in note or "weight" in note]
    assert all(split.weight_N is None for split in splits(data))


def test_a_split_without_any_known_label_is_an_error(write: Write) -> None:
    write(dense(TRAIN), dense([["?", 1, 1, "m", "?"]]))
    with pytest.raises(UserError, match="small: no test row has a known label; every split needs one"):
        small().load(seed=0)


@pytest.mark.parametrize("form", [dense, sparse])
def test_the_weight_is_no_input_and_follows_its_row(
    form: Callable[[list[list[Cell]]], str], write: Write
) -> None:
    write(form(TRAIN), form(TEST))
    data = small(weight="cost").load(seed=0)
    assert data.inputs == numbers(2)  # size and sex
    assert_same(data.test.inputs["x"], [[7, 0], [8, 1], [9, 1]])
    assert data.test.weight_N is not None
    torch.testing.assert_close(data.test.weight_N, torch.tensor([2.25, 0, 0.75]))
    for split in splits(data)[:2]:
        size_N = split.inputs["x"][:, 0]
        assert split.weight_N is not None
        assert split.weight_N.dtype == torch.float32
        torch.testing.assert_close(split.weight_N, size_N / size_N.mean())
    assert (
        data.notes[1] == "Rows are weighted by the attribute cost, of mean 1 in each split; it is no input."
    )
    assert "1 of 3 test rows has the weight 0 and counts for nothing." in data.notes


@pytest.mark.parametrize("standardise", [False, True])
def test_weights_change_nothing_else(standardise: bool, write: Write) -> None:
    write(dense(TRAIN), dense(TEST))
    weighted = small(weight="cost", standardise=standardise).load(seed=0)
    plain = small(standardise=standardise).load(seed=0)
    for one, other in zip(splits(weighted), splits(plain), strict=True):
        assert torch.equal(one.inputs["x"], other.inputs["x"][:, [0, 2]])
        torch.testing.assert_close(one.y_NL, other.y_NL, rtol=0, atol=0, equal_nan=True)
    for key in ("fill", "mean", "scale"):
        assert torch.equal(weighted.preparation[key], plain.preparation[key][[0, 2]])


@pytest.mark.parametrize(
    ("weight", "problem"),
    [
        ("price", r"train\.arff has no attribute price"),
        ("sex", r"train\.arff: the attribute sex is nominal"),
        ("sun", r"weight=sun is a label in small\.xml"),
    ],
)
def test_an_attribute_that_cannot_weigh(weight: str, problem: str, write: Write) -> None:
    write(dense(TRAIN), dense(TEST))
    with pytest.raises(UserError, match=problem):
        small(weight=weight).load(seed=0)


@pytest.mark.parametrize("cell", ["-1", "?", "nan"])
@pytest.mark.parametrize("form", [dense, sparse])
def test_a_wrong_weight_names_its_line(
    form: Callable[[list[list[Cell]]], str], cell: str, write: Write
) -> None:
    write(form(TRAIN), form([TEST[0], [1, 1, cell, "m", 0]]))
    with pytest.raises(UserError, match=r"test\.arff, line 9: the weight cost is negative or missing"):
        small(weight="cost").load(seed=0)


def test_an_infinite_weight_names_its_line(write: Write) -> None:
    write(dense(TRAIN), dense([TEST[0], [1, 1, "inf", "m", 0]]))
    with pytest.raises(UserError, match=r"test\.arff, line 9: a value is infinite"):
        small(weight="cost").load(seed=0)


@pytest.mark.parametrize("rows", [[[1, 1, 0, "m", 0]], [[1, 1, 0, "m", 0], ["?", 1, 5, "m", "?"]]])
def test_a_split_where_nothing_counts_is_an_error(rows: list[list[Cell]], write: Write) -> None:
    write(dense(TRAIN), dense(rows))
    with pytest.raises(UserError, match="no test row has a known label and a weight above 0 in cost"):
        small(weight="cost").load(seed=0)


def test_nothing_but_labels_and_the_weight(write: Write) -> None:
    header = "@relation r\n@attribute rain {0,1}\n@attribute sun {0,1}\n@attribute cost numeric\n@data\n"
    write(header, header)
    with pytest.raises(UserError, match=r"every attribute is a label in small\.xml or the weight"):
        small(weight="cost").load(seed=0)


NEW = {
    "with.arff": dense([[1, 7, "?", "f", "?"], [0, 8, -5, "m", "?"], ["?", 9, 1, "m", 1]]),
    "features.arff": "@relation r\n@attribute size numeric\n@attribute sex {m,f}\n@data\n7,f\n8,m\n9,m\n",
    "with.csv": "cost,sex,size,sun\n1,f,7,?\nmuch,m,8,0\n,m,9,1\n",
    "features.csv": "size,sex\n7,f\n8,m\n9,m\n",
}


@pytest.mark.parametrize("name", [*NEW, "features.npy"])
def test_new_rows_may_have_weights_and_labels_or_not(name: str, write: Write) -> None:
    folder = write(dense(TRAIN), dense(TEST))
    source = small(weight="cost", standardise=True)
    data = source.load(seed=0)
    if name in NEW:
        (folder / name).write_text(NEW[name])
    else:
        np.save(folder / name, np.array([[7.0, 0], [8, 1], [9, 1]]))
    chunks = source.read_inputs(folder / name, preparation=data.preparation, chunk_rows=2)
    assert torch.equal(torch.cat([chunk["x"] for chunk in chunks]), data.test.inputs["x"])


@pytest.mark.data
def test_real_set_with_labels_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = {name: real_file("yeast", name) for name in ("yeast-train.arff", "yeast-test.arff", "yeast.xml")}
    options = {"name": "yeast", "train": "yeast-train.arff", "test": "yeast-test.arff", "labels": "yeast.xml"}
    whole = Mulan(folder="yeast", **options).load(seed=0)

    taken_away = {"yeast-train.arff": 0, "yeast-test.arff": 0}
    for name, path in paths.items():
        lines = path.read_text().splitlines()
        for i, line in enumerate(lines):
            cells = line.split(",")
            if name in taken_away and len(cells) == 117:
                first = 103 + i % 14
                cells[first] = "?"
                taken_away[name] += 1
                lines[i] = ",".join(cells)
        (tmp_path / name).write_text("\n".join(lines))
    monkeypatch.setenv("MLC_DATA", str(tmp_path))
    data = Mulan(folder="", **options).load(seed=0)

    assert taken_away == {"yeast-train.arff": 1500, "yeast-test.arff": 917}
    assert len(data.train) + len(data.valid) == 1500
    assert int(data.train.y_NL.isnan().sum() + data.valid.y_NL.isnan().sum()) == 1500
    assert (data.test.y_NL.isnan().sum(1) == 1).all()
    known = ~data.test.y_NL.isnan()
    assert torch.equal(data.test.y_NL[known], whole.test.y_NL[known])
    assert "917 of 12838 test label entries are unknown, and left out of losses and metrics." in data.notes
    # The validation split still keeps the share of every label.
    share = torch.stack([split.y_NL.nanmean(0) for split in (data.train, data.valid)])
    assert (share[0] - share[1]).abs().max() < 0.03
