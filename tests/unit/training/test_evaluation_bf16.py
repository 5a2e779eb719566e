"""Evaluation with the layers in bf16."""

import pytest
import torch

from mlc.training.evaluation import forward, predict_split
from tests.contract.grid import FITTING_PAIRS, Pair, inputs
from tests.unit.training import tiny

ROWS = 40


def test_bf16_runs_the_layers_in_bf16_and_gives_float32() -> None:
    network, x = tiny.network().eval(), tiny.split(ROWS).inputs
    dtypes = []
    hook = network.head.register_forward_hook(lambda _, __, output: dtypes.append(output.logits_BL.dtype))
    half, full = forward(network, x, precision="bf16"), forward(network, x, precision="fp32")
    hook.remove()
    assert dtypes == [torch.bfloat16, torch.float32]
    assert half.logits_BL.dtype == full.logits_BL.dtype == torch.float32
    assert not torch.equal(half.logits_BL, full.logits_BL)
    torch.testing.assert_close(half.logits_BL, full.logits_BL, atol=0.05, rtol=0.05)
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


@pytest.mark.parametrize("pair", FITTING_PAIRS, ids=str)
def test_bf16_gives_float32_for_every_head_and_trains(pair: Pair) -> None:
    network = pair.make_network()
    output = forward(network, {"x": inputs()}, precision="bf16")
    output.map_tensors(
        lambda values: pytest.fail(str(values.dtype)) if values.dtype != torch.float32 else values
    )
    pair.make_loss()(output, pair.y_BL).mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_evaluation_in_bf16_is_asked_for_by_the_settings() -> None:
    network, dtypes = tiny.network(), []
    network.head.register_forward_hook(lambda _, __, output: dtypes.append(output.logits_BL.dtype))
    for precision, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        dtypes.clear()
        predict_split(network, tiny.split(5), tiny.settings(precision=precision), "cpu")
        # The first row is a trial that counts numbers, in float32 always.
        assert dtypes == [torch.float32, dtype]
