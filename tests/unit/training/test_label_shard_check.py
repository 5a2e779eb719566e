"""What labels in shards are refused with, in one sentence each."""

import pytest
import torch

from mlc.errors import UserError
from mlc.training.label_chunk_check import cut_labels
from mlc.training.label_shard_check import check_label_shards, check_sharded_step
from mlc.training.memory_light import Adafactor
from tests.unit.training import tiny


def weights() -> list[torch.nn.Parameter]:
    return [torch.nn.Parameter(torch.zeros(2, 3))]


def adafactor() -> torch.optim.Optimizer:
    return Adafactor(params=weights(), lr=0.1, decay_power=0.8, clip=1.0, weight_decay=0.0)


def test_one_process_has_nobody_to_share_with() -> None:
    with pytest.raises(UserError, match=r"torchrun .* trainer\.label_shards=false"):
        cut_labels(tiny.network(), 1, sharded=True)


def test_every_process_needs_a_chunk_and_the_size_that_is_named_gives_it_one() -> None:
    check_label_shards(10, 4, processes=3)
    with pytest.raises(
        UserError, match=r"3 chunks of labels for 4 processes: .*trainer\.label_chunk=2 or fewer"
    ):
        check_label_shards(10, 4, processes=4)
    check_label_shards(10, 2, processes=4)
    with pytest.raises(UserError, match="1 chunk of labels for 2 processes"):
        check_label_shards(10, 10, processes=2)
    with pytest.raises(UserError, match="3 chunks of labels for 4 processes: start fewer processes"):
        check_label_shards(3, 1, processes=4)


def test_without_chunks_there_is_nothing_to_deal_out() -> None:
    with pytest.raises(UserError, match=r"trainer\.label_chunk=auto"):
        tiny.settings(label_shards=True)


def test_the_step_must_need_the_own_labels_only() -> None:
    check_sharded_step(torch.optim.SGD(weights(), lr=0.1), update="in_pass")
    with pytest.raises(UserError, match=r"trainer\.label_update=in_pass"):
        check_sharded_step(torch.optim.SGD(weights(), lr=0.1), update="at_step")
    with pytest.raises(UserError, match=r"optimizer=adafactor"):
        check_sharded_step(adafactor(), update="in_pass")
