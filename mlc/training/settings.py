"""What the training loop can be told, and where it runs."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Interval

from mlc.errors import UserError

SMALLER_IS_BETTER = frozenset(
    {"loss", "nll", "log_loss", "hamming_loss", "ranking_loss", "coverage_error", "one_error", "brier"}
    | {"brier_uncalibrated", "classwise_ece", "classwise_ece_uncalibrated", "count_mae"}
)
RANKING_METRICS = frozenset(
    {"ranking_loss", "lrap", "coverage_error", "one_error"}
    | {f"{name}_at_{k}" for name in ("precision", "ndcg") for k in (1, 3, 5)}
)
LARGER_IS_BETTER = frozenset(
    {
        "micro_f1",
        "macro_f1",
        "samples_f1",
        "micro_precision",
        "micro_recall",
        "macro_precision",
        "macro_recall",
    }
    | {"subset_accuracy", "lrap", "map"}
    | {f"{name}_at_{k}" for name in ("precision", "ndcg") for k in (1, 3, 5)}
)


@dataclass(frozen=True, kw_only=True)
class TrainerSettings:
    """Settings of the loop.

    Args:
        max_epochs: passes over the training split; 0 evaluates the untrained network.
        batch_size: examples per step.
        eval_batch_size: examples per forward pass where nothing is trained.
        device: "auto" is CUDA where there is one, else the CPU.
        precision: the number format of the layers (autocast; "fp16" scales the loss); "auto" follows a fixed
            rule (mlc/training/precision.py), and the resolved config has what it chose.
        compile: mode of torch.compile for backbone and head, or None.
        micro_batch_size: rows that go through the network at once; the gradients of a batch are added up
            over them, and the result is that of the whole batch. None takes the batch at once.
        clip_norm: largest gradient norm, or None.
        clip_value: largest absolute value of a gradient's entry, clipped first, or None.
        weight_decay_on: "matrices" spares biases and the weights of normalisations, "all" spares none.
        ema_decay: share of the old average in the moving average of the weights, which is then what is
            evaluated and saved; None keeps no average.
        sampling: "all" takes every training row once an epoch; "class_aware" draws as many rows, each time
            first a label and then a row that has it, so that rare labels are seen more often.
        monitor: validation metric that picks the best checkpoint, stops early and drives schedule=plateau.
        patience: epochs without improvement before the run stops, or None.
        log_every_steps: steps between training points in TensorBoard.
        max_steps: steps after which the run ends, in the middle of an epoch if need be; or None.
        max_bad_steps: steps in a row that may be left out because they were not finite.
        checkpoint_every_steps, checkpoint_every_minutes: when a checkpoint is written within an epoch,
            beside the one at its end; None: never.
        checkpoint_pause_s: an epoch that ends sooner after a checkpoint than this leaves its own to the next
            one; the last epoch never does.
        keep_last: number of checkpoints to keep.
        keep_best: number of networks to keep, by the monitored metric.
        deterministic: only algorithms that give the same bits each time; some are slower, some are refused.
        detect_anomaly: name the forward operation of a backward that gives NaN; several times slower.
        overfit_batches: train on this many batches only and evaluate on the same rows, to see whether the
            network can learn at all; None trains on all.
        profile_steps: steps to record with PyTorch's profiler, after the first two; None records none.
        separate_fit: fit calibrator and decision rule on one half of the validation rows, and pick the
            checkpoint by the other; else all validation rows do both.
        memory_limit_mb: scores and targets of a split above this are evaluated in streaming mode.
        label_chunk: labels that go through the label layer at once, for very many labels, or "auto"; None
            takes all. See mlc/training/label_chunks.py.
        label_update: with chunks, "in_pass" takes the optimiser's step of a chunk as soon as its gradient is
            there, which is then never kept; "at_step" takes it with all others.
        label_shards: with chunks and several processes, each holds its share of the labels only.
    """

    max_epochs: Annotated[int, Ge(0)]
    batch_size: Annotated[int, Gt(0)]
    eval_batch_size: Annotated[int, Gt(0)]
    device: str
    precision: Literal["fp32", "bf16", "fp16", "auto"]
    clip_norm: Annotated[float, Gt(0)] | None
    sampling: Literal["all", "class_aware"]
    monitor: str
    patience: Annotated[int, Gt(0)] | None
    log_every_steps: Annotated[int, Gt(0)]
    separate_fit: bool
    memory_limit_mb: Annotated[float, Gt(0)]
    compile: Literal["default", "reduce-overhead", "max-autotune"] | None = None
    micro_batch_size: Annotated[int, Gt(0)] | None = None
    clip_value: Annotated[float, Gt(0)] | None = None
    weight_decay_on: Literal["matrices", "all"] = "matrices"
    ema_decay: Annotated[float, Interval(gt=0, lt=1)] | None = None
    max_steps: Annotated[int, Gt(0)] | None = None
    max_bad_steps: Annotated[int, Gt(0)] = 10
    checkpoint_every_steps: Annotated[int, Gt(0)] | None = None
    checkpoint_every_minutes: Annotated[float, Gt(0)] | None = 10.0
    checkpoint_pause_s: Annotated[float, Ge(0)] = 1.0
    keep_last: Annotated[int, Gt(0)] = 2
    keep_best: Annotated[int, Gt(0)] = 1
    deterministic: bool = False
    detect_anomaly: bool = False
    overfit_batches: Annotated[int, Gt(0)] | None = None
    profile_steps: Annotated[int, Gt(0)] | None = None
    label_chunk: Annotated[int, Gt(0)] | Literal["auto"] | None = None
    label_update: Literal["in_pass", "at_step"] = "in_pass"
    label_shards: bool = False

    def __post_init__(self) -> None:
        if self.label_shards and self.label_chunk is None:
            raise UserError(
                "trainer.label_shards=true deals out chunks of labels, and there are none: set "
                "trainer.label_chunk=auto, too, or trainer.label_shards=false"
            )
        known = SMALLER_IS_BETTER | LARGER_IS_BETTER
        if self.monitor not in known:
            raise UserError(
                f"trainer.monitor={self.monitor} is no validation metric; choose one of "
                f"{', '.join(sorted(known))}"
            )

    @property
    def monitor_sign(self) -> int:
        """+1 where a larger monitored value is better, else -1."""
        return 1 if self.monitor in LARGER_IS_BETTER else -1


def choose_device(wanted: str) -> str:
    """The device to train on.

    Raises:
        UserError: "trainer.device=…": not a device, or one that this machine lacks.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(wanted)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UserError(f"trainer.device={wanted} is no device; choose auto, cpu, cuda or cuda:<number>")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"trainer.device={wanted} is not there: this machine has {torch.cuda.device_count()} CUDA "
            f"devices; use trainer.device=cpu or trainer.device=auto"
        )
    return "cpu" if device.type == "cpu" else wanted
