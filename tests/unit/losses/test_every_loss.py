"""What every loss does with unknown labels and with weights."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from mlc.outputs.single_choice import SingleChoice
from tests.unit.losses.pairs import N_LABELS, PAIRS, Pair

ALL = list(range(N_LABELS))
ROWS = 12
EVERY = pytest.mark.parametrize("name", PAIRS)
SUMMED_OUT = ["likelihood_independent", "likelihood_one", "likelihood_joint", "likelihood_sets"]


def random_rows(pair: Pair, *, unknown: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Raw tensors and targets; where some are unknown, the first row has all and the last row none known."""
    random = np.random.default_rng(seed)
    y = random.integers(0, pair.highest + 1, size=(ROWS, N_LABELS)).astype(float)
    if pair.output is SingleChoice:
        y = np.eye(N_LABELS)[random.integers(0, N_LABELS, ROWS)]
    y[1:][random.random((ROWS - 1, N_LABELS)) < unknown] = np.nan
    if unknown > 0:
        y[-1] = np.nan
    return torch.from_numpy(random.normal(size=(ROWS, pair.size)) * 2), torch.from_numpy(y)


def value_and_gradient(pair: Pair, raw_BD: Tensor, y_BL: Tensor) -> tuple[Tensor, Tensor]:
    raw_BD = raw_BD.clone().requires_grad_()
    loss_B = pair.loss(ALL)(pair.output(raw_BD), y_BL)
    (gradient_BD,) = torch.autograd.grad(loss_B.sum(), raw_BD)
    return loss_B.detach(), gradient_BD


@pytest.mark.parametrize("name", [name for name, pair in PAIRS.items() if pair.columns])
def test_an_unknown_label_counts_as_if_it_were_not_there(name: str) -> None:
    pair = PAIRS[name]
    raw_BD, y_BL = random_rows(pair, unknown=0.4)
    assert (y_BL.isnan().sum(1) == 2).any()
    for raw_D, y_L in zip(raw_BD, y_BL, strict=True):
        kept = [label for label in ALL if not y_L[label].isnan()]
        found_B, gradient_BD = value_and_gradient(pair, raw_D[None], y_L[None])
        if not kept:
            continue
        raw_1D = raw_D[None].clone().requires_grad_()
        expected_B = pair.loss(kept)(pair.without(raw_1D, kept), y_L[None, kept])
        torch.testing.assert_close(found_B, expected_B.detach(), rtol=1e-6, atol=1e-9)
        (expected_BD,) = torch.autograd.grad(expected_B.sum(), raw_1D)
        torch.testing.assert_close(gradient_BD, expected_BD, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", SUMMED_OUT)
def test_a_likelihood_sums_unknown_labels_out(name: str) -> None:
    pair = PAIRS[name]
    raw_BD, y_BL = random_rows(pair, unknown=0.4)
    loss = pair.loss(ALL)
    for raw_D, y_L in zip(raw_BD, y_BL, strict=True):
        sets_SL = torch.tensor(list(itertools.product([0.0, 1.0], repeat=N_LABELS))).double()
        sets_SL = sets_SL[((sets_SL == y_L) | y_L.isnan()).all(1)]
        # -log of the likelihood of each set; one that is impossible costs 0 and is none.
        output = pair.output(raw_D.expand(len(sets_SL), -1))
        possible_S = output.log_prob(sets_SL) > -torch.inf
        total = torch.exp(-loss(output, sets_SL))[possible_S].sum().item()
        found = loss(pair.output(raw_D[None]), y_L[None]).item()
        assert found == pytest.approx(-np.log(total) if total > 0 else 0, abs=1e-9)


@EVERY
def test_a_row_without_known_labels_costs_nothing_and_changes_nothing(name: str) -> None:
    pair = PAIRS[name]
    raw_BD, y_BL = random_rows(pair, unknown=0.3)
    loss_B, gradient_BD = value_and_gradient(pair, raw_BD[-1:], y_BL[-1:])
    assert loss_B.item() == pytest.approx(0, abs=1e-9)
    assert gradient_BD.abs().max() < 1e-9
    with_it_B, _ = value_and_gradient(pair, raw_BD, y_BL)
    without_B, _ = value_and_gradient(pair, raw_BD[:-1], y_BL[:-1])
    torch.testing.assert_close(with_it_B[:-1], without_B)


@EVERY
@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_unknown_labels_leave_every_value_and_gradient_finite(name: str, scale: float) -> None:
    pair = PAIRS[name]
    raw_BD, y_BL = random_rows(pair, unknown=0.5)
    for rows in (slice(None), slice(-1, None)):
        loss_B, gradient_BD = value_and_gradient(pair, scale * raw_BD[rows].float(), y_BL[rows].float())
        assert loss_B.isfinite().all()
        assert gradient_BD.isfinite().all()


@EVERY
@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_weight_one_changes_nothing(name: str, unknown: float) -> None:
    pair = PAIRS[name]
    raw_BD, y_BL = random_rows(pair, unknown=unknown)
    output, loss = pair.output(raw_BD), pair.loss(ALL)
    assert torch.equal(loss(output, y_BL, torch.ones(ROWS)), loss(output, y_BL))


@EVERY
@pytest.mark.parametrize("unknown", [0.0, 0.3])
def test_weight_k_counts_as_k_rows(name: str, unknown: float) -> None:
    pair = PAIRS[name]
    raw_BD, y_BL = random_rows(pair, unknown=unknown)
    times_B = torch.tensor([1, 3, 0, 2, 1, 1, 5, 0, 1, 2, 4, 2])
    loss = pair.loss(ALL)
    raw_BD.requires_grad_()
    weighted = loss(pair.output(raw_BD), y_BL, times_B.float()).mean()
    again_B = torch.arange(ROWS).repeat_interleave(times_B)
    repeated = loss(pair.output(raw_BD[again_B]), y_BL[again_B]).mean()
    # A loss of examples is a mean over the batch as it is; a loss of the batch has its own denominators.
    if not loss.couples_batch:
        weighted = weighted * ROWS / times_B.sum()
    torch.testing.assert_close(weighted, repeated, rtol=1e-6, atol=1e-9)
    found_BD, expected_BD = (torch.autograd.grad(value, raw_BD)[0] for value in (weighted, repeated))
    torch.testing.assert_close(found_BD, expected_BD, rtol=1e-6, atol=1e-9)


@EVERY
def test_a_batch_of_weight_zero_costs_and_teaches_nothing(name: str) -> None:
    pair = PAIRS[name]
    raw_BD, y_BL = random_rows(pair, unknown=0.3)
    raw_BD.requires_grad_()
    loss_B = pair.loss(ALL)(pair.output(raw_BD), y_BL, torch.zeros(ROWS))
    assert not loss_B.any()
    (gradient_BD,) = torch.autograd.grad(loss_B.sum(), raw_BD)
    assert not gradient_BD.any()


@EVERY
@pytest.mark.parametrize("unknown", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [False, True])
def test_what_a_step_makes_smaller_is_the_mean_of_the_losses(
    name: str, unknown: float, weighted: bool
) -> None:
    pair = PAIRS[name]
    raw_BD, y_BL = random_rows(pair, unknown=unknown)
    weight_B = torch.arange(ROWS) / 4 if weighted else None
    raw_BD.requires_grad_()
    loss, output = pair.loss(ALL), pair.output(raw_BD)
    expected = loss(output, y_BL, weight_B).sum() / ROWS
    found = loss.mean(output, y_BL, weight_B, all_known=unknown == 0)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(value, raw_BD, retain_graph=True)[0] for value in (found, expected)]
    torch.testing.assert_close(*gradients)
