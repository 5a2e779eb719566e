from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC
from torch import Tensor

from mlc.backbones.flatten import Flatten
from mlc.backbones.mlp import MLP
from mlc.batch import LabelStatistics
from mlc.data.dataset import Input, Split, input_spec
from mlc.errors import UserError
from mlc.heads.binary_softmax import BinarySoftmaxHead
from mlc.heads.sigmoid import SigmoidHead
from mlc.inputs import InputSpec
from mlc.model import Network
from mlc.rows import LabelRows, SparseRows, TokenRows
from mlc.training.linear_baseline import LinearBaseline, fit_linear

ROWS, FEATURES, LABELS = 40, 5, 3
NAN = float("nan")


def settings(model: Any = "svm", *, cost: float = 1.0, balanced: bool = False) -> LinearBaseline:
    return LinearBaseline(
        model=model,
        cost=cost,
        balanced=balanced,
        eval_batch_size=8,
        device="cpu",
        separate_fit=False,
        memory_limit_mb=10.0,
    )


def split(**changes: Any) -> Split:
    """Half of the numbers are 0; labels are linear up to noise."""
    generator = torch.Generator().manual_seed(0)
    x_ND = torch.randn(ROWS, FEATURES, generator=generator).relu()
    noise_NL = torch.randn(ROWS, LABELS, generator=generator)
    y_NL = (x_ND @ torch.randn(FEATURES, LABELS, generator=generator) + noise_NL > 0.2).float()
    return Split(**({"inputs": {"x": x_ND}, "y_NL": y_NL} | changes))


def network(inputs: Mapping[str, InputSpec] | None = None) -> Network:
    backbone = Flatten(inputs=inputs or {"x": InputSpec("numbers", (FEATURES,))})
    labels = LabelStatistics.from_targets(split().y_NL)
    head = SigmoidHead(in_features=backbone.feature_sizes["pooled"], labels=labels, prior_bias=True)
    return Network(backbone=backbone, head=head)


def fitted(train: Split, its: LinearBaseline | None = None) -> tuple[Tensor, Tensor]:
    """Weights and biases after fitting."""
    net = network()
    fit_linear(net, train, its or settings())
    assert isinstance(net.head, SigmoidHead)
    return net.head.logits.weight.detach(), net.head.logits.bias.detach()


def reference(model: str, *, cost: float, balanced: bool) -> LinearSVC | LogisticRegression:
    weights = "balanced" if balanced else None
    if model == "svm":
        return LinearSVC(C=cost, class_weight=weights, random_state=0)
    return LogisticRegression(C=cost, class_weight=weights, solver="liblinear")


@pytest.mark.parametrize("model", ["svm", "logistic"])
@pytest.mark.parametrize(("cost", "balanced"), [(1.0, False), (0.1, True)])
def test_each_label_has_the_weights_that_scikit_learn_finds(model: str, cost: float, balanced: bool) -> None:
    train = split()
    weight_LD, bias_L = fitted(train, settings(model, cost=cost, balanced=balanced))
    for label in range(LABELS):
        expected = reference(model, cost=cost, balanced=balanced)
        expected.fit(train.inputs["x"].numpy(), train.y_NL[:, label].numpy())  # type: ignore[union-attr]
        # liblinear stops a little away from the optimum, and where depends on the type of the numbers.
        np.testing.assert_allclose(weight_LD[label], expected.coef_[0], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(bias_L[label], expected.intercept_[0], rtol=1e-3, atol=1e-4)


def test_unknown_targets_are_left_out() -> None:
    train = split()
    y_NL = train.y_NL.clone()  # type: ignore[union-attr]
    y_NL[:10, 1] = NAN
    weight_LD, bias_L = fitted(split(y_NL=y_NL))
    whole_LD, _ = fitted(train)
    rest_LD, rest_L = fitted(train.rows(torch.arange(10, ROWS)))
    assert torch.equal(weight_LD[[0, 2]], whole_LD[[0, 2]])
    assert not torch.allclose(weight_LD[1], whole_LD[1], rtol=1e-3)
    assert torch.equal(weight_LD[1], rest_LD[1])
    assert bias_L[1] == rest_L[1]


def test_inputs_are_not_copied_where_all_is_known_and_sparse_targets_are_read_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []
    reads: list[int] = []
    fit, places = LinearSVC.fit, LabelRows.places

    def seeing(self: LinearSVC, x: Any, *rest: Any, **options: Any) -> Any:
        seen.append(x)
        return fit(self, x, *rest, **options)

    def reading(self: LabelRows, rows: Tensor) -> Any:
        reads.append(len(rows))
        return places(self, rows)

    monkeypatch.setattr(LinearSVC, "fit", seeing)
    monkeypatch.setattr(LabelRows, "places", reading)
    train = split()
    assert isinstance(train.y_NL, Tensor)
    row_of, ids_M = train.y_NL.nonzero(as_tuple=True)
    length_N = torch.bincount(row_of, minlength=ROWS)
    fitted(split(y_NL=LabelRows(ids_M, length_N.cumsum(0) - length_N, length_N, LABELS)))
    assert len(seen) == LABELS
    assert all(x is seen[0] for x in seen)
    assert reads == [ROWS]


@pytest.mark.parametrize("model", ["svm", "logistic"])
def test_weight_two_is_a_row_twice_and_weight_zero_is_no_row(model: str) -> None:
    weight_N = torch.arange(ROWS) % 3
    train, rows = split(), torch.arange(ROWS).repeat_interleave(weight_N)
    weighted = fitted(split(weight_N=weight_N.float()), settings(model))
    for found, expected in zip(weighted, fitted(train.rows(rows), settings(model)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-3)
    assert not torch.allclose(weighted[0], fitted(train, settings(model))[0], rtol=0.05)


def test_a_label_that_is_always_or_never_true_has_no_weights() -> None:
    y_NL = split().y_NL.clone()  # type: ignore[union-attr]
    y_NL[:, 0], y_NL[:, 1] = 1, 0
    y_NL[3, 0] = y_NL[4, 1] = NAN
    weight_LD, bias_L = fitted(split(y_NL=y_NL))
    assert not weight_LD[:2].any()
    assert weight_LD[2].all()
    assert bias_L[:2].sigmoid().tolist() == pytest.approx([1 - 1e-6, 1e-6], rel=0.1)


def test_a_label_that_is_known_nowhere_is_taken_as_never_true() -> None:
    y_NL = split().y_NL.clone()  # type: ignore[union-attr]
    y_NL[:, 1] = NAN
    weight_LD, bias_L = fitted(split(y_NL=y_NL))
    assert not weight_LD[1].any()
    assert bias_L[1] < -10


def sparse(x_ND: Tensor) -> SparseRows:
    row_of, ids_M = x_ND.nonzero(as_tuple=True)
    length_N = torch.bincount(row_of, minlength=len(x_ND))
    return SparseRows(ids_M, length_N.cumsum(0) - length_N, length_N, x_ND[row_of, ids_M], x_ND.shape[1])


def test_sparse_numbers_and_sparse_targets_give_what_dense_ones_give() -> None:
    train = split()
    assert isinstance(train.y_NL, Tensor)
    row_of, ids_M = train.y_NL.nonzero(as_tuple=True)
    length_N = torch.bincount(row_of, minlength=ROWS)
    y_NL = LabelRows(ids_M, length_N.cumsum(0) - length_N, length_N, LABELS)
    rows = torch.arange(3, ROWS)  # views: the flat tensors hold more than is trained on
    both = split(inputs={"x": sparse(train.inputs["x"])}, y_NL=y_NL).rows(rows)  # type: ignore[arg-type]
    for found, expected in zip(fitted(both), fitted(train.rows(rows)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_the_network_gives_what_scikit_learn_decides() -> None:
    train, net = split(), network()
    fit_linear(net, train, settings())
    x_ND = train.inputs["x"].numpy()  # type: ignore[union-attr]
    for label in range(LABELS):
        expected = LinearSVC(random_state=0).fit(x_ND, train.y_NL[:, label].numpy())
        logit_N = net(train.inputs).logits_BL[:, label].detach()
        np.testing.assert_allclose(logit_N, expected.decision_function(x_ND), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("make_sparse", [False, True])
def test_side_inputs_stand_behind_the_main_input(make_sparse: bool) -> None:
    """As in the backbone that joins them, and whatever the order of the mapping."""
    x_ND = split().inputs["x"]
    assert isinstance(x_ND, Tensor)
    main: Input = sparse(x_ND[:, :3]) if make_sparse else x_ND[:, :3]
    both = fitted(split(inputs={"numbers": x_ND[:, 3:], "x": main}))
    for found, expected in zip(both, fitted(split()), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_what_is_not_linear_is_refused() -> None:
    train, labels = split(), LabelStatistics.from_targets(split().y_NL)
    inputs = {"x": input_spec(train.inputs["x"])}
    head = BinarySoftmaxHead(in_features=FEATURES, labels=labels, prior_bias=True)
    with pytest.raises(UserError, match="fits head=sigmoid"):
        fit_linear(Network(backbone=Flatten(inputs=inputs), head=head), train, settings())
    backbone = MLP(inputs=inputs, widths=[7], input_dropout=0.0, dropout=0.0, norm="none")
    wide = SigmoidHead(in_features=7, labels=labels, prior_bias=True)
    with pytest.raises(UserError, match="fits backbone=linear"):
        fit_linear(Network(backbone=backbone, head=wide), train, settings())


def test_texts_as_tokens_are_refused() -> None:
    spec = InputSpec("tokens", (9,), vocabulary=4)
    tokens = TokenRows(torch.ones(ROWS, dtype=torch.long), torch.arange(ROWS), torch.ones(ROWS).long(), spec)
    with pytest.raises(UserError, match="text=tfidf, not tokens"):
        fit_linear(network(), split(inputs={"x": tokens}), settings())


def test_it_is_one_epoch_of_fixed_settings() -> None:
    assert (settings().max_epochs, settings().patience, settings().sampling) == (1, None, "all")
    with pytest.raises(TypeError, match="max_epochs"):
        LinearBaseline(max_epochs=3)  # type: ignore[call-arg]
