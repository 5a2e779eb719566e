"""Small problems with labels in shards, and what two processes do with them: this file is their program.

They write down what they have, and tests/unit/training/test_label_shards.py compares it with what one process
has. It imports as little as it can, because they do so, too.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from mlc.backbones.flatten import Flatten
from mlc.backbones.mlp import MLP
from mlc.batch import LabelStatistics
from mlc.data.dataset import Split
from mlc.eager_optimizer import eager
from mlc.experiment.instantiate import make
from mlc.experiment.shipped import load_shipped
from mlc.heads.base import Head
from mlc.inputs import MAIN, InputSpec
from mlc.losses.base import Loss
from mlc.model import Network
from mlc.rows import LabelRows, SparseRows
from mlc.training.checkpoint import load_checkpoint, save_checkpoint
from mlc.training.label_chunk_check import cut_labels
from mlc.training.label_chunks import join_labels, label_blocks
from mlc.training.label_layer import n_parameters
from mlc.training.loop import BadStep, Callbacks, StepReport, fit
from mlc.training.schedules import Constant
from mlc.training.session import Session
from mlc.training.settings import TrainerSettings

N, D, L = 9, 5, 11  # in batches of 4 and 5 rows
ROWS = torch.tensor([7, 1, 4])
CHUNK = 2  # six blocks, the last half empty: 6 and 5 labels
INPUTS = {MAIN: InputSpec("sparse", (D,))}
# Head, loss, its options, optimiser, whether the backbone learns, and what else the data have.
CASES: dict[str, tuple[str, str, dict[str, Any], str, bool, str]] = {
    "linear": ("sigmoid", "binary_cross_entropy", {"positive_weight": "balanced"}, "adamw", False, "weights"),
    "softmax": ("softmax", "categorical_cross_entropy", {}, "sgd", True, "weights"),
    "factorised": ("factorised_poisson", "factorised_kl_poisson", {}, "adagrad", True, "unknown"),
    "focal": ("sigmoid", "focal", {}, "row_adagrad", True, "unknown"),
}


_SETTINGS: dict[str, Any] = {
    **{"max_epochs": 2, "batch_size": 4, "eval_batch_size": 5, "device": "cpu", "precision": "fp32"},
    **{"clip_norm": None, "sampling": "all", "monitor": "loss", "patience": None, "log_every_steps": 1},
    **{"separate_fit": False, "memory_limit_mb": 100.0},
}


def targets(*, unknown: bool) -> Tensor | LabelRows:
    generator = torch.Generator().manual_seed(1)
    y_NL = (torch.rand(N, L, generator=generator) < 0.3).float()
    y_NL[2] = 0
    if unknown:
        y_NL[torch.rand(N, L, generator=generator) < 0.2] = torch.nan
        return y_NL
    rows = [row.nonzero().squeeze(1) for row in y_NL]
    length_N = torch.tensor([len(row) for row in rows])
    return LabelRows(torch.cat(rows).int(), length_N.cumsum(0) - length_N, length_N, L)


def data(case: str) -> Split:
    also = CASES[case][5]
    length_N = torch.tensor([3, 2, 4, 0, 1, 3, 2, 2, 1])
    generator = torch.Generator().manual_seed(2)
    ids_M = torch.randint(0, D, (int(length_N.sum()),), generator=generator)
    values_M = torch.randn(len(ids_M), generator=generator)
    x_ND = SparseRows(ids_M, length_N.cumsum(0) - length_N, length_N, values_M, D)
    weight_N = torch.rand(N, generator=generator) * 2 if also == "weights" else None
    return Split(
        inputs={MAIN: x_ND}, y_NL=targets(unknown=also == "unknown"), weight_N=weight_N, sparse_batches=True
    )


def session(case: str, *, chunk: int | None = CHUNK, sharded: bool = False, **settings: Any) -> Session:
    head, loss, options, optimizer, learns, _ = CASES[case]
    torch.manual_seed(0)
    y_NL = targets(unknown=CASES[case][5] == "unknown")
    labels = LabelStatistics.from_targets(y_NL)
    backbone = (
        MLP(inputs=INPUTS, widths=[6], input_dropout=0.0, dropout=0.0, norm="layer")
        if learns
        else Flatten(inputs=INPUTS)
    )
    width = backbone.feature_sizes["pooled"]
    built = make(load_shipped("head", head), group="head", kind=Head)(in_features=width, labels=labels)
    network = Network(backbone=backbone, head=built)
    if dist.is_initialized() and dist.get_rank() == 1:  # what the main process has must come to count
        for parameter in network.parameters():
            parameter.data.add_(1)
    if chunk is not None:
        cut_labels(network, chunk, sharded=sharded)
    node = {**load_shipped("loss", loss), **options}
    kind = make(load_shipped("optimizer", optimizer), group="optimizer", kind=torch.optim.Optimizer)
    made = replace(kind, target=eager(kind.target))(params=list(network.parameters()))
    for group in made.param_groups:
        group["initial_lr"] = group["lr"] = 0.05
    return Session(
        network=network,
        loss=make(node, group="loss", kind=Loss)(labels=labels),
        optimizer=made,
        schedule=Constant(warmup_epochs=0.0),
        settings=TrainerSettings(**_SETTINGS | {"label_chunk": chunk, "label_shards": sharded, **settings}),
        seed=0,
        device="cpu",
    )


def train(of: Session, case: str, *, bad_step: Callable[[BadStep], None]) -> list[float]:
    """The mean loss of every step."""
    reports: list[StepReport] = []
    split = data(case)
    if of.settings.label_chunk is None:
        split = replace(split, sparse_batches=False)
    tell = Callbacks(
        validate=lambda: {"loss": 1.0},
        report=reports.append,
        bad_step=bad_step,
        after_step=lambda: None,
        epoch=lambda *_: None,
    )
    fit(of, split, tell)
    return [report.loss for report in reports]


def trained(of: Session, case: str) -> tuple[list[float], dict[str, Any]]:
    """The mean loss of every step, and the state after the last."""
    bad: list[BadStep] = []
    losses = train(of, case, bad_step=bad.append)
    assert not bad
    return losses, of.state()


def two_processes(folder: Path) -> None:
    """What the main one of two processes writes down."""
    rank = int(os.environ["RANK"])
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=2)
    written = in_shards(folder)
    if rank == 0:
        save_checkpoint(folder / "written", written)
    dist.destroy_process_group()


def in_shards(folder: Path) -> dict[str, Any]:
    written: dict[str, Any] = {}
    for case in CASES:
        losses, state = trained(session(case, sharded=True), case)
        half = session(case, sharded=True, max_epochs=1)
        _, first = trained(half, case)
        written[case] = {"losses": losses, "state": state, "first": first}
        resumed = session(case, sharded=True)
        resumed.restore(load_checkpoint(folder / case))
        written[case]["resumed"] = trained(resumed, case)[1]["network"]
        written[case]["outputs"] = outputs(resumed, case)
        written[case]["own"] = [resumed.network.state_dict().keys() == half.network.state_dict().keys()]
        written[case]["parameters"] = [
            n_parameters(resumed.network),
            sum(parameter.numel() for parameter in resumed.network.parameters()),
        ]
        join_labels(resumed.network.head)
        if dist.get_rank() == 0:  # alone: nothing is asked of the other any more
            written[case]["joined"] = resumed.network.state_dict()
    written["bad"] = bad_steps()
    written["light"] = light_state()
    written["none"] = {case: without_rows(case) for case in CASES}
    return written


def outputs(of: Session, case: str) -> Tensor:
    """The scores of all rows, which each process gets by asking the other for its labels."""
    with torch.no_grad():
        scores: Tensor = of.network.eval()(data(case).select(torch.arange(N)).inputs).score_logits()
    return scores


def bad_steps() -> dict[str, Any]:
    """Weights of the second process that have run away: both leave out the step, and both say so."""
    told: list[BadStep] = []
    found = session("softmax", sharded=True, max_epochs=1)
    if dist.get_rank() == 1:
        label_blocks(found.network.head).weight_KDC.data[2] = torch.nan
    train(found, "softmax", bad_step=told.append)
    late = session("linear", sharded=True, max_epochs=1)
    if dist.get_rank() == 1:
        label_blocks(late.network.head).weight_KDC.data[1] = torch.nan
    train(late, "linear", bad_step=told.append)
    alike = [parameter.isfinite().all().item() for parameter in found.network.backbone.parameters()]
    return {
        "told": [(bad.step, bad.moved_labels) for bad in told],
        "alike": alike,
        "state": late.state()["position"],
    }


def without_rows(case: str) -> dict[str, Any]:
    """A step on three rows that are all the first process's; the second one's stands in for none."""
    found = session(case, sharded=True)
    rank = dist.get_rank()
    found.stepper.begin()
    with found.gradients_shared(now=True):
        loss, own = found.part(data(case).select(ROWS if rank == 0 else ROWS[:1]), share=1.0 - rank)
        found.stepper.backward(loss)
    assert not found.stepper.step()
    dist.all_reduce(own)
    return {"loss": own, "network": found.network.state_dict()}


def light_state() -> dict[str, Any]:
    """A state in bfloat16, gathered and taken back: this process's own part of it."""
    CASES["light"] = (*CASES["focal"][:3], "light_adam", *CASES["focal"][4:])
    before = session("light", sharded=True)
    _, state = trained(before, "light")
    after = session("light", sharded=True)
    save_checkpoint(Path(f"light{dist.get_rank()}"), state)
    dist.barrier()
    after.restore(load_checkpoint(Path("light0")))
    same = []
    for ours, theirs in zip(before.network.parameters(), after.network.parameters(), strict=True):
        kept, found = before.optimizer.state[ours], after.optimizer.state[theirs]
        same += [torch.equal(ours, theirs), *(_equal(kept[name], found[name]) for name in kept)]
    return {"same": same, "types": [str(kept["mean"].dtype)]}


def _equal(one: Any, other: Any) -> bool:
    return torch.equal(one, other) if isinstance(one, Tensor) else bool(one == other)


if __name__ == "__main__":
    two_processes(Path(sys.argv[1]))
