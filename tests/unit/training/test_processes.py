"""What one of several processes does, without the others; tests/integration/test_processes.py has two."""

import math
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from mlc.training import processes


def test_what_is_shared_is_the_main_processs_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[Any] = []

    def broadcast(tensor: Tensor, src: int) -> None:
        received.append((tensor.data_ptr(), src))
        tensor.fill_(7)

    tensors = [torch.zeros(3), torch.tensor(5)]
    places = [tensor.data_ptr() for tensor in tensors]
    monkeypatch.setattr(dist, "broadcast", broadcast)
    processes.share(tensors)
    assert not received, "there is only one process"
    monkeypatch.setattr(processes, "size", lambda: 2)
    processes.share(iter(tensors))
    assert received == [(place, 0) for place in places]
    assert [tensor.tolist() for tensor in tensors] == [[7, 7, 7], 7]


@pytest.mark.parametrize("of_main", [0.1 + 0.2, 0.0, -2.5, math.nan, math.inf, None])
@pytest.mark.parametrize("own", [0.3, None])
def test_the_number_of_the_main_process_is_everyones(
    own: float | None, of_main: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[Tensor] = []

    def send(tensor: Tensor, src: int) -> None:
        sent.append(tensor.clone())
        assert src == 0

    def receive(tensor: Tensor, src: int) -> None:
        assert (tensor.dtype, tensor.shape) == (sent[0].dtype, sent[0].shape), "or they would wait for ever"
        tensor.copy_(sent[0])

    monkeypatch.setattr(dist, "broadcast", send)
    assert processes.of_main(own) == own
    assert not sent, "there is only one process"
    monkeypatch.setattr(processes, "size", lambda: 2)
    assert repr(processes.of_main(of_main)) == repr(of_main)
    monkeypatch.setattr(dist, "broadcast", receive)
    assert repr(processes.of_main(own)) == repr(of_main)
