"""What is true of every head."""

from collections.abc import Callable

import torch
from safetensors.torch import load, save
from torch import Tensor

from mlc.heads.base import Head

MakeHead = Callable[[], Head]


def log_prob(head: Head, features: Tensor, y_BL: Tensor) -> Tensor:
    return head(features).log_prob(y_BL)


def check_gradient_reaches_every_parameter(make: MakeHead, features: Tensor, y_BL: Tensor) -> None:
    head = make()
    features = features.clone().requires_grad_()
    log_prob(head, features, y_BL).sum().backward()
    assert features.grad is not None
    assert features.grad.flatten(1).any(1).all()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


def check_each_row_is_its_own(make: MakeHead, features: Tensor, y_BL: Tensor) -> None:
    head = scrambled(make())
    alone = [log_prob(head, row[None], y_L[None]) for row, y_L in zip(features, y_BL, strict=True)]
    torch.testing.assert_close(torch.cat(alone), log_prob(head, features, y_BL))


def check_a_saved_head_is_the_same_head(make: MakeHead, features: Tensor, y_BL: Tensor) -> None:
    saved, other = scrambled(make()), make()
    expected = log_prob(saved, features, y_BL)
    assert not torch.equal(log_prob(other.eval(), features, y_BL), expected)
    other.load_state_dict(load(save(saved.state_dict())))
    assert torch.equal(log_prob(other, features, y_BL), expected)


def scrambled(head: Head) -> Head:
    """The head in evaluation, with other parameters than any start would give."""
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(7)))
    return head.eval()


EVERY_CHECK = [
    check_gradient_reaches_every_parameter,
    check_each_row_is_its_own,
    check_a_saved_head_is_the_same_head,
]
