"""The step taken inside the pass against the optimiser's own step on the same gradients."""

import copy

import pytest
import torch
from torch import Tensor, nn

from mlc.errors import UserError
from mlc.training.label_layer import LabelBlocks
from mlc.training.label_update import BlockUpdate, can_update_blocks, keep_blocks
from mlc.training.memory_light import Adafactor, LightAdam, RowAdagrad

MAKERS = {
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
    "adam_decayed": lambda p: torch.optim.Adam(p, lr=0.01, weight_decay=0.1, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.8, 0.99), weight_decay=0.1, fused=True),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1, lr_decay=0.1, initial_accumulator_value=0.2),
    "light_adam": lambda p: LightAdam(params=p, lr=0.01, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.1),
    "row_adagrad": lambda p: RowAdagrad(params=p, lr=0.1, eps=1e-10),
    "adafactor": lambda p: Adafactor(params=p, lr=0.01, decay_power=0.8, clip=1.0, weight_decay=0.1),
}


def gradient(step: int) -> Tensor:
    return torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(step))


def own_steps(optimizer: torch.optim.Optimizer, layer: LabelBlocks, steps: range) -> None:
    for step in steps:
        layer.weight_KDC.grad = gradient(step)
        optimizer.param_groups[0]["lr"] *= 0.9  # as a schedule does
        optimizer.step()
        optimizer.zero_grad()


def steps_in_pass(optimizer: torch.optim.Optimizer, layer: LabelBlocks, steps: range) -> None:
    update = BlockUpdate(optimizer, layer)
    for step in steps:
        optimizer.param_groups[0]["lr"] *= 0.9
        update.begin()
        for block, gradient_DC in enumerate(gradient(step)):
            update(block, gradient_DC)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
def test_is_the_optimisers_step_and_goes_on_from_its_state(make):
    whole = LabelBlocks(nn.Linear(5, 12), size=4)
    blocks = copy.deepcopy(whole)
    first, second = make([whole.weight_KDC]), make([blocks.weight_KDC])
    own_steps(first, whole, range(3))
    steps_in_pass(second, blocks, range(3))
    torch.testing.assert_close(blocks.weight_KDC, whole.weight_KDC)
    # Through a checkpoint, one goes on from what the other left.
    resumed = make([blocks.weight_KDC])
    resumed.load_state_dict(copy.deepcopy(first.state_dict()))
    steps_in_pass(resumed, blocks, range(3, 5))
    own_steps(first, whole, range(3, 5))
    torch.testing.assert_close(blocks.weight_KDC, whole.weight_KDC)


def test_some_optimisers_cannot():
    parameters = [nn.Parameter(torch.zeros(2, 2))]
    assert can_update_blocks(torch.optim.AdamW(parameters))
    assert not can_update_blocks(torch.optim.RMSprop(parameters))
    assert not can_update_blocks(torch.optim.Adam(parameters, amsgrad=True))
    assert not can_update_blocks(torch.optim.SGD(parameters, momentum=0.9, dampening=0.1))


def test_a_state_of_other_blocks_is_refused():
    layer, other = (LabelBlocks(nn.Linear(5, 12), size=size) for size in (4, 6))
    optimizer, fresh = torch.optim.Adam(layer.parameters()), torch.optim.Adam(other.parameters())
    keep_blocks(optimizer, layer)
    optimizer.load_state_dict(optimizer.state_dict())
    keep_blocks(fresh, other)
    with pytest.raises(UserError, match=r"trainer\.label_chunk=4.*trainer\.label_chunk=6"):
        fresh.load_state_dict(optimizer.state_dict())
