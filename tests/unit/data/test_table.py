import csv
import inspect
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from mlc.data.dataset import Dataset, DatasetSource, Split
from mlc.data.schema import Schema
from mlc.data.table import Table
from mlc.data.text.words import Words
from mlc.errors import UserError

CONFIG = Path(__file__).parents[3] / "configs" / "dataset" / "table.yaml"
TEXT, SIZE, KIND = 'Titel, "kurz"', "Größe in m²", "Prénom"
WORDS = ["Java, senior", 'Pfleger "m/w"', "Lehrer\nGrundschule", "Köchin"]
LABELS = ["IT", "Köln, Süd", "Schule"]
N = 80


def rows() -> list[dict[str, Any]]:
    """80 rows, a quarter without labels, every text different; some cells are missing."""
    found = []
    for row in range(N):
        labels = (
            [] if row % 4 == 0 else [name for bit, name in enumerate(LABELS) if (row // 4) % 7 + 1 >> bit & 1]
        )
        found.append(
            {
                "id": f"r{row}",
                TEXT: f"{WORDS[row % 4]} {row}" if row != 7 else "",
                SIZE: None if row % 10 == 3 else row / 8,
                KIND: None if row % 20 == 5 else "äöü"[row % 3],
                "tags": labels,
                "split": ["train", "train", "dev", "Test"][row // 4 % 4],
                "weight": 1 + row % 2,
            }
        )
    return found


def write(folder: Path, kind: str, rows: list[dict[str, Any]]) -> Path:
    path = folder / f"ads.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    elif kind == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if kind == "tsv" else ",")
            writer.writeheader()
            for row in rows:
                joined = {**row, "tags": "|".join(row["tags"])} if isinstance(row.get("tags"), list) else row
                writer.writerow(joined)
    return path


def table(path: Path, **options: Any) -> Table:
    given = {"text": TEXT, "numbers": [SIZE], "categories": [KIND], "labels": "tags", "split": "split"}
    return Table(path=str(path), **{**given, **options})


def words() -> Words:
    return Words(min_count=1, max_tokens=20)


def dense(split: Split, name: str = "x") -> Tensor:
    found = split.inputs[name]
    batch = found if isinstance(found, Tensor) else found[torch.arange(len(split))]
    assert isinstance(batch, Tensor)
    return batch


def targets(split: Split) -> list[list[float]]:
    y_NL: list[list[float]] = split.y_NL[torch.arange(len(split))].tolist()
    return y_NL


def assert_same(a: Dataset, b: Dataset) -> None:
    assert a.label_names == b.label_names
    for part in ("train", "valid", "test"):
        one, other = getattr(a, part), getattr(b, part)
        assert targets(one) == targets(other)
        assert one.inputs.keys() == other.inputs.keys()
        for name in one.inputs:
            torch.testing.assert_close(dense(one, name), dense(other, name))


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("good"), "csv", rows())


def test_a_file_with_everything(good: Path) -> None:
    dataset = table(good).load(seed=0, text=words())
    assert dataset.name == "ads"
    assert dataset.label_names == tuple(LABELS)
    parts: dict[str, list[dict[str, Any]]] = {"train": [], "dev": [], "Test": []}
    for row in rows():
        parts[row["split"]].append(row)
    for split, of_file in zip((dataset.train, dataset.valid, dataset.test), parts.values(), strict=True):
        assert targets(split) == [[float(name in row["tags"]) for name in LABELS] for row in of_file]
    # The numbers, by hand: imputed with the training mean, then standardised.
    sizes = np.array([np.nan if row[SIZE] is None else row[SIZE] for row in parts["train"]])
    filled = np.where(np.isnan(sizes), np.nanmean(sizes), sizes)
    expected = (filled - filled.mean()) / filled.std()
    numbers = dense(dataset.train, "numbers")
    assert numbers.shape == (40, 4)  # one size, three kinds
    np.testing.assert_allclose(numbers[:, 0].numpy(), expected, rtol=1e-4, atol=1e-6)
    for note in (
        "2 columns are not used: id, weight.",
        "Labels in tags are separated by '|' (of | , it gives the fewest different labels; "
        "dataset.label_delimiter overrides).",
        f"1 row has no text in {TEXT}, which is read as empty.",
    ):
        assert note in dataset.notes
    assert sum("rows have no label" in note for note in dataset.notes) == 3


@pytest.mark.parametrize("kind", ["tsv", "jsonl", "parquet"])
def test_every_kind_of_file_gives_the_same(kind: str, good: Path, tmp_path: Path) -> None:
    assert_same(
        table(write(tmp_path, kind, rows())).load(seed=0, text=words()),
        table(good).load(seed=0, text=words()),
    )


def test_without_a_split_column_rows_are_held_out(good: Path) -> None:
    options = {"split": None, "valid_fraction": 0.25, "test_fraction": 0.25}
    dataset = table(good, **options).load(seed=1, text=words())
    sizes = [len(dataset.train), len(dataset.valid), len(dataset.test)]
    assert sum(sizes) == N
    assert sizes[2] == pytest.approx(20, abs=2)
    assert_same(dataset, table(good, **options).load(seed=1, text=words()))
    folded = [table(good, folds=4, fold=fold).load(seed=1, text=words()) for fold in (0, 1)]
    assert len(folded[0].test) == pytest.approx(20, abs=2)
    assert dense(folded[0].test, "numbers").tolist() != dense(folded[1].test, "numbers").tolist()


def test_groups_stay_together_and_times_are_ordered(tmp_path: Path) -> None:
    made = [
        {"x": row, "g": f"g{row // 4}", "day": f"2024-01-{row + 1:02}", "a": row % 2} for row in range(28)
    ]
    path = write(tmp_path, "csv", made)
    options: dict[str, Any] = {"path": str(path), "numbers": ["x"], "labels": ["a"], "standardise": False}
    by_group = Table(**options, group="g").load(seed=0)
    groups = [
        set((dense(split)[:, 0] // 4).tolist()) for split in (by_group.train, by_group.valid, by_group.test)
    ]
    assert groups[0].isdisjoint(groups[1] | groups[2])
    assert groups[1].isdisjoint(groups[2])
    by_time = Table(**options, time="day").load(seed=0)
    assert dense(by_time.train).max() < dense(by_time.valid).min()
    assert dense(by_time.valid).max() < dense(by_time.test).min()


def test_weights_and_auxiliary_labels(good: Path, tmp_path: Path) -> None:
    made = [{**row, "aux": "x;y" if number % 2 else ""} for number, row in enumerate(rows())]
    path = write(tmp_path, "csv", made)
    dataset = table(path, weight="weight", auxiliary_labels="aux").load(seed=0, text=words())
    assert dataset.auxiliary_names == ("x", "y")
    assert dataset.train.auxiliary_NA is not None
    assert dataset.train.weight_N is not None
    weight_N, auxiliary_N = dataset.train.weight_N, dataset.train.auxiliary_NA[:, 0]
    torch.testing.assert_close(weight_N, (1 + auxiliary_N) / 1.5)  # both follow the number of the row
    assert table(good).load(seed=0, text=words()).train.weight_N is None


def test_all_other_columns_are_inputs_where_none_is_named(tmp_path: Path) -> None:
    made = [{"a": row, "b": "xy"[row % 2], "l": row % 2, "m": "?" if row % 3 else 1} for row in range(30)]
    dataset = Table(path=str(write(tmp_path, "csv", made)), labels=["l", "m"]).load(seed=0)
    assert dataset.notes[:2] == (
        "1 column is taken as numbers: a.",
        "1 column is taken as categories: b.",
    )
    assert dense(dataset.train).shape[1] == 2
    assert dataset.label_names == ("l", "m")
    unknown = torch.cat([split.y_NL[:] for split in (dataset.train, dataset.valid, dataset.test)]).isnan()
    assert unknown.sum(0).tolist() == [0, 20]


@pytest.mark.parametrize("options", [{"categories": ["c"]}, {}])
def test_values_that_only_test_rows_have_change_nothing(options: dict[str, Any], tmp_path: Path) -> None:
    def loaded(others: str, folder: str) -> Dataset:
        (tmp_path / folder).mkdir()
        made = [{"split": "train", "c": "rst"[row % 3], "a": row % 2} for row in range(30)]
        made += [{"split": "valid", "c": "r", "a": row % 2} for row in range(6)]
        made += [{"split": "test", "c": value, "a": row % 2} for row, value in enumerate(others)]
        path = write(tmp_path / folder, "csv", made)
        return Table(path=str(path), split="split", labels=["a"], max_categories=8, **options).load(seed=0)

    first, second = loaded("rrrrrr", "first"), loaded("xxyyzz", "second")
    assert dense(first.train).shape == (30, 3)
    assert torch.equal(dense(first.train), dense(second.train))
    assert torch.equal(first.preparation["schema"], second.preparation["schema"])
    assert any(note.startswith("6 test values of categories are not known") for note in second.notes)
    # An unknown value has the means of the columns, as in new rows.
    torch.testing.assert_close(dense(second.test), torch.zeros(6, 3))


def test_a_given_preparation_codes_as_it_did(good: Path, tmp_path: Path) -> None:
    first = table(good).load(seed=0, text=words())
    again = table(good).load(seed=0, text=words(), preparation=first.preparation)
    assert_same(again, first)
    # Fewer kinds in the file: the columns must still be those of the model.
    fewer = write(tmp_path, "csv", [row for row in rows() if row[KIND] != "ö"])
    other = table(fewer).load(seed=0, text=words(), preparation=first.preparation)
    assert dense(other.train, "numbers").shape[1] == 4


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("chunk_rows", [7, 1000])
def test_new_rows_need_no_labels(
    kind: str, chunk_rows: int, good: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = table(good)
    dataset = source.load(seed=0, text=words())
    test = [row for row in rows() if row["split"] == "Test"]
    new = [{KIND: row[KIND], "note": "x", TEXT: row[TEXT], SIZE: row[SIZE]} for row in test]
    with caplog.at_level(logging.WARNING):
        chunks = list(
            source.read_inputs(
                write(tmp_path, kind, new), preparation=dataset.preparation, chunk_rows=chunk_rows
            )
        )
    assert [len(chunk["x"]) for chunk in chunks] == ([7, 7, 6] if chunk_rows == 7 else [20])
    numbers = torch.cat([chunk["numbers"] for chunk in chunks if isinstance(chunk["numbers"], Tensor)])
    torch.testing.assert_close(numbers, dense(dataset.test, "numbers"))
    x = dense(dataset.test)
    start = 0
    for chunk in chunks:
        ids = chunk["x"]
        assert isinstance(ids, Tensor)
        torch.testing.assert_close(ids, x[start : start + len(ids), : ids.shape[1]])
        start += len(ids)
    n_missing = sum(row[name] is None for row in test for name in (SIZE, KIND))
    assert n_missing > 0
    assert caplog.messages == [
        f"{tmp_path / f'ads.{kind}'}: {n_missing} missing values were imputed with the training mean."
    ]


def test_unseen_values_in_new_rows_are_counted(
    good: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = table(good)
    preparation = source.load(seed=0, text=words()).preparation
    path = write(tmp_path, "csv", [{TEXT: "", SIZE: 1, KIND: "ß"}])
    with caplog.at_level(logging.WARNING):
        list(source.read_inputs(path, preparation=preparation, chunk_rows=9))
    assert "1 row has no text" in caplog.text
    assert "1 value of categories is not known from training" in caplog.text


def test_new_rows_that_lack_an_input_are_refused(good: Path, tmp_path: Path) -> None:
    source = table(good)
    preparation = source.load(seed=0, text=words()).preparation
    path = write(tmp_path, "csv", [{TEXT: "x", "Grösse in m²": 1, KIND: "ä"}])
    with pytest.raises(UserError, match="did you mean Grösse in m²"):
        list(source.read_inputs(path, preparation=preparation, chunk_rows=9))


def test_a_text_alone_can_be_predicted(good: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = table(good)
    dataset = source.load(seed=0, text=words())
    with caplog.at_level(logging.WARNING):
        inputs = source.text_inputs(["Java, senior"], preparation=dataset.preparation)
    assert "2 columns beside the text are taken as missing." in caplog.text
    numbers, ids = inputs["numbers"], inputs["x"]
    assert isinstance(numbers, Tensor)
    assert isinstance(ids, Tensor)
    np.testing.assert_allclose(numbers.numpy(), np.zeros((1, 4)), atol=1e-6)  # the mean, standardised
    assert (ids > 1).all()  # known words
    only_text = table(good, numbers=[], categories=[])
    dataset = only_text.load(seed=0, text=words())
    assert only_text.text_inputs(["Java"], preparation=dataset.preparation).keys() == {"x"}


def test_without_texts_a_text_cannot_be_predicted(good: Path) -> None:
    source = table(good, text=None)
    preparation = source.load(seed=0).preparation
    assert Schema.from_tensor(preparation["schema"]).n_columns == 4
    with pytest.raises(UserError, match="not trained on texts"):
        source.text_inputs(["Java"], preparation=preparation)


def test_pictures_are_found_beside_the_table(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "p").mkdir()
    for shade in range(4):
        image.new("L", (3, 2), shade * 60).save(tmp_path / "p" / f"{shade}.png")
    made = [{"file": f"{row % 4}.png", "a": row % 2, "x": row} for row in range(24)]
    options: dict[str, Any] = {"picture": "file", "labels": ["a"], "picture_colour": "grey", "numbers": ["x"]}
    source = Table(path=str(write(tmp_path, "csv", made)), picture_folder=str(tmp_path / "p"), **options)
    dataset = source.load(seed=0)
    pixels = torch.cat([dense(split) for split in (dataset.train, dataset.valid, dataset.test)])
    assert pixels.shape == (24, 1, 2, 3)
    assert dataset.train.inputs.keys() == {"x", "numbers"}
    # Odd pictures are the label.
    scale, mean = dataset.preparation["picture.scale"], dataset.preparation["picture.mean"]
    shade_N = (dense(dataset.train)[:, 0, 0, 0] * scale + mean) * 255 / 60
    assert (shade_N.round() % 2).tolist() == [row[0] for row in targets(dataset.train)]
    new = write(tmp_path, "jsonl", [{"file": "p/3.png", "x": 0}])
    beside = Table(path=None, **options)
    (inputs,) = beside.read_inputs(new, preparation=dataset.preparation, chunk_rows=9)
    assert inputs["x"].shape == (1, 1, 2, 3)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": None}, r"dataset\.path is not set"),
        ({"labels": None}, r"dataset\.labels is not set"),
        ({"labels": "tag"}, r"dataset\.labels names; did you mean tags"),
        ({"text": "Titel"}, r"has no column 'Titel', which dataset\.text names"),
        ({"numbers": [KIND], "categories": []}, rf"ads\.csv, line 2: {KIND} is 'ä', not a number"),
        ({"labels": ["tags"]}, r"ads\.csv, line 3: tags is 'IT', not 0, 1 or \?"),
        ({"split": "id"}, r"ads\.csv, line 2: id is 'r0', not a split"),
        ({"text": None, "numbers": [], "categories": []}, "the column id is neither numbers"),
    ],
)
def test_mistakes_are_said(options: dict[str, Any], message: str, good: Path) -> None:
    with pytest.raises(UserError, match=message):
        Table(
            **{
                "path": str(good),
                "text": TEXT,
                "numbers": [SIZE],
                "categories": [KIND],
                "labels": "tags",
                "split": "split",
                **options,
            }
        ).load(seed=0, text=words())


def test_a_table_without_rows_or_inputs(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n")
    with pytest.raises(UserError, match="has no rows"):
        Table(path=str(path), numbers=["a"], labels="b").load(seed=0)
    path.write_text("b\nx\ny\n")
    with pytest.raises(UserError, match="no column is left to learn from; it has b"):
        Table(path=str(path), labels="b").load(seed=0)


def test_the_config_spells_out_the_defaults() -> None:
    config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    given = {key: value for key, value in config.items() if key not in ("defaults", "_target_")}
    defaults = {key: p.default for key, p in inspect.signature(Table).parameters.items()}
    assert given == {**defaults, "numbers": [], "categories": []}
    assert isinstance(Table(**given), DatasetSource)
