"""What all output models have in common, checked on each of them."""

import operator
from dataclasses import FrozenInstanceError, dataclass, field, fields

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree

from mlc.errors import UserError
from mlc.outputs.base import SHARED, LabelOutput, NotDefinedError, TensorStruct, concatenate, register_pytree
from mlc.outputs.calibrated import CalibratedLabels
from mlc.outputs.chain import LabelChain
from mlc.outputs.conditional_bernoulli import ConditionalBernoulli
from mlc.outputs.counts import CategoricalCount, CountModel, NegativeBinomialCount, PointCount, PoissonCount
from mlc.outputs.factorised import FactorisedCount
from mlc.outputs.independent import IndependentLabels
from mlc.outputs.label_sets import LabelSets
from mlc.outputs.levels import LabelLevels
from mlc.outputs.scores_only import ScoresOnly
from mlc.outputs.shares import LabelShares
from mlc.outputs.single_choice import SingleChoice

SETS = torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]], dtype=torch.bool)
LINKS = torch.tensor([[0.0, 0, 0, 0], [1, 0, 0, 0], [-2, 1, 0, 0], [0, 3, -1, 0]])
MAKERS = {
    "independent": IndependentLabels,
    "single choice": SingleChoice,
    "shares": LabelShares,
    "point count": lambda z: FactorisedCount(z, PointCount(z.exp().sum(1))),
    "poisson count": lambda z: FactorisedCount(z, PoissonCount(z.mean(1))),
    "negative binomial count": lambda z: FactorisedCount(z, NegativeBinomialCount(z.mean(1), z.amax(1))),
    "categorical count": lambda z: FactorisedCount(z, CategoricalCount(z[:, :3])),
    "conditional bernoulli": lambda z: ConditionalBernoulli(z, CategoricalCount(z[:, :3])),
    "scores only": lambda z: ScoresOnly(z, z.exp()),
    "levels": lambda z: LabelLevels(torch.stack((z, z.flip(1) / 2, z.exp()), dim=2)),
    "label sets": lambda z: LabelSets(z, SETS),
    "chain": lambda z: LabelChain(z, LINKS),
    "calibrated chain": lambda z: CalibratedLabels(2 * z - 1, LabelChain(z, LINKS)),
    "calibrated": lambda z: CalibratedLabels(2 * z - 1, FactorisedCount(z, PoissonCount(z.mean(1)))),
}
N_TENSORS = {
    **{"scores only": 2, "point count": 2, "poisson count": 2, "calibrated": 3, "negative binomial count": 3},
    **{"categorical count": 2, "conditional bernoulli": 2},
    **{"label sets": 2, "chain": 2, "calibrated chain": 3},
}


@pytest.fixture(params=list(MAKERS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def logits(rows: int = 6, *, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(rows, 4, generator=torch.Generator().manual_seed(0), dtype=dtype)


def leaves(value: LabelOutput) -> list[Tensor]:
    return _pytree.tree_leaves(value)


def assert_same(one: LabelOutput, other: LabelOutput) -> None:
    assert type(one) is type(other)
    assert type(one.model) is type(other.model)
    for a, b in zip(leaves(one), leaves(other), strict=True):
        assert torch.equal(a, b)


def test_score_logits_are_an_increasing_function_of_scores_over_the_whole_batch(name: str) -> None:
    output = MAKERS[name](logits(200, dtype=torch.float64))
    score_logits, order = output.score_logits().flatten().sort()
    scores = output.scores().flatten()[order]
    assert (score_logits.diff() > 0).all()
    assert (scores.diff() > 0).all()


def test_map_tensors_reaches_every_tensor(name: str) -> None:
    output = MAKERS[name](logits())
    doubled = output.map_tensors(Tensor.double, shared=True)
    assert type(doubled) is type(output)
    assert len(leaves(doubled)) == N_TENSORS.get(name, 1)
    for before, after in zip(leaves(output), leaves(doubled), strict=True):
        assert after.dtype == torch.float64
        assert torch.equal(after, before.double())


def test_rows_taken_apart_and_joined_are_the_same(name: str) -> None:
    output = MAKERS[name](logits())
    parts = [
        output.map_tensors(lambda t, rows=rows: t[rows]) for rows in (slice(2), slice(2, 3), slice(3, 6))
    ]
    assert_same(concatenate(parts), output)
    assert_same(concatenate([output]), output)


def test_detach_cuts_the_history(name: str) -> None:
    output = MAKERS[name](logits().requires_grad_())
    assert any(leaf.requires_grad for leaf in leaves(output))
    assert not any(leaf.requires_grad for leaf in leaves(output.detach()))
    assert_same(output.detach(), output)


def test_outputs_are_pytrees(name: str) -> None:
    output = MAKERS[name](logits())
    flat, spec = _pytree.tree_flatten(output)
    assert len(flat) == N_TENSORS.get(name, 1)
    assert all(isinstance(leaf, Tensor) for leaf in flat)
    assert_same(_pytree.tree_unflatten(flat, spec), output)


def test_outputs_pass_through_vmap(name: str) -> None:
    stacks = torch.stack((logits(), logits() - 1))
    scores = torch.func.vmap(lambda z: MAKERS[name](z).scores())(stacks)
    torch.testing.assert_close(scores, torch.stack([MAKERS[name](z).scores() for z in stacks]))
    mapped = torch.func.vmap(MAKERS[name])(stacks)
    assert_same(mapped.map_tensors(lambda t: t[1], shared=True), MAKERS[name](stacks[1]))


@register_pytree
@dataclass(frozen=True, eq=False)
class Inner(TensorStruct):
    b_B: Tensor
    table_LL: Tensor = field(metadata=SHARED)


@register_pytree
@dataclass(frozen=True, eq=False)
class Outer(TensorStruct):
    table_ML: Tensor = field(metadata=SHARED)
    a_BL: Tensor
    inner: Inner


def nested(rows: int, *, offset: float = 0) -> Outer:
    inner = Inner(torch.arange(rows) + offset, torch.eye(4) + offset)
    return Outer(torch.arange(8.0).view(2, 4) + offset, logits(rows) + offset, inner)


def test_row_selection_leaves_shared_tensors_alone() -> None:
    value = nested(6)
    chosen_B = torch.tensor([True, False, True, False, False, True])
    chosen = value.map_tensors(operator.itemgetter(chosen_B))
    assert torch.equal(chosen.a_BL, value.a_BL[chosen_B])
    assert chosen.inner.b_B.tolist() == [0, 2, 5]
    assert chosen.table_ML is value.table_ML
    assert chosen.inner.table_LL is value.inner.table_LL


def test_shared_tensors_are_mapped_on_request() -> None:
    doubled = nested(3).map_tensors(Tensor.double, shared=True)
    assert {leaf.dtype for leaf in _pytree.tree_leaves(doubled)} == {torch.float64}


def test_concatenate_takes_the_firsts_shared_tensors() -> None:
    one, other = nested(2), nested(3, offset=10)
    joined = concatenate([one, other])
    assert joined.a_BL.shape == (5, 4)
    assert joined.inner.b_B.tolist() == [0, 1, 10, 11, 12]
    assert joined.table_ML is one.table_ML
    assert joined.inner.table_LL is one.inner.table_LL


def test_detach_cuts_the_history_of_shared_tensors() -> None:
    links_LL = LINKS.clone().requires_grad_()
    output = CalibratedLabels(logits(), LabelChain(logits(), links_LL)).detach()
    assert not any(leaf.requires_grad for leaf in leaves(output))


def test_rows_do_not_influence_one_another(name: str) -> None:
    whole, half = MAKERS[name](logits()), MAKERS[name](logits()[3:])
    torch.testing.assert_close(whole.scores()[3:], half.scores())
    torch.testing.assert_close(whole.score_logits()[3:], half.score_logits())


@pytest.mark.parametrize("count", [PointCount(torch.ones(1)), PoissonCount(torch.tensor([1e4]))])
def test_score_logits_of_extreme_logits_are_finite(count: CountModel) -> None:
    z = torch.tensor([[1e4, -1e4, 0, 30]])
    chain, levels = LabelChain(z, torch.zeros(4, 4)), LabelLevels(torch.stack((torch.zeros_like(z), z), 2))
    outputs = [
        IndependentLabels(z),
        SingleChoice(z),
        LabelShares(z),
        FactorisedCount(z, count),
        chain,
        levels,
    ]
    for output in outputs:
        score_logits_BL = output.score_logits()
        assert torch.isfinite(score_logits_BL).all()
        assert torch.equal(score_logits_BL.argsort(), z.argsort())


def test_values_cannot_be_changed() -> None:
    output = IndependentLabels(logits())
    with pytest.raises(AttributeError):
        output.logits_BL = logits()  # type: ignore[misc]


def test_what_is_not_defined_is_a_users_mistake() -> None:
    assert issubclass(NotDefinedError, UserError)


def structs(value: TensorStruct) -> list[TensorStruct]:
    """The value and the values within it."""
    parts = [getattr(value, f.name) for f in fields(value)]  # type: ignore[arg-type]
    return [value, *(inner for part in parts if isinstance(part, TensorStruct) for inner in structs(part))]


def test_an_output_and_its_parts_equal_themselves_alone(name: str) -> None:
    # Tensors have no truth value: a comparison field by field could only raise.
    twins = zip(structs(MAKERS[name](logits())), structs(MAKERS[name](logits())), strict=True)
    assert all(one != other and one in [other, one] for one, other in twins)


def test_an_output_and_its_parts_are_frozen(name: str) -> None:
    for struct in structs(MAKERS[name](logits())):
        with pytest.raises(FrozenInstanceError):
            setattr(struct, fields(struct)[0].name, torch.zeros(1))  # type: ignore[arg-type]
