"""Which losses fit which heads."""

import pytest
import torch

from mlc.losses.base import PairingError
from tests.contract.grid import (
    ALL_PAIRS,
    FITTING_PAIRS,
    TARGETS,
    UNFITTING_PAIRS,
    Pair,
    default_loss,
    fits,
    head_output,
    heads_named_by,
    names,
)

WORLDS = pytest.mark.parametrize("world", TARGETS)
# Written down once more by hand: a loss that accepts too much would be trained without anyone noticing.
FAMILY = {
    "sigmoid": {
        *("absolute_kl", "binary_cross_entropy", "factorised_product", "squared_error"),
        *("asymmetric", "categorical_on_sigmoid", "distribution_balanced", "focal", "hill", "soft_f1"),
        *("negative_log_likelihood", "squared_hinge", "two_way", "zlpr"),
    },
    "softmax": {"categorical_cross_entropy"},
    "factorised": {"absolute_kl", "factorised_kl_mse", "factorised_product"},
    "factorised_poisson": {
        "absolute_kl",
        "factorised_kl_mse",
        "factorised_kl_poisson",
        "factorised_product",
    },
    "factorised_negative_binomial": {"absolute_kl", "factorised_kl_negative_binomial", "factorised_product"},
    "factorised_categorical": {"absolute_kl", "factorised_kl_categorical", "factorised_product"},
    "conditional_bernoulli": {"negative_log_likelihood"},
    "label_sets": {"negative_log_likelihood"},
    "levels": {"negative_log_likelihood"},
    "classifier_chain": {"negative_log_likelihood"},
}
FAMILY |= dict.fromkeys(("binary_softmax", "label_attention", "label_networks"), FAMILY["sigmoid"])


@WORLDS
@pytest.mark.parametrize("head", FAMILY)
def test_fitting_losses_are_those_written_down(head: str, world: str) -> None:
    known = set().union(*FAMILY.values())
    # Single choice is a distribution over label sets, and shares are not.
    single_choice = {"negative_log_likelihood"} if (head, world) == ("softmax", "single") else set()
    assert {loss for loss in known if fits(head, loss, world)} == FAMILY[head] | single_choice


@WORLDS
@pytest.mark.parametrize("head", names("head"))
def test_the_loss_that_a_head_brings_fits_it(head: str, world: str) -> None:
    assert fits(head, default_loss(head), world)


@WORLDS
@pytest.mark.parametrize("loss", names("loss"))
def test_a_loss_fits_the_heads_that_its_header_names(loss: str, world: str) -> None:
    named = heads_named_by(loss)
    assert named
    for head in named:
        assert fits(head, loss, world), f"{loss} says that it fits {head}"


@pytest.mark.parametrize("pair", UNFITTING_PAIRS, ids=str)
def test_an_unfitting_pair_is_refused_by_name(pair: Pair) -> None:
    output, loss = head_output(pair.head, pair.world), pair.make_loss()
    with pytest.raises(PairingError) as refusal:
        loss.check(output)
    sentence = str(refusal.value)
    part = getattr(output, "count", output)  # a count loss may name the count model
    assert type(output).__name__ in sentence or type(part).__name__ in sentence
    assert "\n" not in sentence


def test_the_grid_has_both_kinds() -> None:
    assert set(FITTING_PAIRS) | set(UNFITTING_PAIRS) >= set(ALL_PAIRS)
    assert not set(FITTING_PAIRS) & set(UNFITTING_PAIRS)
    assert FITTING_PAIRS
    assert UNFITTING_PAIRS


@pytest.mark.parametrize("pair", FITTING_PAIRS, ids=str)
def test_what_check_accepts_the_loss_can_train(pair: Pair) -> None:
    output = head_output(pair.head, pair.world)
    assert torch.isfinite(pair.make_loss()(output, pair.y_BL)).all()
