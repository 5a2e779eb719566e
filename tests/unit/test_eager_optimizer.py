"""The optimisers without their guards take the same steps and keep the same state."""

import inspect

import pytest
import torch

from mlc.eager_optimizer import eager
from mlc.training.memory_light import RowAdagrad

KINDS = [
    kind
    for name, kind in vars(torch.optim).items()
    if inspect.isclass(kind) and name not in ("Optimizer", "SparseAdam", "LBFGS")
]


def trained(kind: type[torch.optim.Optimizer]) -> tuple[torch.Tensor, dict]:
    torch.manual_seed(0)
    weight = torch.nn.Parameter(torch.randn(4, 3))
    optimizer = kind([weight], lr=0.1)
    for _ in range(3):
        (weight.sin() * weight).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        assert weight.grad is None
        optimizer.load_state_dict(optimizer.state_dict())
    return weight.detach(), optimizer.state_dict()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_steps_and_state_equal_torchs(kind: type[torch.optim.Optimizer]):
    (own, own_state), (theirs, their_state) = trained(eager(kind)), trained(kind)
    assert torch.equal(own, theirs)
    torch.testing.assert_close(own_state, their_state, rtol=0, atol=0)


def test_lbfgs_calls_its_closure_with_gradients_on():
    weight = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
    optimizer = eager(torch.optim.LBFGS)([weight], line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = (weight - 1).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(weight.detach(), torch.ones(2))


def test_it_is_the_same_class_by_name_and_kind():
    kind = eager(torch.optim.AdamW)
    assert issubclass(kind, torch.optim.AdamW)
    assert (kind.__name__, kind.__module__) == ("AdamW", "torch.optim.adamw")
    assert eager(RowAdagrad).__module__ == RowAdagrad.__module__
    assert eager(torch.optim.AdamW) is kind
