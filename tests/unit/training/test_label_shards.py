"""Labels in shards: two processes that talk by gloo train as one process without chunks does."""

import copy
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mlc.training.checkpoint import load_checkpoint, save_checkpoint
from mlc.training.label_shards import LabelShards
from tests.unit.training import label_shard_work as work


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("shards")
    for case in work.CASES:
        save_checkpoint(folder / case, work.trained(work.session(case, max_epochs=1), case)[1])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[3])}
    workers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-m", work.__name__, str(folder)],
            env={**environment, "RANK": str(rank)},
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for worker in workers:
            _, said = worker.communicate(timeout=120)
            assert worker.returncode == 0, said
    finally:
        for worker in workers:
            worker.kill()
    return load_checkpoint(folder / "written")


def assert_near(found: Any, expected: Any, place: str = "") -> None:
    """Trees of the same form whose numbers agree to 1e-5."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), place
        for key, value in expected.items():
            if not str(key).endswith("_time_s"):
                assert_near(found[key], value, f"{place}/{key}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), place
        for i, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
            assert_near(ours, theirs, f"{place}/{i}")
    elif isinstance(expected, Tensor):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5, msg=lambda text: f"{place}: {text}")
    else:
        assert found == expected, place


@pytest.mark.parametrize("case", work.CASES)
def test_two_processes_train_as_one_without_chunks(case: str, written: dict[str, Any]) -> None:
    losses, state = work.trained(work.session(case, chunk=None), case)
    assert written[case]["losses"] == pytest.approx(losses, abs=1e-5)
    assert_near(written[case]["state"]["network"], state["network"])


@pytest.mark.parametrize("case", work.CASES)
def test_their_checkpoint_is_that_of_one_process_in_chunks(case: str, written: dict[str, Any]) -> None:
    whole = work.session(case, max_epochs=1)
    _, expected = work.trained(whole, case)
    found = {key: value for key, value in written[case]["first"].items() if key != "random"}
    del expected["random"]
    assert_near(found, expected)


@pytest.mark.parametrize("case", work.CASES)
def test_one_process_goes_on_from_it_and_they_from_that_of_one(case: str, written: dict[str, Any]) -> None:
    _, straight = work.trained(work.session(case), case)
    resumed = work.session(case)
    resumed.restore(copy.deepcopy(written[case]["first"]))
    assert_near(work.trained(resumed, case)[1]["network"], straight["network"])
    assert_near(written[case]["resumed"], straight["network"])
    assert_near(written[case]["outputs"], work.outputs(resumed, case))
    assert_near(written[case]["joined"], straight["network"])


@pytest.mark.parametrize("case", work.CASES)
def test_a_process_without_rows_adds_nothing_but_its_labels(case: str, written: dict[str, Any]) -> None:
    whole = work.session(case, chunk=None)
    split = work.data(case)
    batch = replace(split, sparse_batches=False).select(work.ROWS)
    whole.stepper.begin()
    loss, own = whole.part(batch, share=1.0)
    whole.stepper.backward(loss)
    assert not whole.stepper.step()
    assert_near(written["none"][case], {"loss": own, "network": whole.network.state_dict()})


def test_each_holds_its_own_labels_only(written: dict[str, Any]) -> None:
    everything, own = written["linear"]["parameters"]
    assert everything == work.L * (work.D + 1)
    assert own == 3 * (work.CHUNK * work.D + work.CHUNK)  # three of six blocks


def test_what_is_not_finite_in_one_process_is_left_out_by_both(written: dict[str, Any]) -> None:
    told = written["bad"]["told"]
    late = 6 + work.CHUNK  # all labels of the first process, and of the second those before
    assert told == [[1, 0], [2, 0], [1, late], [2, late]]
    assert all(written["bad"]["alike"])
    assert written["bad"]["state"]["bad_steps"] == 2


def test_a_state_in_bfloat16_finds_its_way_back(written: dict[str, Any]) -> None:
    assert written["light"]["types"] == ["torch.bfloat16"]
    assert all(written["light"]["same"])


@pytest.mark.parametrize(("blocks", "world"), [(2, 2), (5, 2), (7, 3), (49, 8)])
def test_every_block_has_one_owner_and_the_shares_are_even(blocks: int, world: int) -> None:
    shares = [LabelShards(blocks, rank, world).own for rank in range(world)]
    assert [block for own in shares for block in own] == list(range(blocks))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    owners = [LabelShards(blocks, 0, world).owner(block) for block in range(blocks)]
    assert owners == [rank for rank, own in enumerate(shares) for _ in own]
