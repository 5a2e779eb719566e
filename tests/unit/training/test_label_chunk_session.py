"""A session in label chunks against one without, and one that goes on from a checkpoint."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mlc.backbones.flatten import Flatten
from mlc.batch import LabelStatistics
from mlc.data.dataset import Split
from mlc.errors import UserError
from mlc.heads.sigmoid import SigmoidHead
from mlc.inputs import MAIN
from mlc.losses.binary_cross_entropy import BinaryCrossEntropy
from mlc.model import Network
from mlc.training.checkpoint import load_checkpoint, save_checkpoint
from mlc.training.faults import describe
from mlc.training.label_chunk_check import cut_labels
from mlc.training.schedules import Constant
from mlc.training.session import Session
from tests.unit.training import tiny
from tests.unit.training.test_label_chunks import SPARSE, B, D, dense_targets, label_rows, sparse_inputs

ROWS = [torch.tensor([0, 2, 4]), torch.tensor([1, 3, 5, 6]), torch.arange(B), torch.tensor([3, 1])]


def session(*, chunk: int | None, **settings) -> Session:
    torch.manual_seed(0)
    labels = LabelStatistics.from_targets(dense_targets())
    head = SigmoidHead(in_features=D, labels=labels, prior_bias=True)
    network = Network(backbone=Flatten(inputs=SPARSE), head=head)
    if chunk is not None:
        cut_labels(network, chunk)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01, weight_decay=0.1, fused=True)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return Session(
        network=network,
        loss=BinaryCrossEntropy(
            labels=labels, positive_weight="balanced", max_positive_weight=10.0, label_weight="equal"
        ),
        optimizer=optimizer,
        schedule=Constant(warmup_epochs=0.0),
        settings=tiny.settings(label_chunk=chunk, **settings),
        seed=0,
        device="cpu",
    )


def steps(trained: Session, rows: list[Tensor]) -> None:
    sparse = trained.settings.label_chunk is not None
    split = Split(inputs={MAIN: sparse_inputs()}, y_NL=label_rows(dense_targets()), sparse_batches=sparse)
    for rows_B in rows:
        trained.stepper.begin()
        trained.stepper.backward(trained.objective(split.select(rows_B)))
        assert not trained.stepper.step()
        trained.position.step += 1


@pytest.mark.parametrize(
    "settings", [{}, {"label_update": "at_step", "clip_norm": 0.1}], ids=["in_pass", "at_step"]
)
def test_trains_as_without_chunks(settings):
    whole = session(chunk=None, **{k: v for k, v in settings.items() if k != "label_update"})
    chunks = session(chunk=4, **settings)
    steps(whole, ROWS)
    steps(chunks, ROWS)
    expected, found = whole.network.state_dict(), chunks.network.state_dict()
    assert expected.keys() == found.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name])


def test_goes_on_from_a_checkpoint_bit_for_bit(tmp_path: Path):
    straight, first, second = session(chunk=4), session(chunk=4), session(chunk=4)
    steps(straight, ROWS)
    steps(first, ROWS[:2])
    save_checkpoint(tmp_path / "last.safetensors", first.state())
    steps(second, ROWS[2:])  # whatever it was before
    second.restore(load_checkpoint(tmp_path / "last.safetensors"))
    steps(second, ROWS[2:])
    for name, value in straight.network.state_dict().items():
        assert torch.equal(second.network.state_dict()[name], value), name


def test_a_checkpoint_of_other_chunks_is_refused():
    first = session(chunk=4)
    steps(first, ROWS[:1])
    with pytest.raises(UserError, match=r"trainer\.label_chunk=4"):
        session(chunk=3).restore(copy.deepcopy(first.state()))


def test_auto_is_a_number_of_labels():
    assert session(chunk="auto").network.head.logits.size <= 11


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_changes_no_weight(bad):
    trained = session(chunk=4)
    steps(trained, ROWS[:2])
    before = copy.deepcopy([trained.network.state_dict(), trained.optimizer.state_dict()["state"]])
    x = sparse_inputs()
    x.values_M[0] = bad
    split = Split(inputs={MAIN: x}, y_NL=label_rows(dense_targets()), sparse_batches=True)
    trained.stepper.begin()
    trained.stepper.backward(trained.objective(split.select(torch.arange(B))))
    assert trained.stepper.step()
    after = [trained.network.state_dict(), trained.optimizer.state_dict()["state"]]
    assert tiny.bits(after) == tiny.bits(before)
    assert trained.moved_labels == 0


@pytest.mark.parametrize(("update", "moved"), [("in_pass", 8), ("at_step", 0)])
def test_a_chunk_that_is_not_finite_is_found_too_late_for_those_before_it_and_this_is_said(update, moved):
    trained, told, weights = session(chunk=4, label_update=update, max_epochs=1, batch_size=4), [], []
    layer = trained.network.head.logits
    split = Split(inputs={MAIN: sparse_inputs()}, y_NL=label_rows(dense_targets()), sparse_batches=True)

    def spoil() -> None:
        weights.append([layer.weight_KDC.detach().clone(), layer.bias_L.detach().clone()])
        if len(weights) == 1:
            layer.weight_KDC.data[2] = weights[0][0][2] = torch.nan  # weights that have run away

    tiny.train(trained, split, bad_step=told.append, after_step=spoil)
    assert [(bad.step, bad.moved_labels) for bad in told][:1] == [(2, moved)]
    (before_KDC, before_L), (after_KDC, after_L) = weights[:2]
    assert torch.equal(after_L, before_L)
    changed = [
        not torch.equal(after_DC, before_DC)
        for after_DC, before_DC in zip(after_KDC, before_KDC, strict=True)
    ]
    assert changed[:2] == [moved > 0] * 2
    said = describe(told[0], split, [f"label {i}" for i in range(11)])
    assert ("the weights stay; " in said) == (moved == 0)
    assert ("the weights stay but for those of 8 of 11 labels" in said) == (moved == 8)
