"""Blocks of labels against the dense objective: every head and loss that can be taken in blocks."""

import copy

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mlc.backbones.flatten import Flatten
from mlc.backbones.mlp import MLP
from mlc.batch import Batch, LabelStatistics
from mlc.experiment.instantiate import make
from mlc.experiment.shipped import load_shipped
from mlc.heads.base import Head
from mlc.inputs import MAIN, InputSpec
from mlc.losses.base import Loss
from mlc.model import Network
from mlc.rows import LabelRows, SparseRows
from mlc.training.label_chunks import LabelChunks, cut_into_blocks, label_blocks
from mlc.training.label_update import BlockUpdate

B, D, L = 7, 5, 11
SPARSE = {MAIN: InputSpec("sparse", (D,))}
PAIRS = [
    ("sigmoid", "binary_cross_entropy", {}),
    (
        "sigmoid",
        "binary_cross_entropy",
        {"positive_weight": "balanced", "label_weight": "balanced", "label_smoothing": 0.2},
    ),
    ("sigmoid", "binary_cross_entropy", {"positive_weight": [0.5 + i / 4 for i in range(L)]}),
    *(
        ("sigmoid", loss, {})
        for loss in (
            *("focal", "asymmetric", "hill", "squared_error", "squared_hinge", "categorical_on_sigmoid"),
            *("absolute_kl", "negative_log_likelihood"),
        )
    ),
    ("softmax", "categorical_cross_entropy", {}),
    ("factorised", "factorised_kl_mse", {}),
    ("factorised_poisson", "factorised_kl_poisson", {}),
    ("factorised_negative_binomial", "factorised_kl_negative_binomial", {}),
    ("factorised_categorical", "factorised_kl_categorical", {"count_prior_weight": 0.5}),
]


def dense_targets(*, unknown: bool = False) -> Tensor:
    """Few true labels, an empty row, a label that is never true; `unknown`: some NaN, a row of NaN."""
    generator = torch.Generator().manual_seed(1)
    y_BL = (torch.rand(B, L, generator=generator) < 0.3).float()
    y_BL[2], y_BL[:, 4], y_BL[0, 10] = 0, 0, 1
    if unknown:
        y_BL[torch.rand(B, L, generator=generator) < 0.3] = torch.nan
        y_BL[5] = torch.nan
    return y_BL


def label_rows(y_BL: Tensor) -> LabelRows:
    """The same targets as sparse rows, with the entries of another row between them and one label twice."""
    ids, start, length = [3], [], []
    for y_L in y_BL:
        row = y_L.nonzero().squeeze(1).tolist()
        start.append(len(ids))
        ids += row + row[:1]
        length.append(len(row) + len(row[:1]))
    return LabelRows(torch.tensor(ids, dtype=torch.int32), torch.tensor(start), torch.tensor(length), L)


def sparse_inputs() -> SparseRows:
    """Rows of columns that may stand twice; row 3 is empty, and no row has column 0."""
    length_B = torch.tensor([3, 2, 4, 0, 1, 3, 2])
    generator = torch.Generator().manual_seed(2)
    ids_M = torch.randint(1, D, (int(length_B.sum()),), generator=generator)
    values_M = torch.randn(len(ids_M), generator=generator)
    return SparseRows(ids_M, length_B.cumsum(0) - length_B, length_B, values_M, D)


def network_and_loss(head: str, loss: str, options: dict, *, linear: bool = False) -> tuple[Network, Loss]:
    torch.manual_seed(0)
    y_BL = dense_targets()
    labels = LabelStatistics.from_targets(y_BL)
    backbone = (
        Flatten(inputs=SPARSE)
        if linear
        else MLP(inputs=SPARSE, widths=[6], input_dropout=0.0, dropout=0.0, norm="layer")
    )
    width = backbone.feature_sizes["pooled"]
    built = make(load_shipped("head", head), group="head", kind=Head)(in_features=width, labels=labels)
    node = {**load_shipped("loss", loss), **options}
    return (
        Network(backbone=backbone, head=built).double(),
        make(node, group="loss", kind=Loss)(labels=labels).double(),
    )


def in_blocks(network: Network, size: int) -> Network:
    cut = copy.deepcopy(network)
    cut_into_blocks(cut.head, size=size)
    return cut


def batch_of(
    inputs: SparseRows, y: Tensor | LabelRows, weight_B: Tensor | None = None, *, all_known: bool = False
) -> Batch:
    if isinstance(y, LabelRows):
        none_B0 = torch.empty(len(y), 0)
        return Batch(inputs={MAIN: inputs}, y_BL=none_B0, label_rows=y, weight_B=weight_B)
    return Batch(inputs={MAIN: inputs}, y_BL=y, weight_B=weight_B, all_known=all_known)


def gradients(network: Network) -> dict[str, Tensor]:
    """By the names of the dense network; blocks are put back together."""
    found = {}
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        if name.endswith("weight_KDC"):
            name = name.replace("weight_KDC", "weight")
            found[name] = parameter.grad.permute(0, 2, 1).flatten(0, 1)[:L]
        elif name.endswith("weight_DL"):
            found[name.replace("weight_DL", "weight")] = parameter.grad.T
        else:
            found[name.replace("bias_L", "bias")] = parameter.grad
    return found


def double(x_BD: SparseRows) -> SparseRows:
    return SparseRows(x_BD.ids_M, x_BD.start_N, x_BD.length_N, x_BD.numbers().double(), x_BD.width)


def doubled(x_BD: SparseRows) -> Tensor:
    """The same numbers in a tensor, entries that stand twice added in double precision."""
    row_M = torch.repeat_interleave(torch.arange(B), x_BD.length_N)
    dense_BD = torch.zeros(B, D, dtype=torch.float64)
    return dense_BD.index_put_((row_M, x_BD.ids_M), x_BD.numbers().double(), accumulate=True)


def compare(
    network: Network, loss: Loss, y: Tensor | LabelRows, *, size: int, weighted: bool, all_known: bool = False
) -> None:
    """Loss and gradients of the dense network in double precision, and those of its blocks."""
    linear = isinstance(network.backbone, Flatten)
    inputs = {MAIN: sparse_inputs() if linear else double(sparse_inputs())}
    weight_B = torch.tensor([1.0, 0.0, 2.5, 1, 0.3, 1, 1.2], dtype=torch.float64) if weighted else None
    y_BL = y if isinstance(y, Tensor) else y[torch.arange(B)]
    dense_inputs = {MAIN: doubled(sparse_inputs())} if linear else inputs
    expected = loss(network(dense_inputs), y_BL.double(), weight_B).mean()
    expected.backward()
    cut = in_blocks(network, size)
    chunks = LabelChunks(cut, loss, precision="fp32", update=None)
    value = chunks(batch_of(inputs[MAIN], y, weight_B, all_known=all_known))
    value.backward()
    # Counts are float32 in the dense head.
    tolerance = (
        {"rtol": 1e-5, "atol": 1e-6} if hasattr(network.head, "count") else {"rtol": 1e-9, "atol": 1e-12}
    )
    torch.testing.assert_close(value, expected.to(value.dtype), **tolerance)
    found, wanted = gradients(cut), gradients(network)
    assert found.keys() == wanted.keys()
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], **tolerance)


@pytest.mark.parametrize(("head", "loss", "options"), PAIRS, ids=lambda value: str(value)[:30])
def test_sparse_targets_have_the_dense_gradients(head, loss, options):
    network, loss = network_and_loss(head, loss, options)
    compare(network, loss, label_rows(dense_targets()), size=4, weighted=True)


@pytest.mark.parametrize(("head", "loss", "options"), PAIRS, ids=lambda value: str(value)[:30])
def test_unknown_targets_have_the_dense_gradients(head, loss, options):
    network, loss = network_and_loss(head, loss, options)
    compare(network, loss, dense_targets(unknown=True), size=4, weighted=False)


@pytest.mark.parametrize(("head", "loss", "options"), [PAIRS[1], PAIRS[11]], ids=str)
def test_dense_targets_that_are_known_have_the_dense_gradients(head, loss, options):
    network, loss = network_and_loss(head, loss, options)
    compare(network, loss, dense_targets(), size=4, weighted=True, all_known=True)


@pytest.mark.parametrize("size", [1, 3, 11])
@pytest.mark.parametrize(("head", "loss"), [PAIRS[0][:2], PAIRS[11][:2]])
def test_any_block_size(size, head, loss):
    network, loss = network_and_loss(head, loss, {})
    compare(network, loss, label_rows(dense_targets()), size=size, weighted=False)


@pytest.mark.parametrize(("head", "loss"), [PAIRS[0][:2], PAIRS[12][:2]])
def test_a_linear_backbone_leaves_sparse_rows_sparse(head, loss):
    network, loss = network_and_loss(head, loss, {}, linear=True)
    compare(network, loss, label_rows(dense_targets()), size=4, weighted=True)


def test_bf16_multiplies_in_bf16_and_comes_near():
    network, loss = network_and_loss(*PAIRS[0])
    network, loss = network.float(), loss.float()
    batch = batch_of(sparse_inputs(), label_rows(dense_targets()))
    cut = in_blocks(network, 4)
    exact = LabelChunks(cut, loss, precision="fp32", update=None)(batch)
    exact.backward()
    wanted = gradients(cut)
    cut = in_blocks(network, 4)
    low = LabelChunks(cut, loss, precision="bf16", update=None)(batch)
    low.backward()
    assert low.dtype == torch.float32
    assert low != exact
    torch.testing.assert_close(low, exact, rtol=0.02, atol=0)
    for name, gradient in gradients(cut).items():
        torch.testing.assert_close(gradient, wanted[name], rtol=0.1, atol=0.02)


def test_a_scaled_loss_scales_the_gradients():
    network, loss = network_and_loss(*PAIRS[0])
    batch = batch_of(double(sparse_inputs()), label_rows(dense_targets()))
    once, thrice = in_blocks(network, 4), in_blocks(network, 4)
    LabelChunks(once, loss, precision="fp32", update=None)(batch).backward()
    (3 * LabelChunks(thrice, loss, precision="fp32", update=None)(batch)).backward()
    wanted = gradients(once)
    for name, gradient in gradients(thrice).items():
        torch.testing.assert_close(gradient, 3 * wanted[name])


def test_no_tensor_of_all_labels_is_made():
    """The largest tensor that any operation of a step makes has B×C numbers, or those of a block."""
    wide, size = 400, 16
    labels = LabelStatistics.from_targets(torch.eye(2, wide))
    head = make(load_shipped("head", "sigmoid"), group="head", kind=Head)(in_features=D, labels=labels)
    network = Network(backbone=Flatten(inputs=SPARSE), head=head)
    loss = make(load_shipped("loss", "binary_cross_entropy"), group="loss", kind=Loss)(labels=labels)
    cut_into_blocks(head, size=size)
    optimizer = torch.optim.Adam(network.parameters(), fused=True)
    chunks = LabelChunks(
        network, loss, precision="fp32", update=BlockUpdate(optimizer, label_blocks(network.head))
    )
    y = LabelRows(torch.arange(B), torch.arange(B), torch.ones(B, dtype=torch.int64), wide)
    batch = batch_of(sparse_inputs(), y)
    chunks(batch).backward()  # makes the optimiser's state
    with LargestTensor() as seen:
        chunks(batch).backward()
    assert 0 < seen.numbers <= wide + size  # the gradient of the bias


class LargestTensor(TorchDispatchMode):
    """Sees how many numbers the largest tensor has that an operation newly makes."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        old = {t.untyped_storage().data_ptr() for t in args if isinstance(t, Tensor)}
        if isinstance(result, Tensor) and result.untyped_storage().data_ptr() not in old:
            self.numbers = max(self.numbers, result.numel())
        return result
