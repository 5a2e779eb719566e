import torch

from mlc.data.dataset import Dataset, Split
from mlc.inputs import InputSpec
from mlc.rows import TokenRows
from mlc.training.description import describe


def tokens(n_rows: int) -> TokenRows:
    length_N = torch.arange(n_rows) + 1
    spec = InputSpec("tokens", (9,), vocabulary=1234)
    return TokenRows(
        torch.zeros(int(length_N.sum()), dtype=torch.int32), length_N.cumsum(0) - length_N, length_N, spec
    )


def dataset(n_labels: int = 3, n_rows: int = 8) -> Dataset:
    """Row n has the label 0 if n is even, 1 if it is below 4; no row has the others."""
    number_N = torch.arange(n_rows)
    y_NL = torch.zeros(n_rows, n_labels)
    y_NL[:, 0] = (number_N % 2 == 0).float()
    y_NL[:, 1:2] = (number_N < 4).float()[:, None][:, : n_labels - 1]
    split = Split({"x": tokens(n_rows), "numbers": torch.zeros(n_rows, 5)}, y_NL)
    return Dataset(
        name="made",
        label_names=tuple(f"label {i}" for i in range(n_labels)),
        train=split,
        valid=split.rows(torch.arange(2)),
        test=split.rows(torch.arange(3)),
        preparation={},
        notes=("One thing was dropped.",),
        samples=("a text  [label 0]",),
    )


def test_splits_inputs_labels_and_pairs_are_told() -> None:
    lines = describe(dataset()).splitlines()
    cells = {" ".join(line.split()[:-3]): line.split()[-3:] for line in lines if line.strip()}
    assert lines[0] == "made: 3 labels"
    assert cells["rows"] == ["8", "2", "3"]
    assert cells["labels per row (cardinality)"] == ["1.000", "1.500", "1.667"]
    assert cells["different label sets"] == ["4", "2", "2"]
    assert cells["rows without labels"] == ["2", "0", "0"]
    assert cells["labels without a row"] == ["1", "1", "1"]
    assert "  x: texts of up to 9 tokens, 4 in the median; vocabulary of 1,234" in lines
    assert "  numbers: 5 numbers" in lines
    assert [line.split() for line in lines if line.startswith("  label ")] == [
        ["label", "train", "valid", "test", "share", "of", "train", "IRLbl"],
        ["label", "0", "4", "1", "2", "0.5000", "1.0"],
        ["label", "1", "4", "2", "3", "0.5000", "1.0"],
        ["label", "2", "0", "0", "0", "0.0000", "-"],
        ["label", "0", "+", "label", "1", "2", "1.00"],
    ]
    assert "  One thing was dropped." in lines
    assert "  a text  [label 0]" in lines


def test_of_many_labels_the_most_frequent_and_the_rarest_are_shown() -> None:
    lines = describe(dataset(n_labels=30)).splitlines()
    shown = [line.split()[1] for line in lines if line.startswith("  label ") and "+" not in line]
    assert shown[1:] == [*map(str, range(10)), *map(str, range(25, 30))]
    assert "  ..." in lines


def test_one_label_has_no_pairs_and_labels_may_never_meet() -> None:
    assert "Pairs" not in describe(dataset(n_labels=1))
    alone = dataset().with_targets(lambda y_NL: torch.eye(3)[torch.arange(len(y_NL)) % 3])
    assert "no two labels are true together in train" in describe(alone)


def test_a_data_set_without_any_positive_is_described() -> None:
    empty = describe(dataset().with_targets(torch.zeros_like))
    assert "rows without labels" in empty
