"""What is said about steps that were left out, and a device that is full."""

import math

import pytest
import torch

from mlc.data.dataset import Split
from mlc.errors import Fault
from mlc.inputs import InputSpec
from mlc.rows import LabelRows, SparseRows, TokenRows
from mlc.training.faults import describe, explained
from mlc.training.loop import BadStep


def pieces(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Where rows of these lengths start, and their lengths."""
    length_N = torch.tensor(lengths)
    return length_N.cumsum(0) - length_N, length_N


def test_no_more_than_ten_rows_and_labels_are_named() -> None:
    y_NL = torch.ones(40, 12)
    y_NL[:, 3] = 0
    split = Split(inputs={"x": torch.ones(40, 1)}, y_NL=y_NL)
    said = describe(BadStep(7, torch.arange(30), math.inf), split, [f"label {i}" for i in range(12)])
    assert said.startswith("step 7 was not finite (loss inf) and is left out, the weights stay; ")
    assert "training rows 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... (30 in all);" in said
    assert "label 10 30, ... (11 in all);" in said
    assert "label 3" not in said


def test_labels_are_sorted_by_how_often_they_are_true_and_unknown_ones_are_not() -> None:
    y_NL = torch.tensor([[1, 0, 2, math.nan], [0, 0, 1, math.nan], [1, 1, 1, 0]])
    split = Split(inputs={"x": torch.ones(3, 1)}, y_NL=y_NL)
    said = describe(BadStep(1, torch.tensor([0, 2, 1]), 0.5), split, "abcd")
    assert "training rows 0, 2, 1; positive labels c 3, a 2, b 1; all its inputs are finite" in said
    none = describe(BadStep(1, torch.tensor([1]), 0.5), Split(split.inputs, y_NL * 0), "abcd")
    assert "positive labels none;" in none


def test_inputs_of_every_kind_are_looked_at() -> None:
    start_N, length_N = pieces(2, 1, 2)
    values_M = torch.tensor([1.0, math.nan, 2.0, math.inf, math.nan])
    ids_M = torch.tensor([0, 1, 2, 0, 2])
    tokens = TokenRows(ids_M, start_N, length_N, InputSpec("tokens", (2,), vocabulary=5))
    inputs = {
        "x": SparseRows(ids_M, start_N, length_N, values_M, 3),
        "ones": SparseRows(ids_M, start_N, length_N, None, 3),
        "text": tokens,
        "numbers": torch.tensor([[math.inf, 1.0], [1, 1], [1, 1]]),
    }
    split = Split(inputs=inputs, y_NL=LabelRows(ids_M, start_N, length_N, 3))
    said = describe(BadStep(1, torch.tensor([0, 2]), math.nan), split, "abc")
    assert said.endswith("values that are not finite in its inputs: x 3, numbers 1")
    assert "positive labels a 2, b 1, c 1;" in said


def test_a_full_device_is_explained_with_what_helps() -> None:
    with pytest.raises(Fault) as fault, explained():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore lines")
    said = str(fault.value)
    for setting in ("micro_batch_size", "precision=bf16", "eval_batch_size"):
        assert f"trainer.{setting}" in said
    assert "Tried to allocate 2 GiB." in said
    assert "\n" not in said


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match=r"^other$"), explained():
        raise RuntimeError("other")


def test_what_anomaly_detection_finds_is_a_sentence() -> None:
    x = torch.zeros(1, requires_grad=True)
    with (
        pytest.raises(Fault, match=r"^trainer\.detect_anomaly: Function 'SqrtBackward0' returned nan"),
        pytest.warns(UserWarning, match="Error detected in SqrtBackward0"),
        explained(),
        torch.autograd.set_detect_anomaly(True),
    ):
        (x.sqrt() * 0).sum().backward()
