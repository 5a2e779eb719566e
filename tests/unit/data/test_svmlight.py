import logging
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mlc.data.dataset import Dataset, DatasetSource, Split
from mlc.data.svmlight import Svmlight
from mlc.errors import UserError
from mlc.rows import LabelRows, SparseRows

LABELS = ["0,2", "1", "", "2", "0", "1,2", "0,1", "2,0", "1", "0"] * 3


def line(row: int, first: int) -> str:
    """A row that says which it is: feature 0 is row + 1; it also has feature 2, and feature 1 or 4."""
    return f"{LABELS[row]} {first}:{row + 1} {first + 2}:-1 {first + 1 + row % 2 * 3}:0.5\n"


def file(folder: Path, rows: range, *, first: int = 0, header: str = "", name: str = "rows.svm") -> str:
    path = folder / name
    path.write_text(header + "".join(line(row, first) for row in rows))
    return str(path)


def dense(split: Split) -> tuple[Tensor, Tensor]:
    x, y = split.inputs["x"], split.y_NL
    assert isinstance(x, SparseRows)
    assert isinstance(y, LabelRows)
    return x.dense(), y[:]


def rows_of(dataset: Dataset) -> dict[str, list[int]]:
    """Which rows are in each split; checks that they are whole."""
    found = {}
    for name in ("train", "valid", "test"):
        x_ND, y_NL = dense(getattr(dataset, name))
        rows = [int(value) - 1 for value in x_ND[:, 0]]
        for row, x_D, y_L in zip(rows, x_ND.tolist(), y_NL.tolist(), strict=True):
            expected = [row + 1, 0, -1, 0, 0]
            expected[1 + row % 2 * 3] = 0.5
            assert x_D == expected
            assert y_L == [float(str(label) in LABELS[row].split(",")) for label in range(3)]
        found[name] = rows
    return found


@pytest.mark.parametrize("split_by", ["labels", "random"])
@pytest.mark.parametrize(("first", "header"), [(0, ""), (1, ""), (0, "30 5 3\n")])
def test_all_rows_are_in_one_split_each(tmp_path: Path, first: int, header: str, split_by: str) -> None:
    path = file(tmp_path, range(30), first=first, header=header)
    dataset = Svmlight(path=path, split_by=split_by, valid_fraction=0.25).load(seed=0)  # type: ignore[arg-type]
    rows = rows_of(dataset)
    assert sorted(chain(*rows.values())) == list(range(30))
    assert (len(rows["valid"]), len(rows["test"])) == pytest.approx((6, 6), abs=2)
    assert dataset.label_names == ("0", "1", "2")
    assert dataset.name == "rows"
    noted = any(f"taken to start at {first}" in note for note in dataset.notes)
    assert noted is (header == ""), "what is declared is not assumed"


def test_splits_share_the_arrays(tmp_path: Path) -> None:
    dataset = Svmlight(path=file(tmp_path, range(30))).load(seed=0)
    for name in ("ids_M", "values_M"):
        flats = [getattr(split.inputs["x"], name) for split in (dataset.train, dataset.valid, dataset.test)]
        assert len({flat.data_ptr() for flat in flats}) == 1


def test_a_test_file_is_tested_on(tmp_path: Path) -> None:
    paths = {name: file(tmp_path, rows, name=name) for name, rows in (("a", range(20)), ("b", range(20, 30)))}
    rows = rows_of(Svmlight(path=paths["a"], test=paths["b"]).load(seed=0))
    assert rows["test"] == list(range(20, 30))
    assert sorted(rows["train"] + rows["valid"]) == list(range(20))


def test_two_headers_must_agree_and_one_is_enough(tmp_path: Path) -> None:
    paths = [
        file(tmp_path, range(20), header="20 5 3\n", name="a"),
        file(tmp_path, range(20, 30), header="10 6 3\n", name="b"),
        file(tmp_path, range(20, 30), name="c"),
    ]
    with pytest.raises(UserError, match=r"b: the header says 6 features and 3 labels, but .*a has 5 and 3"):
        Svmlight(path=paths[0], test=paths[1]).load(seed=0)
    assert rows_of(Svmlight(path=paths[0], test=paths[2]).load(seed=0))["test"] == list(range(20, 30))


def test_zero_based_can_be_said(tmp_path: Path) -> None:
    path = file(tmp_path, range(30), first=1)
    zero = Svmlight(path=path, zero_based=True).load(seed=0)
    assert zero.train.inputs["x"].spec.shape == (6,)  # type: ignore[union-attr]
    with pytest.raises(UserError, match="line 1: the index 0 is below 1"):
        Svmlight(path=file(tmp_path, range(30)), zero_based=False).load(seed=0)


def test_a_file_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLC_DATA", str(tmp_path))
    with pytest.raises(
        UserError, match=r"there is no file missing\.svm nor .*/missing\.svm; set dataset.path"
    ):
        Svmlight(path="missing.svm").load(seed=0)
    file(tmp_path, range(30))
    assert len(Svmlight(path="rows.svm").load(seed=0).test) > 0, "found below the data root"


def predicted_on(source: Svmlight, dataset: Dataset, path: str, chunk_rows: int = 4) -> list[Tensor]:
    chunks = []
    for inputs in source.read_inputs(Path(path), preparation=dataset.preparation, chunk_rows=chunk_rows):
        assert isinstance(inputs["x"], SparseRows)
        assert len(inputs["x"]) <= chunk_rows
        chunks.append(inputs["x"].dense())
    return chunks


@pytest.mark.parametrize("values", ["as_they_are", "binary", "unit_length"])
@pytest.mark.parametrize("first", [0, 1])
def test_new_rows_are_read_as_the_training_rows_were(tmp_path: Path, first: int, values: str) -> None:
    source = Svmlight(path=file(tmp_path, range(30), first=first), values=values)  # type: ignore[arg-type]
    dataset = source.load(seed=0)
    chunks = predicted_on(source, dataset, file(tmp_path, range(30), first=first, name="new"))
    assert [len(chunk) for chunk in chunks] == [4] * 7 + [2]
    known = torch.cat([dense(split)[0] for split in (dataset.train, dataset.valid, dataset.test)])
    assert sorted(torch.cat(chunks).tolist()) == sorted(known.tolist())


def test_unknown_features_of_new_rows_are_left_out_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = Svmlight(path=file(tmp_path, range(30)), values="unit_length")
    dataset = source.load(seed=0)
    (tmp_path / "new").write_text("99 0:3 4:4 5:7\n\n 2000000000:1\n")
    with caplog.at_level(logging.WARNING):
        (chunk,) = predicted_on(source, dataset, str(tmp_path / "new"))
    np.testing.assert_allclose(chunk, [[0.6, 0, 0, 0, 0.8], [0, 0, 0, 0, 0]], rtol=1e-6)
    assert "features left out because the model does not know them: 2" in caplog.text
    assert "lines skipped, as they hold nothing or only a comment: 1" in caplog.text


def test_a_new_file_with_a_header_must_fit_the_model(tmp_path: Path) -> None:
    source = Svmlight(path=file(tmp_path, range(30)))
    dataset = source.load(seed=0)
    (tmp_path / "new").write_text("1 6 3\n1 0:3\n")
    with pytest.raises(UserError, match="the header says 6 features, but the model was trained with 5"):
        predicted_on(source, dataset, str(tmp_path / "new"))
    (tmp_path / "new").write_text("1 5 3\n1 5:3\n")
    with pytest.raises(UserError, match="line 2: the index 5 is above 4"):
        predicted_on(source, dataset, str(tmp_path / "new"))


def test_the_preparation_of_another_run_says_the_width(tmp_path: Path) -> None:
    wide = Svmlight(path=file(tmp_path, range(30), header="30 9 3\n")).load(seed=0)
    narrow = Svmlight(path=file(tmp_path, range(30))).load(seed=0, preparation=wide.preparation)
    assert narrow.inputs["x"].shape == (9,)
    (tmp_path / "rows.svm").write_text("0 0:1 9:1\n")
    with pytest.raises(UserError, match="line 1: the index 9 is above 8, the last of 9 features"):
        Svmlight(path=str(tmp_path / "rows.svm")).load(seed=0, preparation=wide.preparation)


def test_it_is_a_source() -> None:
    assert isinstance(Svmlight(path="any"), DatasetSource)


def test_repairs_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "rows.svm"
    path.write_text("# made\n" + "".join(line(row, 0) for row in range(30)) + "0,0 0:31 2:-1 1:0.5\n\n")
    notes = Svmlight(path=str(path)).load(seed=0).notes
    assert "Lines skipped, as they hold nothing or only a comment: 2." in notes
    assert "Labels that stand twice in their row and count once: 1." in notes
    assert any("rows have no label" in note for note in notes)
