"""The objective of a step: weights, unknown labels, and an auxiliary head."""

import pytest
import torch
from torch import Tensor

from mlc.backbones.mlp import MLP
from mlc.batch import Batch, LabelStatistics, presence
from mlc.heads.levels import LevelsHead
from mlc.heads.sigmoid import SigmoidHead
from mlc.losses.base import Loss
from mlc.losses.binary_cross_entropy import BinaryCrossEntropy
from mlc.losses.negative_log_likelihood import NegativeLogLikelihood
from mlc.model import Auxiliary, Network
from mlc.training.objective import objective
from tests.unit.training import tiny

NAN = float("nan")
FEATURE, WIDTHS, WEIGHT = "layer1", [6, 5], 0.3
LEVELS = torch.tensor([[2, 0, 1], [0, 1, 0], [1, 2, 0], [0, 0, 3], [1, 0, 0], [3, 1, 1]], dtype=torch.float32)
WEIGHTS = torch.tensor([0.5, 2, 0, 1, 1.5, 1])


def labels() -> LabelStatistics:
    return LabelStatistics.from_targets(LEVELS)


def plain_loss(*, positive_weight: float = 1.0) -> Loss:
    return BinaryCrossEntropy(
        labels=labels(), positive_weight=positive_weight, max_positive_weight=10.0, label_weight="equal"
    )


def network(
    *, main: str = "sigmoid", beside: str | None = None, own: LabelStatistics | None = None
) -> Network:
    torch.manual_seed(0)
    backbone = MLP(inputs=tiny.INPUTS, widths=WIDTHS, input_dropout=0.0, dropout=0.0, norm="none")
    heads = {"sigmoid": SigmoidHead, "levels": LevelsHead}
    head = heads[main](in_features=WIDTHS[1], labels=labels(), prior_bias=False)
    auxiliary = None
    if beside is not None:
        auxiliary = Auxiliary(
            feature=FEATURE,
            head=heads[beside](in_features=WIDTHS[0], labels=own or labels(), prior_bias=False),
            loss=loss_of(beside, positive_weight=2.0),
            weight=WEIGHT,
            own_targets=own is not None,
        )
    return Network(backbone=backbone, head=head, auxiliary=auxiliary)


def loss_of(head: str, *, positive_weight: float = 1.0) -> Loss:
    if head == "levels":
        return NegativeLogLikelihood(labels=labels())
    return plain_loss(positive_weight=positive_weight)


def batch(y_BL: Tensor, weight_B: Tensor | None = None) -> Batch:
    return Batch(inputs=tiny.split(len(y_BL)).inputs, y_BL=y_BL, weight_B=weight_B)


def gradients(value: Tensor, of: Network) -> list[Tensor]:
    found = torch.autograd.grad(value, list(of.parameters()), allow_unused=True, retain_graph=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, of.parameters(), strict=True)]


@pytest.mark.parametrize("weight_B", [None, WEIGHTS], ids=["equal", "weighted"])
@pytest.mark.parametrize("unknown", [False, True])
@pytest.mark.parametrize(
    ("main", "beside"), [("sigmoid", "sigmoid"), ("levels", "sigmoid"), ("levels", "levels")]
)
def test_objective_and_gradient_are_main_plus_weighted_auxiliary(
    main: str, beside: str, unknown: bool, weight_B: Tensor | None
) -> None:
    y_BL = LEVELS if main == "levels" else presence(LEVELS)
    if unknown:
        y_BL = y_BL.clone()
        y_BL[0, 1], y_BL[4, 2], y_BL[5] = NAN, NAN, NAN
    net, given = network(main=main, beside=beside), batch(y_BL, weight_B)
    found = objective(net, loss_of(main), given)

    # By hand, from the layers themselves.
    features = net.backbone(given.inputs)
    assert net.auxiliary is not None
    z_main, z_beside = net.head.logits(features["pooled"]), net.auxiliary.head.logits(features[FEATURE])
    w_B = torch.ones(len(y_BL)) if weight_B is None else weight_B
    first = by_hand(main, z_main, y_BL, w_B, positive_weight=1.0)
    second = by_hand(beside, z_beside, y_BL, w_B, positive_weight=2.0)
    torch.testing.assert_close(found, first + WEIGHT * second)

    one, two = gradients(first, net), gradients(second, net)
    for got, a, b in zip(gradients(found, net), one, two, strict=True):
        torch.testing.assert_close(got, a + WEIGHT * b)
    # And both heads have their say in what they share, the auxiliary one not in the layer above it.
    shared = dict(zip(dict(net.named_parameters()), two, strict=True))
    assert not shared["head.logits.weight"].any()
    assert sum(bool(gradient.any()) for name, gradient in shared.items() if "backbone" in name) >= 2


def by_hand(head: str, z: Tensor, y_BL: Tensor, w_B: Tensor, *, positive_weight: float) -> Tensor:
    """Mean weighted loss, entry by entry, leaving out what is unknown."""
    total = torch.zeros(())
    for row, (y_L, w) in enumerate(zip(y_BL, w_B, strict=True)):
        for label, y in enumerate(y_L):
            if y.isnan():
                continue
            if head == "levels":
                log_p = z[row].unflatten(0, (tiny.LABELS, -1))[label].log_softmax(0)[int(y)]
            elif y > 0:
                log_p = positive_weight * torch.sigmoid(z[row, label]).log()
            else:
                log_p = torch.sigmoid(-z[row, label]).log()
            total = total - w * log_p
    return total / len(y_BL)


def test_without_an_auxiliary_head_it_is_the_mean_loss() -> None:
    net, given = network(), batch(presence(LEVELS), WEIGHTS)
    expected = by_hand("sigmoid", net(given.inputs).logits_BL, given.y_BL, WEIGHTS, positive_weight=1.0)
    torch.testing.assert_close(objective(net, plain_loss(), given), expected)


def test_weight_k_trains_as_the_row_k_times() -> None:
    times_B = torch.tensor([2, 1, 0, 3, 1, 1])
    y_BL = presence(LEVELS)
    y_BL[1, 1] = NAN
    net, rows = network(beside="sigmoid"), torch.arange(6).repeat_interleave(times_B)
    weighed = batch(y_BL, times_B * len(y_BL) / times_B.sum())  # of mean 1
    repeated = Batch(inputs={"x": weighed.inputs["x"][rows]}, y_BL=y_BL[rows])
    values = [objective(net, plain_loss(), given) for given in (weighed, repeated)]
    torch.testing.assert_close(*values)
    for first, second in zip(*(gradients(value, net) for value in values), strict=True):
        torch.testing.assert_close(first, second)


def test_an_auxiliary_loss_sees_no_levels_that_it_does_not_read() -> None:
    net = network(main="levels", beside="sigmoid")
    values = [objective(net, loss_of("levels"), batch(y_BL)) for y_BL in (LEVELS, LEVELS.clamp(max=1))]
    z_main = net.head.logits(net.backbone(batch(LEVELS).inputs)["pooled"])
    mains = [
        by_hand("levels", z_main, y_BL, torch.ones(6), positive_weight=1.0)
        for y_BL in (LEVELS, LEVELS.clamp(max=1))
    ]
    assert mains[0] != mains[1]
    torch.testing.assert_close(values[0] - mains[0], values[1] - mains[1])


@pytest.mark.parametrize("beside", ["sigmoid", "levels"])
def test_targets_of_its_own_teach_the_auxiliary_head(beside: str) -> None:
    own_BA = LEVELS.flip(0).clone()
    own_BA[2, 1] = NAN
    net = network(beside=beside, own=LabelStatistics.from_targets(own_BA))
    shared = batch(presence(LEVELS), WEIGHTS)
    given = Batch(inputs=shared.inputs, y_BL=shared.y_BL, weight_B=WEIGHTS, auxiliary_BA=own_BA)
    features = net.backbone(given.inputs)
    assert net.auxiliary is not None
    first = by_hand("sigmoid", net.head.logits(features["pooled"]), given.y_BL, WEIGHTS, positive_weight=1.0)
    z_beside = net.auxiliary.head.logits(features[FEATURE])
    second = by_hand(beside, z_beside, own_BA, WEIGHTS, positive_weight=2.0)
    torch.testing.assert_close(objective(net, plain_loss(), given), first + WEIGHT * second)


def test_in_bf16_the_losses_are_float32() -> None:
    net, given = network(beside="sigmoid"), batch(presence(LEVELS))
    dtypes: list[torch.dtype] = []
    assert net.auxiliary is not None
    for head in (net.head, net.auxiliary.head):
        head.register_forward_hook(lambda _, __, output: dtypes.append(output.logits_BL.dtype))
    value = objective(net, plain_loss(), given, precision="bf16")
    assert dtypes == [torch.bfloat16] * 2
    assert value.dtype == torch.float32
    full = objective(net, plain_loss(), given)
    assert value != full
    torch.testing.assert_close(value, full, atol=0.05, rtol=0.05)
