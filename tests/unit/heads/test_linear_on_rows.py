import copy

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from mlc.backbones.flatten import Flatten
from mlc.heads.linear_on_rows import LinearOnRows, let_read_rows, reads_rows
from mlc.heads.sigmoid import SigmoidHead
from mlc.inputs import InputSpec
from mlc.model import Auxiliary, Network
from mlc.rows import SparseRows
from tests.contract.grid import LABELS, TARGETS, build, build_loss, default_loss, names, statistics, target
from tests.unit.label_statistics import labels_with

FEW, MANY = 6, 200  # columns: of few the rows are made dense, of many they stay sparse
HEADS = [name for name in names("head") if target("head", name).reads == "pooled"]  # type: ignore[attr-defined]


def rows(width: int) -> SparseRows:
    """Sixteen rows of one to three columns, but for the second, which is empty; the last has one twice."""
    random = torch.Generator().manual_seed(0)
    length_B = 1 + torch.arange(16) % 3
    length_B[1] = 0
    ids_M = torch.randint(0, width, (int(length_B.sum()),), generator=random, dtype=torch.int32)
    ids_M[-1] = ids_M[-2] if length_B[-1] > 1 else ids_M[-1]
    values_M = torch.randn(len(ids_M), generator=random)
    return SparseRows(ids_M, length_B.cumsum(0) - length_B, length_B, values_M, width)


def by_hand(x: SparseRows) -> Tensor:
    x_BD = torch.zeros(len(x), x.width)
    entries = zip(x.ids_M.tolist(), x.numbers().tolist(), strict=True)
    for row, length in enumerate(x.length_N.tolist()):
        for _ in range(length):
            column, value = next(entries)
            x_BD[row, column] += value
    return x_BD


@pytest.mark.parametrize("width", [FEW, MANY])
def test_values_and_gradients_are_those_of_the_dense_layer(width: int) -> None:
    torch.manual_seed(0)
    linear = nn.Linear(width, 3)
    layer, x, toward = LinearOnRows(copy.deepcopy(linear)), rows(width), torch.randn(16, 3)
    expected = linear(by_hand(x))
    (expected * toward).sum().backward()
    for given in (x, by_hand(x)):
        found = layer(given)
        torch.testing.assert_close(found, expected)
        (found * toward).sum().backward()
        assert linear.weight.grad is not None
        assert layer.weight_DL.grad is not None
        assert not layer.weight_DL.grad.is_sparse
        torch.testing.assert_close(layer.weight_DL.grad, linear.weight.grad.T)
        torch.testing.assert_close(layer.bias.grad, linear.bias.grad)
        layer.zero_grad()


def test_it_starts_where_the_linear_layer_does_and_shows_its_weight() -> None:
    linear = nn.Linear(4, 3)
    layer = LinearOnRows(linear)
    assert (layer.in_features, layer.out_features) == (4, 3)
    assert torch.equal(layer.weight, linear.weight)
    assert torch.equal(layer.bias, linear.bias)
    assert layer.weight_DL.is_contiguous()
    with torch.no_grad():
        layer.weight[1] = torch.tensor([5.0, 6, 7, 8])
    assert layer.weight_DL[:, 1].tolist() == [5, 6, 7, 8]


def test_each_of_the_two_layers_reads_what_the_other_wrote() -> None:
    linear, layer = nn.Linear(4, 3), LinearOnRows(nn.Linear(4, 3))
    state = load(save({name: value.contiguous() for name, value in layer.state_dict().items()}))
    assert state.keys() == linear.state_dict().keys()
    linear.load_state_dict(state)
    assert torch.equal(linear.weight, layer.weight)
    other = copy.deepcopy(LinearOnRows(nn.Linear(4, 3)))
    other.load_state_dict(linear.state_dict())
    assert torch.equal(other.weight_DL, layer.weight_DL)
    assert torch.equal(other.bias, layer.bias)
    assert other.weight_DL.is_contiguous()


def test_a_state_of_another_shape_or_without_a_weight_is_refused() -> None:
    layer = LinearOnRows(nn.Linear(4, 3))
    with pytest.raises(RuntimeError, match="size mismatch"):
        layer.load_state_dict(nn.Linear(3, 4).state_dict())
    with pytest.raises(RuntimeError, match="weight_DL"):
        layer.load_state_dict({"bias": torch.zeros(3)})


@pytest.mark.parametrize("head", HEADS)
def test_every_head_gives_for_sparse_rows_what_it_gives_for_their_numbers(head: str) -> None:
    """Losses and gradients, with layers that read the rows and from the same start."""
    world = "levels" if head == "levels" else "several"
    y_BL = TARGETS["several"]
    loss, x = build_loss(default_loss(head), world), rows(MANY)
    gradients: list[dict[str, Tensor | None]] = []
    losses: list[Tensor] = []
    for kind, given in (("sparse", x), ("numbers", by_hand(x))):
        torch.manual_seed(0)
        built = build("head", head, in_features=MANY, labels=statistics(y_BL))
        network = Network(backbone=Flatten(inputs={"x": InputSpec(kind, (MANY,))}), head=built)  # type: ignore[arg-type]
        kept = any(isinstance(part, LinearOnRows) for part in network.modules())
        assert kept == (kind == "sparse" and head != "label_networks")
        losses.append(loss(network({"x": given}), y_BL))
        losses[-1].sum().backward()
        gradients.append({name: parameter.grad for name, parameter in network.named_parameters()})
    torch.testing.assert_close(losses[0], losses[1])
    for (name, found), expected in zip(gradients[0].items(), gradients[1].values(), strict=True):
        assert found is not None
        torch.testing.assert_close(found.T if name.endswith("weight_DL") else found, expected)


def test_an_auxiliary_head_reads_them_too() -> None:
    labels = labels_with([1.0] * LABELS, rows=9)
    heads = [SigmoidHead(in_features=MANY, labels=labels, prior_bias=False) for _ in range(2)]
    loss = build_loss("binary_cross_entropy", "several")
    beside = Auxiliary(feature="pooled", head=heads[1], loss=loss, weight=1)
    network = Network(
        backbone=Flatten(inputs={"x": InputSpec("sparse", (MANY,))}), head=heads[0], auxiliary=beside
    )
    x = rows(MANY)
    main, auxiliary = network.training_outputs({"x": x})
    assert auxiliary is not None
    for head, output in zip(heads, (main, auxiliary), strict=True):
        layer: nn.Module = head.logits
        assert isinstance(layer, LinearOnRows)
        expected = by_hand(x) @ layer.weight.T + layer.bias
        torch.testing.assert_close(output.score_logits(), expected)


def test_a_head_whose_layer_is_dense_is_given_numbers() -> None:
    labels = labels_with([1.0] * LABELS, rows=9)
    head = SigmoidHead(in_features=MANY, labels=labels, prior_bias=False)
    assert not reads_rows(head)
    let_read_rows(head)
    assert reads_rows(head)
    layer = head.logits
    let_read_rows(head)
    assert head.logits is layer
    network = Network(backbone=Flatten(inputs={"x": InputSpec("sparse", (MANY,))}), head=head)
    expected = network({"x": rows(MANY)}).score_logits()
    head.logits = nn.Linear(MANY, LABELS)
    head.logits.load_state_dict(layer.state_dict())
    torch.testing.assert_close(network({"x": rows(MANY)}).score_logits(), expected)
