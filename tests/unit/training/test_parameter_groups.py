import torch
from torch import nn

from mlc.backbones.mlp import MLP
from mlc.heads.sigmoid import SigmoidHead
from mlc.inputs import InputSpec
from mlc.model import Network
from mlc.training.parameter_groups import make_optimizer
from tests.unit.label_statistics import labels_with


def network() -> Network:
    inputs = {"x": InputSpec("numbers", (4,))}
    backbone = MLP(inputs=inputs, widths=[5, 6], input_dropout=0.0, dropout=0.0, norm="none")
    head = SigmoidHead(in_features=6, labels=labels_with([1, 2], rows=4), prior_bias=False)
    return Network(backbone=backbone, head=head)


def sgd(groups: object) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=0.5)  # type: ignore[arg-type]


def names_by_rate(optimizer: torch.optim.Optimizer, net: Network) -> dict[float, set[str]]:
    names = {parameter: name for name, parameter in net.named_parameters()}
    return {
        group["initial_lr"]: {names[parameter] for parameter in group["params"]}
        for group in optimizer.param_groups
    }


def test_without_factors_there_is_one_group_with_all_parameters() -> None:
    net = network()
    assert names_by_rate(make_optimizer(sgd, net), net) == {0.5: {name for name, _ in net.named_parameters()}}


def test_factors_make_groups_and_frozen_parameters_are_in_none() -> None:
    net = network()
    net.backbone.learning_rate_factors = {"layers.0.0.weight": 0.1, "layers.0.0.bias": 0.1}
    net.backbone.layers[1].requires_grad_(False)  # type: ignore[union-attr, index]
    assert names_by_rate(make_optimizer(sgd, net), net) == {
        0.05: {"backbone.layers.0.0.weight", "backbone.layers.0.0.bias"},
        0.5: {"head.logits.weight", "head.logits.bias"},
    }


def test_a_step_moves_each_group_at_its_rate() -> None:
    net = network()
    net.backbone.learning_rate_factors = {"layers.0.0.bias": 0.25}
    optimizer = make_optimizer(sgd, net)
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    moved = {name: before[name] - parameter for name, parameter in net.named_parameters()}
    assert isinstance(net.backbone.layers[0], nn.Sequential)  # type: ignore[index]
    torch.testing.assert_close(moved["backbone.layers.0.0.bias"], torch.full((5,), 0.125))
    torch.testing.assert_close(moved["head.logits.bias"], torch.full((2,), 0.5))


def names_by_decay(optimizer: torch.optim.Optimizer, net: Network) -> dict[tuple[float, float], set[str]]:
    names = {parameter: name for name, parameter in net.named_parameters()}
    return {
        (group["initial_lr"], group["weight_decay"]): {names[parameter] for parameter in group["params"]}
        for group in optimizer.param_groups
    }


def decaying(groups: object) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=0.5, weight_decay=0.1)  # type: ignore[arg-type]


def normalised() -> Network:
    backbone = MLP(
        inputs={"x": InputSpec("numbers", (4,))}, widths=[5], input_dropout=0.0, dropout=0.0, norm="batch"
    )
    head = SigmoidHead(in_features=5, labels=labels_with([1, 2], rows=4), prior_bias=False)
    return Network(backbone=backbone, head=head)


def test_biases_and_normalisations_do_not_decay() -> None:
    net = normalised()
    assert names_by_decay(make_optimizer(decaying, net, weight_decay_on="matrices"), net) == {
        (0.5, 0.1): {"backbone.layers.0.0.weight", "head.logits.weight"},
        (0.5, 0.0): {
            *("backbone.layers.0.0.bias", "backbone.layers.0.1.weight", "backbone.layers.0.1.bias"),
            "head.logits.bias",
        },
    }
    everything = {name for name, _ in net.named_parameters()}
    assert names_by_decay(make_optimizer(decaying, net, weight_decay_on="all"), net) == {
        (0.5, 0.1): everything
    }


def test_rates_and_decay_are_told_apart() -> None:
    net = network()
    net.backbone.learning_rate_factors = {"layers.0.0.weight": 0.1, "layers.0.0.bias": 0.1}
    assert names_by_decay(make_optimizer(decaying, net, weight_decay_on="matrices"), net) == {
        (0.05, 0.1): {"backbone.layers.0.0.weight"},
        (0.05, 0.0): {"backbone.layers.0.0.bias"},
        (0.5, 0.1): {"backbone.layers.1.0.weight", "head.logits.weight"},
        (0.5, 0.0): {"backbone.layers.1.0.bias", "head.logits.bias"},
    }


def test_without_weight_decay_the_groups_are_not_cut() -> None:
    net = network()
    assert len(make_optimizer(sgd, net, weight_decay_on="matrices").param_groups) == 1


def test_a_step_without_gradients_shrinks_matrices_only() -> None:
    net = normalised()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(2.0)
            parameter.grad = torch.zeros_like(parameter)
    make_optimizer(decaying, net, weight_decay_on="matrices").step()
    for name, parameter in net.named_parameters():
        expected = 2.0 * (1 - 0.5 * 0.1) if parameter.ndim > 1 else 2.0
        torch.testing.assert_close(parameter, torch.full_like(parameter, expected), msg=name)
