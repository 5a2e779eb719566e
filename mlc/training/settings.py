"""What the training loop can be told, and where it runs."""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt

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
        precision: "bf16" runs the network under autocast; "auto" does so on CUDA devices of capability 8.0
            and newer, by this rule and never by a stopwatch, so that two runs agree.
        clip_norm: largest gradient norm, or None.
        sampling: "all" takes every training row once an epoch; "class_aware" draws as many rows, each time
            first a label and then a row that has it, so that rare labels are seen more often.
        monitor: validation metric that picks the best checkpoint, stops early and drives schedule=plateau.
        patience: epochs without improvement before the run stops, or None.
        log_every_steps: steps between training points in TensorBoard.
        separate_fit: fit calibrator and decision rule on one half of the validation rows, and pick the
            checkpoint by the other; else all validation rows do both.
        memory_limit_mb: scores and targets of a split above this are evaluated in streaming mode.
    """

    max_epochs: Annotated[int, Ge(0)]
    batch_size: Annotated[int, Gt(0)]
    eval_batch_size: Annotated[int, Gt(0)]
    device: str
    precision: Literal["fp32", "bf16", "auto"]
    clip_norm: Annotated[float, Gt(0)] | None
    sampling: Literal["all", "class_aware"]
    monitor: str
    patience: Annotated[int, Gt(0)] | None
    log_every_steps: Annotated[int, Gt(0)]
    separate_fit: bool
    memory_limit_mb: Annotated[float, Gt(0)]

    def __post_init__(self) -> None:
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


def uses_bf16(precision: str, device: str) -> bool:
    """Whether the network runs under bf16 autocast."""
    if precision == "auto":
        return device != "cpu" and torch.cuda.get_device_capability(device) >= (8, 0)
    return precision == "bf16"
