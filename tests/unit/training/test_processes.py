"""What one of several processes does, without the others; tests/integration/test_processes.py has two."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from mlc.errors import Fault
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


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer"),
        dist.DistBackendError("NCCL error in: ..."),
    ],
)
def test_a_process_that_is_gone_is_a_sentence(error: RuntimeError) -> None:
    with (
        pytest.raises(Fault, match=r"^another process of this run is gone; go on with resume=x$"),
        processes.gone_explained("go on with resume=x"),
    ):
        raise error


def test_other_errors_keep_their_trace() -> None:
    with pytest.raises(RuntimeError, match="shapes"), processes.gone_explained("x"):
        raise RuntimeError("shapes do not fit")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, str], bool]:
    """Whether a process of three, by its rank, is the first to say a line; nobody waits for the first one."""
    store = dist.HashStore()
    monkeypatch.setattr(processes, "_agent_store", lambda timeout_s: store)
    monkeypatch.setattr(processes, "_FIRST_SAYS_WITHIN_S", 0.0)
    monkeypatch.setenv("WORLD_SIZE", "3")

    def say(rank: int, line: str) -> bool:
        monkeypatch.setenv("RANK", str(rank))
        return processes.is_first_to_say(line)

    return say


def test_what_all_processes_would_say_is_said_once(said: Callable[[int, str], bool]) -> None:
    assert [said(rank, "error: a") for rank in (0, 1, 2)] == [True, False, False]
    assert [said(rank, "error: of two") for rank in (2, 1)] == [True, False]
    assert said(1, "error: of one"), "what only one has to say is not lost"


def test_the_first_process_is_waited_for(
    said: Callable[[int, str], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_FIRST_SAYS_WITHIN_S", 60.0)
    naps: list[float] = []

    def sleep(time_s: float) -> None:
        naps.append(time_s)
        if len(naps) == 3:
            assert said(0, "error: a")
            monkeypatch.setenv("RANK", "1")

    monkeypatch.setattr(processes.time, "sleep", sleep)
    assert not said(1, "error: a")
    assert len(naps) == 3


def test_a_process_that_is_told_to_end_while_it_waits_still_says_it(
    said: Callable[[int, str], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def sleep(time_s: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(processes, "_FIRST_SAYS_WITHIN_S", 60.0)
    monkeypatch.setattr(processes.time, "sleep", sleep)
    assert said(1, "error: a")


def test_one_process_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.setattr(processes, "_agent_store", lambda timeout_s: pytest.fail("it asks"))
    assert processes.is_first_to_say("error: a")


def test_where_torchrun_itself_is_gone_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "TORCHELASTIC_USE_AGENT_STORE": "True"}.items():
        monkeypatch.setenv(name, value)

    def refused(*args: object, **options: object) -> None:
        raise dist.DistNetworkError("The client socket has failed to connect")

    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "1")
    monkeypatch.setattr(processes, "TCPStore", refused)
    assert processes.is_first_to_say("error: a")
