"""What every fitting pair of head and loss does in training."""

from operator import itemgetter

import pytest
import torch
from scipy.stats import poisson
from torch import Tensor

from mlc.losses.base import Loss
from mlc.model import Network
from mlc.outputs.base import LabelOutput
from mlc.outputs.label_sets import LabelSets
from mlc.outputs.single_choice import SingleChoice
from tests.contract.grid import (
    FEATURES,
    FITTING_PAIRS,
    LABELS,
    ROWS,
    Pair,
    build,
    inputs,
    options,
    statistics,
)

PAIRS = pytest.mark.parametrize("pair", FITTING_PAIRS, ids=str)
COUPLED_PAIRS = [pair for pair in FITTING_PAIRS if pair.make_loss().couples_batch]
SEPARATE_PAIRS = [pair for pair in FITTING_PAIRS if pair not in COUPLED_PAIRS]
# Flat where a label is confidently wrong: a mistake made early is kept.
FORGIVING = {"hill", "soft_f1"}


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
    if pair.loss == "factorised_kl_negative_binomial":  # Poisson is its limit, and the most it can be sure
        return float(-poisson(n_B.numpy()).logpmf(n_B.numpy()).mean())
    if pair.loss == "factorised_kl_categorical":
        weight = options("loss", pair.loss)["count_prior_weight"]
        prior_K = n_B.long().bincount() / ROWS
        wanted_BK = torch.nn.functional.one_hot(n_B.long()) + weight * prior_K
        return ((1 + weight) * torch.special.entr(wanted_BK / (1 + weight)).sum(1)).mean().item()
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
    for step in range(1, 201):
        optimizer.zero_grad()
        mean = loss(network({"x": inputs()}), pair.y_BL).mean()
        mean.backward()
        optimizer.step()
        curve.append(mean.item())
        if step % 20 == 0 and fits_well(pair, curve, network):
            return
    pytest.fail(f"the loss goes from {curve[0]} to {curve[-1]}")


@torch.no_grad()
def fits_well(pair: Pair, curve: list[float], network: Network) -> bool:
    """Whether the loss is near its lowest, and true labels are ahead of the others."""
    lowest, forgiving, loss = lowest_mean_loss(pair), pair.loss in FORGIVING, pair.make_loss()
    if not curve[-1] - lowest < (0.2 if forgiving else 0.1) * (curve[0] - lowest):
        return False
    if loss.warning is not None:
        return True  # a loss that warns of itself may leave a useless ranking, however well it is fitted
    scores_BL, true_BL = loss.link(network({"x": inputs()})).score_logits(), pair.y_BL.bool()
    ahead_BLL = scores_BL[:, :, None] > scores_BL[:, None, :]
    wanted_BLL = true_BL[:, :, None] & ~true_BL[:, None, :]
    return bool(ahead_BLL[wanted_BLL].float().mean() >= (0.8 if forgiving else 1.0))


@pytest.mark.parametrize("pair", SEPARATE_PAIRS, ids=str)
def test_the_loss_of_a_row_is_its_own(pair: Pair) -> None:
    network, loss = randomise(pair.make_network()).eval(), pair.make_loss()
    x_BD = inputs()
    together_B = loss(network({"x": x_BD}), pair.y_BL)
    alone = [loss(network({"x": x_BD[i : i + 1]}), pair.y_BL[i : i + 1]) for i in range(ROWS)]
    torch.testing.assert_close(torch.cat(alone), together_B, rtol=1e-4, atol=1e-4)
    others_BD, others_BL = x_BD.clone(), pair.y_BL.clone()
    others_BD[1:], others_BL[1:] = 9.0, pair.other_y_BL[1:]
    others_B = loss(network({"x": others_BD}), others_BL)
    torch.testing.assert_close(others_B[0], together_B[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pair", COUPLED_PAIRS, ids=str)
def test_a_loss_that_couples_the_batch_repeats_its_one_number(pair: Pair) -> None:
    network, loss = randomise(pair.make_network()), pair.make_loss()
    output = network({"x": inputs()})
    loss_B = loss(output, pair.y_BL)
    assert (loss_B == loss_B[0]).all()
    others_BL = pair.y_BL.clone()
    others_BL[1:] = pair.other_y_BL[1:]
    assert loss(output, others_BL)[0] != loss_B[0]


@pytest.mark.parametrize("pair", COUPLED_PAIRS, ids=str)
def test_a_batch_without_labels_leaves_a_coupled_loss_finite(pair: Pair) -> None:
    network, loss = pair.make_network(), pair.make_loss()
    loss_B = loss(network({"x": inputs()}), torch.zeros(ROWS, LABELS))
    loss_B.mean().backward()
    assert loss_B.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("pair", SEPARATE_PAIRS, ids=str)
def test_rows_without_labels_are_treated_as_the_loss_says(pair: Pair) -> None:
    loss, moved, lost = pair.make_loss(), False, False
    # At the start a margin may be kept already, and other parameters may give no count at all.
    for network in (pair.make_network(), randomise(pair.make_network())):
        output = network({"x": inputs()})
        loss_B = loss(output, torch.zeros(ROWS, LABELS))
        loss_B.sum().backward()
        moved |= any(bool(p.grad.any()) for p in network.parameters() if p.grad is not None)
        lost |= bool(loss_B.any())
    # A choice of one label cannot explain a row without labels, whatever the loss; nor can label sets that
    # were never seen empty.
    impossible = isinstance(output, SingleChoice)
    if isinstance(output, LabelSets):
        impossible = bool(output.sets_ML.any(1).all())
    ignored = loss.ignores_empty_rows or impossible
    assert moved is not ignored
    assert lost is not ignored


@pytest.mark.parametrize("pair", [p for p in FITTING_PAIRS if p.head != "classifier_chain"], ids=str)
def test_order_of_the_labels_does_not_matter(pair: Pair) -> None:
    network, loss = randomise(pair.make_network()), pair.make_loss()
    order_L = torch.tensor([3, 1, 4, 0, 2])
    # A loss may weigh labels by their frequency, so the statistics are permuted too.
    permuted_loss: Loss = build("loss", pair.loss, labels=statistics(pair.y_BL[:, order_L]))
    output = network({"x": inputs()})
    if isinstance(output, LabelSets):
        permuted: LabelOutput = LabelSets(output.logits_BM, output.sets_ML[:, order_L])
    else:
        permuted = output.map_tensors(lambda t: t[:, order_L] if t.shape[1:2] == (LABELS,) else t)
    torch.testing.assert_close(permuted_loss(permuted, pair.y_BL[:, order_L]), loss(output, pair.y_BL))


@PAIRS
def test_unknown_labels_leave_loss_and_gradient_finite(pair: Pair) -> None:
    network, loss = randomise(pair.make_network()), pair.make_loss()
    y_BL = pair.y_BL.clone()
    y_BL[::2, 1], y_BL[4] = torch.nan, torch.nan  # a row without any known label, too
    output = network({"x": inputs()})
    loss_B = loss(output, y_BL)
    loss_B.sum().backward()
    assert loss_B.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
    if not loss.couples_batch:
        assert loss_B[4].abs() < 1e-5
        known_B = ~y_BL.isnan().any(1)
        torch.testing.assert_close(loss_B[known_B], loss(output, pair.y_BL)[known_B])


@PAIRS
def test_weight_two_is_a_row_twice(pair: Pair) -> None:
    network, loss = randomise(pair.make_network()), pair.make_loss()
    weight_B = 1.0 + (torch.arange(ROWS) % 2)
    rows = torch.arange(ROWS).repeat_interleave(weight_B.long())
    output = network({"x": inputs()})
    weighted_B = loss(output, pair.y_BL, weight_B)
    repeated_B = loss(output.map_tensors(itemgetter(rows)), pair.y_BL[rows])
    if loss.couples_batch:
        torch.testing.assert_close(weighted_B[0], repeated_B[0])
    else:
        torch.testing.assert_close(weighted_B.sum(), repeated_B.sum())


def linked_tensors(output: LabelOutput) -> list[Tensor]:
    return [output.score_logits(), output.scores()]


@PAIRS
def test_the_loss_keeps_no_memory_of_targets(pair: Pair) -> None:
    network, loss = randomise(pair.make_network()), pair.make_loss()
    output = network({"x": inputs()})
    before = linked_tensors(loss.link(output))
    first_B = loss(output, pair.y_BL)
    loss(output, pair.other_y_BL)
    assert torch.equal(loss(output, pair.y_BL), first_B)
    for old, new in zip(before, linked_tensors(loss.link(output)), strict=True):
        assert torch.equal(old, new)


def test_the_grid_has_the_sizes_it_says() -> None:
    assert inputs().shape == (ROWS, FEATURES)
    assert all(pair.y_BL.shape == (ROWS, LABELS) for pair in FITTING_PAIRS)
