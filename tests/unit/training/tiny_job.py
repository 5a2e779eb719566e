"""Whole runs on the tiny problem."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mlc.decisions.base import Decision
from mlc.decisions.thresholds import PerLabelThreshold
from mlc.model import Classifier
from mlc.training.checkpoint import load_checkpoint
from mlc.training.checkpoints import Checkpoints, Found
from mlc.training.job import Job
from mlc.training.run_files import Facts, RunFiles
from mlc.training.schedules import Constant
from tests.unit.training import tiny


def facts() -> Facts:
    return Facts(tiny.INPUTS, tiny.NAMES, tiny.statistics(), {})


def classifier(seed: int = 0, rule: Callable[..., Decision] = PerLabelThreshold) -> Classifier:
    """The tiny classifier with another decision rule."""
    made = tiny.classifier(seed)
    return Classifier(
        network=made.network,
        loss=made.loss,
        calibrator=made.calibrator,
        decision=rule(n_labels=tiny.LABELS),
    )


def job(
    folder: Path, *, rule: Callable[..., Decision] = PerLabelThreshold, seed: int = 0, **changes: Any
) -> Job:
    """A job of one short epoch, unless the changes of the settings say more."""
    settings = tiny.settings(**({"max_epochs": 1} | changes))
    config = {
        "choices": {"dataset": "tiny"},
        "seed": seed,
        "optimizer": {"lr": 0.05, "weight_decay": 0.0},
        "trainer": {"batch_size": settings.batch_size, "max_epochs": settings.max_epochs},
    }
    made = classifier(seed, rule)
    return Job(
        folder=folder,
        config=config,
        dataset=tiny.dataset(),
        facts=facts(),
        classifier=made,
        make_optimizer=lambda groups: torch.optim.SGD(
            groups, lr=0.05, momentum=0.9, nesterov=True, fused=True
        ),
        schedule=Constant(warmup_epochs=0.0),
        augment=None,
        settings=settings,
        device="cpu",
        seed=seed,
        notes=(),
    )


def results(folder: Path) -> dict[str, Any]:
    """What results.json says."""
    stored: dict[str, Any] = json.loads(RunFiles(folder).results.read_text(encoding="utf-8"))
    return stored


def found(folder: Path) -> Found:
    """What a run in this folder would go on from."""
    return Checkpoints(RunFiles(folder).checkpoints).newest()


def best_network(folder: Path) -> dict[str, Tensor]:
    """The state of the network that was best."""
    state = found(folder).state
    assert state is not None
    path = Checkpoints(RunFiles(folder).checkpoints).network(state["position"]["best_epoch"])
    network: dict[str, Tensor] = load_checkpoint(path)["network"]
    return network
