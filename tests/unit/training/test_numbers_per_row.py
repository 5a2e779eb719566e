"""How much memory the outputs of a split take, and so whether they are kept."""

import pytest
import torch

from mlc.backbones.mlp import MLP
from mlc.batch import LabelStatistics
from mlc.data.dataset import Split
from mlc.heads.base import Head
from mlc.heads.label_sets import LabelSetsHead
from mlc.heads.levels import LevelsHead
from mlc.heads.sigmoid import SigmoidHead
from mlc.model import Network
from mlc.training.evaluation import predict_split
from tests.unit.training import tiny

ROWS, WIDTH = 20, 8
# Two labels and all four sets, three rows of each level: few labels, many sets, more levels still.
LEVELS = torch.tensor([[row % 5, row // 5 % 2] for row in range(ROWS)], dtype=torch.float32)
BYTES_PER_NUMBER = 5  # a float32 and a byte of target


def labels(y_NL: torch.Tensor) -> LabelStatistics:
    return LabelStatistics.from_targets(y_NL, with_sets=True)


def head(name: str, y_NL: torch.Tensor) -> Head:
    if name == "sigmoid":
        return SigmoidHead(in_features=WIDTH, labels=labels(y_NL), prior_bias=True)
    if name == "levels":
        return LevelsHead(in_features=WIDTH, labels=labels(y_NL), prior_bias=True)
    return LabelSetsHead(in_features=WIDTH, labels=labels(y_NL), max_sets="all" if name == "sets" else 1)


def network(name: str, y_NL: torch.Tensor) -> Network:
    backbone = MLP(inputs=tiny.INPUTS, widths=[WIDTH], input_dropout=0, dropout=0.3, norm="batch")
    return Network(backbone=backbone, head=head(name, y_NL))


def split(y_NL: torch.Tensor = LEVELS) -> Split:
    return Split(inputs={"x": tiny.split(len(y_NL)).inputs["x"]}, y_NL=y_NL)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("sigmoid", 2),
        ("levels", 2 * 5),
        ("sets", 4),  # the sets themselves belong to all rows and are no number of any
        ("one set", 2),  # L where the network gives less: scores and targets are that many
    ],
)
def test_numbers_per_row(name: str, numbers: int) -> None:
    found = predict_split(network(name, LEVELS), split(), tiny.settings(), "cpu")
    assert found.numbers_per_row == numbers
    assert found.n_labels == 2
    assert f"{ROWS} rows × {numbers} numbers" in found.why


@pytest.mark.parametrize(("name", "numbers"), [("sigmoid", 2), ("levels", 10), ("sets", 4)])
def test_outputs_are_kept_up_to_the_limit(name: str, numbers: int) -> None:
    needed_mb = ROWS * numbers * BYTES_PER_NUMBER / 1e6
    for limit_mb, kept in ((needed_mb * 1.01, True), (needed_mb * 0.99, False)):
        settings = tiny.settings(memory_limit_mb=limit_mb)
        assert predict_split(network(name, LEVELS), split(), settings, "cpu").kept is kept


def test_many_label_sets_are_streamed_where_as_many_labels_are_kept() -> None:
    # 10 labels and 200 sets.
    y_NL = torch.tensor([[row >> bit & 1 for bit in range(10)] for row in range(200)], dtype=torch.float32)
    settings = tiny.settings(memory_limit_mb=200 * 50 * BYTES_PER_NUMBER / 1e6)
    few = predict_split(network("sigmoid", y_NL), split(y_NL), settings, "cpu")
    many = predict_split(network("sets", y_NL), split(y_NL), settings, "cpu")
    assert (few.numbers_per_row, few.kept) == (10, True)
    assert (many.numbers_per_row, many.kept) == (200, False)
    assert sum(len(chunk.raw.scores()) for chunk in many.chunks()) == 200


@pytest.mark.parametrize("training", [True, False])
def test_counting_changes_nothing_in_the_network(training: bool) -> None:
    # Dropout and batch normalisation: a forward pass in training mode would leave traces, or fail on one row.
    made = network("sigmoid", LEVELS).train(training)
    before = {key: value.clone() for key, value in made.state_dict().items()}
    torch.manual_seed(0)
    state = torch.get_rng_state()
    predict_split(made, split(), tiny.settings(), "cpu")
    assert made.training is training
    assert all(torch.equal(before[key], value) for key, value in made.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
