from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.preprocessing import StandardScaler

from mlc.data.mulan import Mulan
from mlc.errors import UserError
from tests.contract.grid import numbers
from tests.unit.data.real_data import real_file

# Labels stand between the features, and in another order than in the XML file.
HEADER = """@relation small
@attribute rain {1,0}
@attribute size numeric
@attribute fixed numeric
@attribute sun {0,1}
@attribute colour {red,green,blue}
@attribute sex {m,f}
@data
"""
XML = '<labels><label name="sun"/><label name="rain"/></labels>'
DENSE = [
    f"{i % 2},{i if i else '?'},0.1,{int(i % 3 == 0)},{['red', 'green', 'blue'][i % 3]},m" for i in range(40)
]
TEST = ["1,100,8,0,red,f", "0,?,7,0,green,m"]


def write(folder: Path, *, train: str, test: str, xml: str = XML) -> None:
    small = folder / "small"
    small.mkdir(exist_ok=True)
    (small / "train.arff").write_text(train)
    (small / "test.arff").write_text(test)
    (small / "small.xml").write_text(xml)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root that holds the small set."""
    monkeypatch.setenv("MLC_DATA", str(tmp_path))
    write(tmp_path, train=HEADER + "\n".join(DENSE), test=HEADER + "\n".join(TEST))
    return tmp_path


def small(*, valid_fraction: float = 0.25, standardise: bool = False) -> Mulan:
    return Mulan(
        name="small",
        folder="small",
        train="train.arff",
        test="test.arff",
        labels="small.xml",
        valid_fraction=valid_fraction,
        standardise=standardise,
    )


def test_rows_by_hand(folder: Path) -> None:
    data = small().load(seed=0)
    assert data.name == "small"
    assert data.label_names == ("sun", "rain")
    assert data.inputs == numbers(6)  # size, fixed, three colours, sex
    assert data.test.y_NL.tolist() == [[0, 1], [0, 0]]
    fill = data.preparation["fill"][0].item()
    # m is 1: the last value in sorted order.
    torch.testing.assert_close(
        data.test.inputs["x"], torch.tensor([[100, 8, 1, 0, 0, 0], [fill, 7, 0, 1, 0, 1]])
    )


def test_held_out_rows_and_the_rest_are_the_published_rows(folder: Path) -> None:
    data = small().load(seed=0)
    assert len(data.valid) == pytest.approx(10, abs=1)
    sizes = torch.cat([data.train.inputs["x"][:, 0], data.valid.inputs["x"][:, 0]])
    targets = torch.cat([data.train.y_NL, data.valid.y_NL])
    fill = data.preparation["fill"][0].float()
    assert sorted(sizes.tolist()) == sorted([*range(1, 40), fill.item()])
    for size, y in zip(sizes.tolist(), targets.tolist(), strict=True):
        i = 0 if size == fill else int(size)
        assert y == [int(i % 3 == 0), i % 2]


def test_the_seed_decides(folder: Path) -> None:
    first, again, other = (small().load(seed=seed).valid.inputs["x"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_standardisation_is_fitted_on_the_training_rows_only(folder: Path) -> None:
    raw, scaled = small().load(seed=3), small(standardise=True).load(seed=3)
    scaler = StandardScaler().fit(raw.train.inputs["x"].numpy())
    varies = [0, 2, 3, 4]
    for split in ("train", "valid", "test"):
        expected = scaler.transform(getattr(raw, split).inputs["x"].numpy())
        x = getattr(scaled, split).inputs["x"].numpy()
        np.testing.assert_allclose(x[:, varies], expected[:, varies], rtol=1e-5, atol=1e-5)
        assert (x[:, [1, 5]] == 0).all()  # constant in train, so 0 in test too
    assert raw.train.inputs["x"][:, 0].mean() == pytest.approx(scaled.preparation["mean"][0].item())


def test_notes_say_what_was_assumed(folder: Path) -> None:
    notes = " ".join(small().load(seed=0).notes)
    assert "of the 40 training rows are held out for validation." in notes
    assert "1 nominal feature became 3 one-hot columns: colour." in notes
    assert "1 nominal feature became a 0/1 column: sex (1 is m)." in notes
    assert "1 missing test value" in notes
    assert "2 of 6 columns are constant in train." in notes
    assert "1 of 2 test rows has no label." in notes
    assert "1 of 2 labels has no positive in test: sun." in notes


def test_column_without_any_value_counts_as_constant(folder: Path) -> None:
    rows = [row.replace(",0.1,", ",?,") for row in DENSE]
    write(folder, train=HEADER + "\n".join(rows), test=HEADER + "\n".join(TEST))
    data = small(standardise=True).load(seed=0)
    assert (data.test.inputs["x"][:, 1] == 0).all()
    assert any("2 of 6 columns are constant" in note for note in data.notes)


def test_constant_column_with_gaps_stays_constant(folder: Path) -> None:
    rows = [row if i % 5 else row.replace(",0.1,", ",?,") for i, row in enumerate(DENSE)]
    write(folder, train=HEADER + "\n".join(rows), test=HEADER + "\n".join(TEST))
    for seed in range(10):
        data = small(standardise=True).load(seed=seed)
        assert data.preparation["scale"][1] == torch.inf


def test_sparse_rows_give_the_same_set(folder: Path) -> None:
    dense = small().load(seed=0)
    sparse = ["{" + ",".join(f"{i} {value}" for i, value in enumerate(row.split(","))) + "}" for row in DENSE]
    write(folder, train=HEADER + "\n".join(sparse), test=HEADER + "\n".join(TEST))
    again = small().load(seed=0)
    assert torch.equal(dense.train.inputs["x"], again.train.inputs["x"])
    assert torch.equal(dense.train.y_NL, again.train.y_NL)


def test_new_rows_are_prepared_like_the_test_rows(folder: Path) -> None:
    source = small(standardise=True)
    data = source.load(seed=0)
    (folder / "new.csv").write_text("sex,colour,size,fixed\nf,red,100,8\nm,green,,7\n")
    for path in (folder / "new.csv", folder / "small" / "test.arff"):
        chunks = source.read_inputs(path, preparation=data.preparation, chunk_rows=1)
        assert torch.equal(torch.cat([chunk["x"] for chunk in chunks]), data.test.inputs["x"])


def test_label_without_an_attribute(folder: Path) -> None:
    write(folder, train=HEADER, test=HEADER, xml='<labels><label name="sun"/><label name="snow"/></labels>')
    with pytest.raises(UserError, match=r"train\.arff has no attribute for 1 label of small\.xml: snow"):
        small().load(seed=0)


def test_nothing_but_labels(folder: Path) -> None:
    names = ["rain", "size", "fixed", "sun", "colour", "sex"]
    xml = "<labels>" + "".join(f'<label name="{name}"/>' for name in names) + "</labels>"
    write(folder, train=HEADER, test=HEADER, xml=xml)
    with pytest.raises(UserError, match="every attribute is a label"):
        small().load(seed=0)


def test_label_with_other_values(folder: Path) -> None:
    write(folder, train=HEADER.replace("sun {0,1}", "sun {no,yes}") + "1,1,7,no,red,m", test=HEADER)
    with pytest.raises(UserError, match="label sun must have the values"):
        small().load(seed=0)


@pytest.mark.parametrize(("declared", "value"), [("numeric", "2"), ("numeric", "0.5"), ("numeric", "-1")])
def test_label_value_that_is_not_0_or_1_names_its_line(declared: str, value: str, folder: Path) -> None:
    header = HEADER.replace("sun {0,1}", f"sun {declared}")
    write(folder, train=header + "1,1,7,1,red,m\n\n1,1,7," + value + ",red,m", test=HEADER)
    with pytest.raises(UserError, match=r"train\.arff, line 11: the label sun is not 0, 1 or \?"):
        small().load(seed=0)


@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_file_cut_in_the_middle(part: float, folder: Path) -> None:
    whole = HEADER + "\n".join(DENSE)
    cut = whole[: int(part * len(whole))].rsplit(",", 1)[0]
    write(folder, train=cut, test=HEADER)
    with pytest.raises(UserError, match=r"train\.arff, line \d+: .*cut short"):
        small().load(seed=0)


def test_test_file_of_another_set(folder: Path) -> None:
    write(folder, train=HEADER + "\n".join(DENSE), test=HEADER.replace("size", "weight") + "\n".join(TEST))
    with pytest.raises(UserError, match="not those of"):
        small().load(seed=0)


def test_too_few_rows_for_a_validation_split(folder: Path) -> None:
    write(folder, train=HEADER + DENSE[1], test=HEADER + TEST[0])
    with pytest.raises(UserError, match="0 validation"):
        small(valid_fraction=0.1).load(seed=0)


def test_missing_file_is_named(folder: Path) -> None:
    (folder / "small" / "test.arff").unlink()
    with pytest.raises(UserError, match=r"test\.arff is missing"):
        small().load(seed=0)


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "prefix", "rows", "test_rows", "features", "labels", "cardinality"),
    [
        ("yeast", "yeast", 1500, 917, 103, 14, 4.237),
        ("emotions", "emotions", 391, 202, 72, 6, 1.869),
        ("enron", "enron", 1123, 579, 1001, 53, 3.378),
        ("delicious", "delicious", 12920, 3185, 500, 983, 19.02),
        ("tmc2007", "tmc2007-500", 21519, 7077, 500, 22, 2.158),
    ],
)
def test_real_sets_have_their_published_shapes(
    name: str, prefix: str, rows: int, test_rows: int, features: int, labels: int, cardinality: float
) -> None:
    files = [f"{prefix}-train.arff", f"{prefix}-test.arff", f"{prefix}.xml"]
    for file in files:
        real_file(name, file)
    source = Mulan(
        name=name, folder=name, train=files[0], test=files[1], labels=files[2], valid_fraction=0.15
    )
    data = source.load(seed=0)
    assert len(data.train) + len(data.valid) == rows
    assert len(data.valid) == pytest.approx(0.15 * rows, rel=0.1)
    assert len(data.test) == test_rows
    assert data.inputs == numbers(features)
    assert len(data.label_names) == labels
    n_positive = sum(split.y_NL.sum().item() for split in (data.train, data.valid, data.test))
    assert n_positive / (rows + test_rows) == pytest.approx(cardinality, rel=1e-3)
    assert all(split.inputs["x"].isfinite().all() for split in (data.train, data.valid, data.test))
