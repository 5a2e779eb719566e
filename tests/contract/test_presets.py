"""Every preset trains: it composes, fits together, takes two steps and is measured, on made-up data."""

import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hydra.core.global_hydra import GlobalHydra
from torch import Tensor

from mlc.data.dataset import Dataset
from mlc.data.examples import Codes, Examples
from mlc.data.picture_rows import PictureRows
from mlc.data.pipeline import build_dataset
from mlc.data.schema import Attribute, Schema
from mlc.data.splitting import Splitting
from mlc.data.text.encoder import TextEncoder
from mlc.experiment.assemble import make_job
from mlc.experiment.compose import compose_runs
from mlc.experiment.recipe import Recipe, read_recipe
from mlc.training.evaluation import evaluate, fit_on_validation, predict_split
from mlc.training.job import Job
from mlc.training.objective import objective
from tests.contract.grid import CONFIGS, names
from tests.integration.tiny_mulan import write_mulan

Config = dict[str, Any]
PRESETS = pytest.mark.parametrize("name", names("experiment"))


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLC_DATA", str(tmp_path))
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(sys, "argv", ["mlc.train"])
    yield
    GlobalHydra.instance().clear()


@cache
def composed(name: str) -> str:
    """The configs of all jobs with one seed, as JSON so that nobody can change them."""
    found: list[Config] = []
    compose_runs([f"experiment={name}", "seed=3"], lambda config, _: found.append(config))
    return json.dumps(found)


def jobs(name: str) -> list[Config]:
    found: list[Config] = json.loads(composed(name))
    return found


def sweep(name: str) -> dict[str, list[str]]:
    """The values that a preset goes through by itself, read from its file."""
    content = yaml.safe_load((CONFIGS / "experiment" / f"{name}.yaml").read_text(encoding="utf-8"))
    params = content.get("hydra", {}).get("sweeper", {}).get("params", {})
    return {key: str(values).split(",") for key, values in params.items()}


def different_jobs(name: str) -> list[Config]:
    """Jobs of a preset, so many that every choice of the sweep is in one of them."""
    seen: set[tuple[str, str]] = set()
    found = []
    for config in jobs(name):
        chosen = set(config["choices"].items())
        if not chosen <= seen:
            found.append(config)
        seen |= chosen
    return found


def small_recipe(config: Config, root: Path) -> Recipe:
    """Made-up files where the config's own will be looked for, few pictures, or a source of made-up rows."""
    dataset = config["dataset"]
    if dataset["_target_"] == "mlc.data.digits.Digits":
        dataset |= {"n_train": 40, "n_test": 20}
        return read_recipe(config)
    if dataset["_target_"] != "mlc.data.mulan.Mulan":
        return replace(read_recipe(config), source=MadeUp(texts=bool(config["text"])))
    folder = root / dataset["folder"]
    if not folder.exists():
        folder.mkdir()
        written = write_mulan(root / f"{dataset['folder']} source")
        for key, file in (("train", "train.arff"), ("test", "test.arff"), ("labels", "labels.xml")):
            shutil.copy(written / file, folder / dataset[key])
    return read_recipe(config)


class MadeUp:
    """Rows of words and numbers, or of grey pictures, in place of files that must be downloaded."""

    def __init__(self, *, texts: bool) -> None:
        self._texts = texts

    def load(
        self, *, seed: int, text: TextEncoder | None = None, preparation: Mapping[str, Tensor] | None = None
    ) -> Dataset:
        random = np.random.default_rng(seed)
        numbers = Codes(Schema((Attribute("a"), Attribute("b"))), random.normal(size=(60, 2)))
        pixels = torch.from_numpy(random.integers(256, size=(60, 1, 16, 16), dtype=np.uint8))
        words = [" ".join(random.choice(["red", "green", "blue", "grey"], size=5)) for _ in range(60)]
        examples = Examples(
            label_names=("a", "b", "c"),
            y_NL=torch.from_numpy(random.random((60, 3)) < 0.4).float(),
            codes=numbers if self._texts else None,
            text=words if self._texts else None,
            pictures=None if self._texts else PictureRows.every(pixels),
            auxiliary_names=("d", "e"),
            auxiliary_NA=torch.from_numpy(random.random((60, 2)) < 0.4).float(),
        )
        return build_dataset(
            examples,
            name="made up",
            splitting=Splitting(),
            text=text,
            standardise=True,
            seed=seed,
            preparation=preparation,
        )

    def read_inputs(self, path: Path, *, preparation: Mapping[str, Tensor], chunk_rows: int) -> Iterator[Any]:
        raise NotImplementedError


def two_steps(job: Job) -> list[torch.Tensor]:
    """The objective of two batches, before the step on each."""
    network, train = job.classifier.network.train(), job.dataset.train
    optimizer = job.make_optimizer(network.parameters())
    losses = []
    for rows_B in torch.arange(len(train)).chunk(2):
        loss = objective(network, job.classifier.loss, train.select(rows_B))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return losses


@PRESETS
def test_has_its_question_its_command_and_what_was_measured(name: str) -> None:
    package, question, *lines = (CONFIGS / "experiment" / f"{name}.yaml").read_text().splitlines()
    assert package == "# @package _global_"
    if name[1:3].isdigit():  # the others are recipes for a data set, and no system of the list
        assert question.startswith(f"# S{int(name[1:3])}: ")
    command, *_ = (line for line in lines if "python -m mlc.train" in line)  # further ones run a part of it
    assert command.split()[-1 if sweep(name) else -2] == f"experiment={name}"
    assert "-m experiment" in command or sweep(name), "a single preset is run with three seeds by -m"
    assert any(line.startswith("# Measured 20") for line in lines)


@PRESETS
def test_composes_every_job(name: str) -> None:
    expected = 1
    for key, values in sweep(name).items():
        if key != "seed":
            expected *= len(values)
            assert {config["choices"][key] for config in jobs(name)} == set(values)
    assert len(jobs(name)) == expected
    assert len({json.dumps(config["choices"]) for config in jobs(name)}) == expected
    for config in jobs(name):
        assert config["choices"]["experiment"] == name
        assert config["seed"] == 3
        settled = read_recipe(config).config
        assert settled == config or config["choices"]["trainer"] == "linear_baseline"  # which sets its parts
        assert read_recipe(settled).config == settled


@PRESETS
def test_trains_and_is_measured(name: str, tmp_path: Path) -> None:
    for config in different_jobs(name):
        job = make_job(small_recipe(config, tmp_path), tmp_path / "run", fresh=True)
        before = [parameter.detach().clone() for parameter in job.classifier.network.parameters()]
        assert all(loss.isfinite() for loss in two_steps(job)), config["choices"]
        after = job.classifier.network.parameters()
        assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
        predictions = predict_split(job.classifier.network, job.dataset.test, job.settings, "cpu")
        fit_on_validation(job.classifier, predictions, memory_limit_mb=job.settings.memory_limit_mb)
        metrics = evaluate(job.classifier, predictions).defined
        assert 0 <= metrics["micro_f1"] <= 1, config["choices"]
        assert 0 <= metrics["classwise_ece"] <= 1, config["choices"]
