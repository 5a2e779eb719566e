"""Several processes that train one network: who is who, what they agree on, and what they gather.

Started by torchrun, each process knows its rank from its environment. Without torchrun there is one process,
and every function here does nothing at all.
"""

import hashlib
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor
from torch._C._distributed_c10d import PrefixStore, TCPStore

from mlc.errors import Fault, UserError

_FIRST_SAYS_WITHIN_S = 2.0


def launched() -> bool:
    """Whether torchrun (or what sets its variables) has started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined() -> Iterator[None]:
    """Join the other processes, if there are any, for as long as the block lasts: gloo, and nccl for CUDA."""
    if not launched() or dist.is_initialized():
        yield
        return
    backend = "gloo"
    if torch.cuda.is_available() and _local_rank() < torch.cuda.device_count():
        torch.cuda.set_device(_local_rank())
        backend = "cpu:gloo,cuda:nccl"
    store = _agent_store()
    if store is not None:
        rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        dist.init_process_group(backend, store=store, rank=rank, world_size=world)
    else:
        dist.init_process_group(backend)
    try:
        with gone_explained("start it again"):
            yield
        if is_main():
            for note in _notes_of_agent():
                note.unlink(missing_ok=True)
    finally:
        dist.destroy_process_group()


def _agent_store(*, timeout_s: float = 300.0) -> PrefixStore | None:
    """What all processes of torchrun can read and write, this time that they are started.

    The store itself outlives a restart, and with it the addresses of processes that are gone.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    store = TCPStore(
        os.environ["MASTER_ADDR"],
        int(os.environ["MASTER_PORT"]),
        is_master=False,
        timeout=timedelta(seconds=timeout_s),
    )
    return PrefixStore(f"mlc/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


@contextmanager
def gone_explained(way: str) -> Iterator[None]:
    """Turn what PyTorch says in one process when another has died into a sentence.

    Args:
        way: what to do then.

    Raises:
        Fault: in place of PyTorch's own error.
    """
    try:
        yield
    except RuntimeError as error:
        # What gloo raises has no type of its own; it names a file of gloo.
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise Fault(f"another process of this run is gone; {way}") from error


def is_first_to_say(line: str) -> bool:
    """Whether no other process says this line, as they do about a mistake that all of them find.

    The first process says it; the others wait a little for that, and one of them says what it does not.
    """
    if not launched():
        return True
    key = f"said/{hashlib.sha256(line.encode()).hexdigest()}"
    try:
        store = _agent_store(timeout_s=_FIRST_SAYS_WITHIN_S)
        if store is None:
            return True
        until_s = time.monotonic() + _FIRST_SAYS_WITHIN_S
        while rank() > 0 and time.monotonic() < until_s and not store.check([key]):
            time.sleep(0.02)
        return store.add(key, 1) == 1
    except (RuntimeError, KeyboardInterrupt):  # torchrun itself is gone, or tells this process to end
        return True


def size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else int(os.environ.get("RANK", "0"))


def is_main() -> bool:
    """Whether this process writes the files and talks to the user."""
    return rank() == 0


def own_device(device: str) -> str:
    """The device of this process, with its number: each process of a machine has a CUDA device of its own.

    Raises:
        UserError: there are fewer devices than processes.
    """
    if device != "cuda":
        return device
    number = _local_rank() if launched() else torch.cuda.current_device()
    if number >= torch.cuda.device_count():
        raise UserError(
            f"process {number} has no CUDA device, because this machine has {torch.cuda.device_count()}: "
            f"start fewer processes, or set trainer.device=cpu"
        )
    return f"cuda:{number}"


def _local_rank() -> int:
    return int(os.environ.get("LOCAL_RANK", "0"))


def restarted() -> bool:
    """Whether torchrun has started this process again, after one of the processes died."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def agree(name: str, value: str) -> str:
    """The value that the main process gave under this name, the first time that it did.

    Where torchrun starts processes again after a fault, they find what was agreed before: the main process
    keeps it in a temporary file, named after the torchrun that started it.

    Args:
        name: of the value; letters.
        value: at most 1,000 bytes as UTF-8; that of the main process counts.
    """
    if size() == 1:
        return value
    if is_main():
        note = _note_of_agent(name)
        if restarted() and note.is_file():
            value = note.read_text(encoding="utf-8")
        else:
            note.write_text(value, encoding="utf-8")
    letters = torch.zeros(1001, dtype=torch.uint8)
    if is_main():
        data = value.encode()
        letters[: len(data)] = torch.tensor(list(data), dtype=torch.uint8)
    dist.broadcast(letters, 0)
    return bytes(letters.tolist()).rstrip(b"\0").decode()


def _note_of_agent(name: str) -> Path:
    run = "".join(c for c in os.environ.get("TORCHELASTIC_RUN_ID", "none") if c.isalnum() or c == "-")
    return Path(tempfile.gettempdir(), f"mlc_{os.getuid()}_{run}_{os.getppid()}_{name}")


def _notes_of_agent() -> list[Path]:
    first = _note_of_agent("")
    return list(first.parent.glob(f"{first.name}*"))


def any_of(*flags: bool) -> tuple[bool, ...]:
    """For each flag: whether any process has raised it."""
    if size() == 1:
        return flags
    raised = torch.tensor(flags, dtype=torch.uint8)
    dist.all_reduce(raised, op=dist.ReduceOp.MAX)
    return tuple(bool(flag) for flag in raised.tolist())


def sum_of(value: float) -> float:
    """The sum of a number over all processes."""
    if size() == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(total)
    return float(total)


def of_main(value: float | None) -> float | None:
    """The number that the main process has, in every process; None where it has none.

    What several processes compute alike may differ in its last digit, and with it what they decide.
    """
    if size() == 1:
        return value
    there_and_number = torch.tensor([value is not None, value or 0.0], dtype=torch.float64)
    dist.broadcast(there_and_number, 0)
    there, number = there_and_number.tolist()
    return number if there else None


def share(tensors: Iterable[Tensor]) -> None:
    """Give every process the main one's values, in place."""
    if size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


def wait() -> None:
    """Wait until all processes are here."""
    if size() > 1:
        dist.barrier()


def own_part(rows_B: Tensor) -> Tensor:
    """The rows of a batch that this process works on; with fewer rows than processes some have none."""
    return rows_B.tensor_split(size())[rank()] if size() > 1 else rows_B


def has_part(rows_B: Tensor) -> bool:
    """Whether `own_part` has any row for this process."""
    return size() == 1 or rows_B.numel() > rank()


def gather_rows(part: Tensor, *, rows_B: Tensor) -> Tensor:
    """What all processes have for the rows of a batch, in their order.

    Args:
        part: what this process has for its own part, the first dimension of any tensor; what a process
            without a part has is left out.
        rows_B: the rows of the batch.
    """
    if size() == 1:
        return part
    lengths = [len(rows) for rows in rows_B.tensor_split(size())]
    own = lengths[rank()]
    padded = part.new_zeros(max(lengths), *part.shape[1:])
    padded[:own] = part[:own]
    gathered = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(gathered, padded)
    return torch.cat([rows[:length] for rows, length in zip(gathered, lengths, strict=True)])


def gather_equal(tensor: Tensor) -> list[Tensor]:
    """A CPU tensor of the same shape from every process, in the order of their ranks."""
    if size() == 1:
        return [tensor]
    gathered = [torch.empty_like(tensor) for _ in range(size())]
    dist.all_gather(gathered, tensor)
    return gathered
