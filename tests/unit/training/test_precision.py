"""Number formats: what `auto` chooses, and that the layers run in what was chosen."""

import pytest
import torch
from torch import nn

from mlc.rows import SparseRows
from mlc.training.objective import objective
from mlc.training.precision import autocast, choose_precision
from tests.unit.training import tiny

SMALL, LARGE = nn.Linear(4, 4), nn.Linear(512, 512)
PICTURES = nn.Sequential(nn.Conv2d(1, 16, 3), nn.Conv2d(16, 32, 3))
NEW, OLD = {"avx512_bf16": True}, {"avx512": True}


@pytest.mark.parametrize(
    ("capability", "expected"), [((7, 5), "fp32"), ((8, 0), "bf16"), ((8, 9), "bf16"), ((10, 0), "bf16")]
)
def test_on_cuda_the_capability_decides(
    capability: tuple[int, int], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        torch.cuda, "get_device_capability", lambda device: asked.append(device) or capability
    )
    choice = choose_precision(device="cuda:1", network=SMALL)
    assert choice.precision == expected
    assert f"{capability[0]}.{capability[1]}" in choice.why
    assert asked == ["cuda:1"]


@pytest.mark.parametrize(
    ("processor", "network", "expected"),
    [
        (NEW, LARGE, "bf16"),
        ({"amx_bf16": True}, LARGE, "bf16"),
        ({"avx512_bf16": False, "amx_bf16": False}, LARGE, "fp32"),
        (OLD, LARGE, "fp32"),
        (NEW, SMALL, "fp32"),
        (NEW, nn.Linear(511, 512), "fp32"),
        (NEW, PICTURES, "bf16"),
        (NEW, PICTURES[0], "fp32"),
        (OLD, PICTURES, "fp32"),
        (NEW, nn.ModuleList([LARGE, nn.GRU(4, 4)]), "fp32"),
        (NEW, nn.Sequential(SMALL, nn.Sequential(LARGE)), "bf16"),
    ],
)
def test_on_a_processor_its_instructions_and_the_layers_decide(
    processor: dict[str, bool], network: nn.Module, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: processor, raising=False)
    choice = choose_precision(device="cpu", network=network)
    assert choice.precision == expected
    assert choice.why


def test_a_torch_that_does_not_know_its_processor_takes_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert choose_precision(device="cpu", network=LARGE).precision == "fp32"


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_layers_run_in_it_and_weights_and_losses_stay_float32(precision: str, dtype: torch.dtype) -> None:
    network, dtypes = tiny.network(), []
    network.head.register_forward_hook(lambda _, __, output: dtypes.append(output.logits_BL.dtype))
    value = objective(network, tiny.loss(), tiny.split(6).select(torch.arange(6)), precision=precision)
    value.backward()
    assert dtypes == [dtype]
    assert value.dtype == torch.float32
    for parameter in network.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32


def test_sparse_rows_say_their_device_too() -> None:
    rows = SparseRows(
        torch.zeros(0, dtype=torch.int64), torch.zeros(1).long(), torch.zeros(1).long(), None, 3
    )
    with autocast({"x": rows}, "bf16"):
        assert SMALL(torch.ones(1, 4)).dtype == torch.bfloat16
