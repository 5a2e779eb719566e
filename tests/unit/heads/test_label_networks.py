from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlc.heads.label_networks import LabelNetworks, StackedLayerNorm, StackedLinear
from mlc.outputs.independent import IndependentLabels
from tests.unit.heads.checks import EVERY_CHECK
from tests.unit.label_statistics import labels_with

LABELS = labels_with([1.0, 50.0, 98.0], rows=99)
EVERY_NORM = pytest.mark.parametrize("norm", ["none", "layer"])


def head(positives: list[float] | None = None, **options: Any) -> LabelNetworks:
    torch.manual_seed(0)
    chosen: dict[str, Any] = {"widths": [8, 6], "dropout": 0.0, "norm": "none", "prior_bias": True} | options
    labels = labels_with(positives, rows=99) if positives else LABELS
    return LabelNetworks(in_features=5, labels=labels, **chosen)


def data(rows: int = 40) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    x_BD = torch.randn(rows, 5, generator=random)
    return x_BD, (x_BD @ torch.randn(5, 3, generator=random) > 0.3).float()


def train(model: nn.Module, x_BD: Tensor, y_BL: Tensor, optimizer: type[torch.optim.Optimizer]) -> None:
    """20 steps on batches of 8, of the loss summed over the labels there are."""
    steps = optimizer(model.parameters(), lr=0.01)  # type: ignore[call-arg]
    for step in range(20):
        batch = slice(8 * (step % 5), 8 * (step % 5) + 8)
        output = model(x_BD[batch])
        logits_BL = output.logits_BL if isinstance(output, IndependentLabels) else output
        loss_BL = F.binary_cross_entropy_with_logits(logits_BL, y_BL[batch], reduction="none")
        steps.zero_grad()
        loss_BL.sum(1).mean().backward()
        steps.step()


@EVERY_NORM
@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
def test_together_they_learn_what_each_learns_alone(
    norm: str, optimizer: type[torch.optim.Optimizer]
) -> None:
    together = head(norm=norm)
    alone = [together.single(label) for label in range(3)]
    start_BL = together(data()[0]).logits_BL.detach()
    x_BD, y_BL = data()
    train(together, x_BD, y_BL, optimizer)
    for label, network in enumerate(alone):
        train(network, x_BD, y_BL[:, label : label + 1], optimizer)
    end_BL = torch.cat([network(x_BD) for network in alone], dim=1)
    torch.testing.assert_close(together(x_BD).logits_BL, end_BL, rtol=0, atol=1e-5)
    assert (end_BL - start_BL).abs().max() > 1e-2  # they did learn
    for label, network in enumerate(alone):
        learnt = together.single(label).state_dict()
        for name, value in network.state_dict().items():
            torch.testing.assert_close(learnt[name], value, rtol=0, atol=1e-5)


@EVERY_NORM
def test_a_single_network_is_plain_torch_and_a_copy(norm: str) -> None:
    model, (x_BD, _) = head(norm=norm, dropout=0.5).eval(), data()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    before_BL = model(x_BD).logits_BL
    singles = [model.single(label).eval() for label in range(3)]
    torch.testing.assert_close(torch.cat([one(x_BD) for one in singles], dim=1), before_BL)
    hidden = [nn.Linear, *([nn.LayerNorm] if norm == "layer" else []), nn.ReLU, nn.Dropout]
    assert [type(layer) for layer in singles[0]] == [*hidden, *hidden, nn.Linear]
    with torch.no_grad():
        for parameter in singles[0].parameters():
            parameter.zero_()
    assert torch.equal(model(x_BD).logits_BL, before_BL)


def test_networks_share_nothing() -> None:
    model, (x_BD, _) = head(norm="layer"), data()
    model(x_BD).logits_BL[:, 1].sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.flatten(1).any(1).tolist() == [False, True, False], name


def test_a_networks_start_does_not_depend_on_how_many_labels_there_are() -> None:
    three, two = head(), head([1.0, 50.0])
    for name, value in two.state_dict().items():
        assert torch.equal(three.state_dict()[name][:2], value), name


def test_starts_differ_between_labels_and_between_seeds() -> None:
    model = head(prior_bias=False)
    torch.manual_seed(1)
    other = LabelNetworks(
        in_features=5, labels=LABELS, widths=[8, 6], dropout=0.0, norm="none", prior_bias=False
    )
    starts = [m.layers[0].weight_LDE[label] for m in (model, other) for label in range(3)]
    assert len({tuple(start.flatten().tolist()) for start in starts}) == 6


def test_layers_start_as_torchs_own() -> None:
    generators = [torch.Generator().manual_seed(label) for label in range(20)]
    layer = StackedLinear(fan_in=25, fan_out=40, generators=generators)
    for parameter in (layer.weight_LDE, layer.bias_L1E):
        assert parameter.abs().max().item() == pytest.approx(0.2, rel=0.01)
        assert parameter.mean().item() == pytest.approx(0, abs=0.01)
        assert parameter.std().item() == pytest.approx(0.2 / 3**0.5, rel=0.05)
    norm = StackedLayerNorm(width=4, n_labels=2)
    x_LBD = torch.randn(2, 3, 4)
    torch.testing.assert_close(norm(x_LBD), nn.LayerNorm(4)(x_LBD))


def test_building_draws_one_number_from_the_global_generator() -> None:
    head(widths=[4])
    after_small = torch.rand(1)
    head(widths=[16, 16])
    assert torch.equal(torch.rand(1), after_small)


def test_prior_bias_starts_around_the_training_frequencies() -> None:
    model = head()
    with torch.no_grad():
        model.layers[-1].weight_LDE.zero_()  # type: ignore[union-attr, operator]
    p_L = model(torch.randn(1, 5)).marginals()[0]
    assert p_L.tolist() == pytest.approx([1.5 / 100, 50.5 / 100, 98.5 / 100], rel=1e-5)


def test_without_hidden_layers_it_is_logistic_regression() -> None:
    model, (x_BD, _) = head(widths=[]), data()
    (layer,) = model.layers
    expected = torch.einsum("bd,lde->ble", x_BD, layer.weight_LDE)[:, :, 0] + layer.bias_L1E[:, 0, 0]
    torch.testing.assert_close(model(x_BD).logits_BL, expected)


def test_dropout_is_drawn_for_each_network() -> None:
    model, (x_BD, _) = head(dropout=0.5), data()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter[:1].expand_as(parameter))  # three equal networks
    logits_BL = model(x_BD).logits_BL
    assert not torch.equal(logits_BL[:, 0], logits_BL[:, 1])
    logits_BL = model.eval()(x_BD).logits_BL
    torch.testing.assert_close(logits_BL[:, 0], logits_BL[:, 1])


def test_the_input_is_not_changed() -> None:
    x_BD, _ = data()
    before = x_BD.clone()
    head(norm="layer")(x_BD)
    assert torch.equal(x_BD, before)


@EVERY_NORM
@pytest.mark.parametrize("check", EVERY_CHECK)
def test_as_every_head(check, norm: str) -> None:  # type: ignore[no-untyped-def]
    check(lambda: head(norm=norm), *data(6))
