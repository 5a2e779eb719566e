"""What every fitting pair of head and loss does in training."""

import pytest
import torch
from scipy.stats import poisson
from torch import Tensor

from mlc.model import Network
from mlc.outputs.base import LabelOutput
from tests.contract.grid import FEATURES, FITTING_PAIRS, LABELS, ROWS, Pair, inputs

PAIRS = pytest.mark.parametrize("pair", FITTING_PAIRS, ids=str)


def randomise(network: Network, scale: float = 0.5) -> Network:
    """Other parameters than those it starts with: an initialisation may hide what depends on what."""
    random = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=random) * scale)
    return network


def lowest_mean_loss(pair: Pair) -> float:
    """The mean loss of a perfect fit: 0, but for losses that keep the entropy of their targets."""
    n_B = pair.y_BL.sum(1)
    if pair.loss == "categorical_cross_entropy":
        return n_B.clamp(min=1).log().mean().item()
    if pair.loss == "factorised_kl_poisson":
        return float(-poisson(n_B.numpy()).logpmf(n_B.numpy()).mean())
    return 0.0


@PAIRS
def test_loss_is_one_number_per_row_finite_and_not_negative(pair: Pair) -> None:
    loss_B = pair.make_loss()(randomise(pair.make_network())({"x": inputs()}), pair.y_BL)
    assert loss_B.shape == (ROWS,)
    assert loss_B.dtype == torch.float32
    assert loss_B.isfinite().all()
    assert (loss_B > -1e-5).all()  # a KL of 0 may round to just below it


@PAIRS
def test_gradient_reaches_every_parameter_at_the_start(pair: Pair) -> None:
    network = pair.make_network()
    pair.make_loss()(network({"x": inputs()}), pair.y_BL).mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@PAIRS
@pytest.mark.parametrize("factor", [0.0, 10.0])
def test_gradient_stays_finite_for_small_and_large_raw_outputs(pair: Pair, factor: float) -> None:
    network = randomise(pair.make_network())
    x_BD = (inputs() * factor).requires_grad_()
    loss_B = pair.make_loss()(network({"x": x_BD}), pair.y_BL)
    loss_B.sum().backward()
    assert loss_B.isfinite().all()
    assert x_BD.grad is not None
    assert x_BD.grad.isfinite().all()


@PAIRS
def test_overfits_sixteen_rows(pair: Pair) -> None:
    network, loss = pair.make_network(width=64), pair.make_loss()
    # Small steps: larger ones push every linear count below its floor, where it has no gradient.
    optimizer = torch.optim.Adam(network.parameters(), lr=0.005)
    curve: list[float] = []
    for _ in range(200):
        optimizer.zero_grad()
        mean = loss(network({"x": inputs()}), pair.y_BL).mean()
        mean.backward()
        optimizer.step()
        curve.append(mean.item())
    lowest = lowest_mean_loss(pair)
    assert curve[-1] - lowest < 0.1 * (curve[0] - lowest)
    scores_BL = loss.link(network({"x": inputs()})).score_logits()
    for score_L, y_L in zip(scores_BL, pair.y_BL.bool(), strict=True):
        if y_L.any() and not y_L.all():
            assert score_L[y_L].min() > score_L[~y_L].max()


@PAIRS
def test_the_loss_of_a_row_is_its_own(pair: Pair) -> None:
    network, loss = randomise(pair.make_network()), pair.make_loss()
    x_BD = inputs()
    together_B = loss(network({"x": x_BD}), pair.y_BL)
    alone = [loss(network({"x": x_BD[i : i + 1]}), pair.y_BL[i : i + 1]) for i in range(ROWS)]
    torch.testing.assert_close(torch.cat(alone), together_B)
    others_BD, others_BL = x_BD.clone(), pair.y_BL.clone()
    others_BD[1:], others_BL[1:] = 9.0, 1 - others_BL[1:]
    torch.testing.assert_close(loss(network({"x": others_BD}), others_BL)[0], together_B[0])


@PAIRS
def test_rows_without_labels_are_treated_as_the_loss_says(pair: Pair) -> None:
    network, loss = pair.make_network(), pair.make_loss()
    loss_B = loss(network({"x": inputs()}), torch.zeros(ROWS, LABELS))
    loss_B.sum().backward()
    moved = any(parameter.grad.any() for parameter in network.parameters() if parameter.grad is not None)
    assert moved is not loss.ignores_empty_rows
    assert bool(loss_B.any()) is not loss.ignores_empty_rows


@PAIRS
def test_order_of_the_labels_does_not_matter(pair: Pair) -> None:
    # Statistics differ per label only where a loss asks for them; the shipped losses weigh labels alike.
    network, loss = randomise(pair.make_network()), pair.make_loss()
    order_L = torch.tensor([3, 1, 4, 0, 2])
    output = network({"x": inputs()})
    permuted = output.map_tensors(lambda t: t[:, order_L] if t.ndim == 2 else t)
    torch.testing.assert_close(loss(permuted, pair.y_BL[:, order_L]), loss(output, pair.y_BL))


def linked_tensors(output: LabelOutput) -> list[Tensor]:
    return [output.score_logits(), output.scores()]


@PAIRS
def test_the_loss_keeps_no_memory_of_targets(pair: Pair) -> None:
    network, loss = randomise(pair.make_network()), pair.make_loss()
    output = network({"x": inputs()})
    before = linked_tensors(loss.link(output))
    first_B = loss(output, pair.y_BL)
    loss(output, 1 - pair.y_BL)
    assert torch.equal(loss(output, pair.y_BL), first_B)
    for old, new in zip(before, linked_tensors(loss.link(output)), strict=True):
        assert torch.equal(old, new)


def test_the_grid_has_the_sizes_it_says() -> None:
    assert inputs().shape == (ROWS, FEATURES)
    assert all(pair.y_BL.shape == (ROWS, LABELS) for pair in FITTING_PAIRS)
