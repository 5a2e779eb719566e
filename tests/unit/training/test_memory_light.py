"""Memory-light optimisers against their equations, written out in double precision."""

import pytest
import torch
from torch import Tensor, nn

from mlc.rows import RowPerInput
from mlc.training.memory_light import Adafactor, BlockedWeight, LightAdam, RowAdagrad

ADAFACTOR = {"lr": 0.01, "decay_power": 0.8, "clip": 1.0, "weight_decay": 0.0}


def gradients(*shape: int, steps: int = 5) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for _ in range(steps)]


def train(optimizer: torch.optim.Optimizer, parameter: Tensor, steps: list[Tensor]) -> None:
    for gradient in steps:
        parameter.grad = gradient.clone()
        optimizer.step()


def test_row_adagrad_has_one_step_size_per_output():
    weight = nn.Parameter(torch.zeros(3, 4))  # three outputs, as in nn.Linear
    steps = gradients(3, 4)
    train(RowAdagrad(params=[weight], lr=0.1, eps=1e-10), weight, steps)
    expected, sum_3 = torch.zeros(3, 4), torch.zeros(3)
    for gradient in steps:
        sum_3 += gradient.square().mean(1)
        expected -= 0.1 * gradient / sum_3.sqrt()[:, None]
    torch.testing.assert_close(weight.detach(), expected)


def test_row_adagrad_of_a_bias_is_adagrad():
    bias, other = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))
    train(RowAdagrad(params=[bias], lr=0.1, eps=1e-10), bias, gradients(4))
    train(torch.optim.Adagrad([other], lr=0.1), other, gradients(4))
    torch.testing.assert_close(bias, other)


def test_adafactor_follows_its_equations():
    weight = nn.Parameter(torch.ones(3, 4))
    steps = gradients(3, 4)
    train(Adafactor(params=[weight], lr=0.01, decay_power=0.8, clip=0.7, weight_decay=0.1), weight, steps)
    expected, rows, columns = torch.ones(3, 4), torch.zeros(3), torch.zeros(4)
    for t, gradient in enumerate(steps, start=1):
        beta = 1 - t**-0.8
        rows = beta * rows + (1 - beta) * gradient.square().mean(1)
        columns = beta * columns + (1 - beta) * gradient.square().mean(0)
        step = gradient / torch.sqrt(torch.outer(rows, columns) / rows.mean())
        step /= max(1.0, float(step.square().mean().sqrt()) / 0.7)
        expected = expected * (1 - 0.01 * 0.1) - 0.01 * step
    torch.testing.assert_close(weight.detach(), expected)


def test_light_adam_stays_near_adam_with_half_the_state():
    weight, other = nn.Parameter(torch.zeros(50, 40)), nn.Parameter(torch.zeros(50, 40))
    steps = gradients(50, 40, steps=60)
    light = LightAdam(params=[weight], lr=0.01, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.1)
    train(light, weight, steps)
    train(torch.optim.AdamW([other], lr=0.01, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.1), other, steps)
    assert {value.dtype for value in light.state[weight].values() if isinstance(value, Tensor)} == {
        torch.bfloat16
    }
    error = (weight - other).detach()
    assert error.square().mean().sqrt() < 0.02 * other.detach().square().mean().sqrt()
    assert abs(error.mean()) < 1e-4


def test_light_adams_second_moment_decays_though_bfloat16_has_three_digits():
    weight = nn.Parameter(torch.zeros(100, 100))
    light = LightAdam(params=[weight], lr=0.0001, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.0)
    train(light, weight, [torch.ones(100, 100), *[torch.zeros(100, 100)] * 100])
    square = light.state[weight]["square"].float().mean()
    assert square == pytest.approx(0.001 * 0.999**100, rel=0.01)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: LightAdam(params=p, lr=0.01, betas=[0.9, 0.999], eps=1e-8, weight_decay=0.0),
        lambda p: RowAdagrad(params=p, lr=0.1, eps=1e-10),
        lambda p: Adafactor(params=p, lr=0.01, decay_power=0.8, clip=1.0, weight_decay=0.0),
    ],
)
def test_goes_on_from_a_checkpoint_bit_for_bit(make):
    straight, resumed = nn.Parameter(torch.zeros(6, 5)), nn.Parameter(torch.zeros(6, 5))
    steps = gradients(6, 5, steps=6)
    train(make([straight]), straight, steps)
    first = make([resumed])
    train(first, resumed, steps[:3])
    second = make([resumed])
    second.load_state_dict(first.state_dict())
    assert [v.dtype for v in second.state[resumed].values() if isinstance(v, Tensor)] == [
        v.dtype for v in first.state[resumed].values() if isinstance(v, Tensor)
    ]
    train(second, resumed, steps[3:])
    assert torch.equal(straight, resumed)


def test_the_blocks_of_a_weight_are_treated_one_by_one():
    """As if each block were the weight of a layer of its own."""
    blocks_KDC = BlockedWeight(torch.zeros(2, 5, 3))
    layers = [nn.Parameter(torch.zeros(3, 5)) for _ in range(2)]
    train(Adafactor(params=[blocks_KDC], **ADAFACTOR), blocks_KDC, gradients(2, 5, 3))
    for block, layer in enumerate(layers):
        train(Adafactor(params=[layer], **ADAFACTOR), layer, [g[block].T for g in gradients(2, 5, 3)])
        torch.testing.assert_close(blocks_KDC[block].T, layer)


@pytest.mark.parametrize(
    "make",
    [lambda p: RowAdagrad(params=[p], lr=0.1, eps=1e-10), lambda p: Adafactor(params=[p], **ADAFACTOR)],
)
def test_a_weight_for_sparse_rows_is_that_of_a_dense_layer_turned_around(make):
    weight_LD, weight_DL = nn.Parameter(torch.ones(3, 4)), RowPerInput(torch.ones(4, 3))
    train(make(weight_LD), weight_LD, gradients(3, 4))
    train(make(weight_DL), weight_DL, [gradient.T for gradient in gradients(3, 4)])
    torch.testing.assert_close(weight_DL.T, weight_LD)


def test_pictures_in_channels_last_are_changed_in_place():
    plain, last = (nn.Parameter(torch.ones(3, 2, 4, 4)) for _ in range(2))
    last.data = last.data.to(memory_format=torch.channels_last)
    train(RowAdagrad(params=[plain], lr=0.1, eps=1e-10), plain, gradients(3, 2, 4, 4))
    train(RowAdagrad(params=[last], lr=0.1, eps=1e-10), last, gradients(3, 2, 4, 4))
    torch.testing.assert_close(plain, last)
