import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.global_hydra import GlobalHydra

from mlc.errors import Fault, UserError
from mlc.experiment.compose import compose_runs
from mlc.experiment.recipe import read_recipe
from tests.contract.grid import names
from tests.unit.experiment.shipped import choices, config


@pytest.fixture(autouse=True)
def fresh_hydra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    GlobalHydra.instance().clear()
    yield
    GlobalHydra.instance().clear()


class Starts:
    """A door that only takes notes; it fails as told, by run number."""

    def __init__(self, failing: dict[int, BaseException] | None = None) -> None:
        self.configs: list[dict[str, Any]] = []
        self.folders: list[Path] = []
        self._failing = failing or {}

    def __call__(self, config: dict[str, Any], folder: Path) -> None:
        self.configs.append(config)
        self.folders.append(folder)
        if len(self.configs) - 1 in self._failing:
            raise self._failing[len(self.configs) - 1]


def composed(*words: str) -> dict[str, Any]:
    starts = Starts()
    compose_runs(words, starts)
    (only,) = starts.configs
    return only


def test_the_config_is_the_files_put_together() -> None:
    found = composed()
    assert found == config()
    assert next(iter(found)) == "choices"
    assert yaml.safe_load(yaml.safe_dump(found)) == found, "plain values only"


@pytest.mark.parametrize(
    "words",
    [
        ["head=factorised"],
        ["head=softmax", "dataset=yeast"],
        ["head=factorised", "loss=factorised_product"],
        ["loss=factorised_product", "head=factorised"],
        ["dataset=yeast", "backbone=linear"],
        ["dataset=yeast", "head=label_networks"],
        ["head=label_networks", "backbone=cnn"],
        ["auxiliary=sigmoid", "dataset=yeast"],
        ["backbone=wide_mlp", "dataset=emotions"],
        ["decision=top_k", "calibration=platt", "optimizer=sgd", "schedule=cosine"],
    ],
)
def test_a_head_brings_its_loss_a_dataset_its_backbone_and_the_command_line_wins(words: list[str]) -> None:
    chosen = dict(word.split("=") for word in words)
    found = composed(*words)
    assert found == config(**chosen)
    assert found["choices"] == choices(**chosen)
    read_recipe(found)


def test_hand_check_of_what_is_brought() -> None:
    assert composed("head=factorised")["choices"]["loss"] == "factorised_kl_mse"
    assert composed("dataset=yeast")["choices"]["backbone"] == "mlp"
    assert composed("dataset=yeast", "head=label_networks")["choices"]["backbone"] == "flatten"
    assert composed()["auxiliary"] == {}
    assert composed("auxiliary=sigmoid", "auxiliary.feature=conv2")["auxiliary"]["feature"] == "conv2"
    both = composed("head=factorised", "loss=factorised_product", "dataset=yeast", "backbone=linear")
    assert both["loss"]["_target_"] == "mlc.losses.absolute_kl.AbsoluteKL"
    assert both["backbone"]["_target_"] == "mlc.backbones.flatten.Flatten"
    assert both["choices"]["loss"] == "factorised_product"
    assert both["choices"]["backbone"] == "linear"


def test_every_line_can_be_changed() -> None:
    found = composed("seed=7", "optimizer.lr=3e-4", "backbone.channels=[4,8]", "trainer.clip_norm=1.5")
    assert found["seed"] == 7
    assert found["optimizer"]["lr"] == 3e-4
    assert found["backbone"]["channels"] == [4, 8]
    assert found["trainer"]["clip_norm"] == 1.5


def test_the_folder_is_new_below_runs_and_named_by_dataset_and_head(tmp_path: Path) -> None:
    starts = Starts()
    compose_runs(["dataset=yeast", "head=softmax", "optimizer.lr=0.5"], starts)
    (folder,) = starts.folders
    assert not folder.is_absolute()
    assert folder.parent == Path("runs")
    assert folder.name.endswith("_yeast_softmax")
    assert not set(folder.name) & set("=,:' ")
    assert (tmp_path / folder).is_dir()


def test_a_folder_elsewhere_is_given_whole(tmp_path: Path) -> None:
    starts = Starts()
    elsewhere = tmp_path.parent / f"{tmp_path.name}_elsewhere"
    compose_runs([f"hydra.run.dir={elsewhere}"], starts)
    assert starts.folders == [elsewhere]


def test_a_sweep_starts_one_run_for_each_combination() -> None:
    starts = Starts()
    compose_runs(["-m", "head=sigmoid,factorised", "seed=range(3)", "optimizer.lr=0.1"], starts)
    found = [(c["choices"]["head"], c["choices"]["loss"], c["seed"]) for c in starts.configs]
    assert found == [
        (head, loss, seed)
        for head, loss in [("sigmoid", "binary_cross_entropy"), ("factorised", "factorised_kl_mse")]
        for seed in range(3)
    ]
    assert all(c["optimizer"]["lr"] == 0.1 for c in starts.configs)
    assert len({folder.parent for folder in starts.folders}) == 1
    assert [folder.name for folder in starts.folders] == [
        f"{i}_digits_{head}_seed{seed}" for i, (head, _, seed) in enumerate(found)
    ]
    assert not any(set(str(folder)) & set("=,:' ") for folder in starts.folders)
    assert all(folder.is_dir() for folder in starts.folders)


def test_a_sweep_goes_on_after_a_failing_run(capsys: pytest.CaptureFixture[str]) -> None:
    starts = Starts({1: UserError("this run is wrong")})
    with pytest.raises(UserError, match=r"^1 of the sweep's runs failed"):
        compose_runs(["-m", "seed=1,2,3"], starts)
    assert [c["seed"] for c in starts.configs] == [1, 2, 3]
    assert "error: run 1 (seed=2): this run is wrong\n" in capsys.readouterr().err


def test_a_sweep_counts_its_failures(capsys: pytest.CaptureFixture[str]) -> None:
    starts = Starts({0: UserError("first"), 2: UserError("third")})
    with pytest.raises(UserError, match=r"^2 of the sweep's runs failed"):
        compose_runs(["-m", "seed=1,2,3"], starts)
    said = capsys.readouterr().err
    assert "first" in said
    assert "third" in said
    assert "Traceback" not in said


def test_a_sweep_with_more_than_mistakes_is_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    starts = Starts({0: UserError("first"), 2: ZeroDivisionError("third")})
    with pytest.raises(Fault, match=r"^2 of the sweep's runs failed"):
        compose_runs(["-m", "seed=1,2,3"], starts)
    said = capsys.readouterr().err
    assert said.count("Traceback") == 1, "of the failure that nobody foresaw"
    assert "ZeroDivisionError: third" in said


@pytest.mark.parametrize("words", [[], ["-m", "seed=1,2"]])
@pytest.mark.parametrize("error", [KeyboardInterrupt("stop"), SystemExit(3)])
def test_an_interrupt_stops_everything(words: list[str], error: BaseException) -> None:
    starts = Starts({0: error})
    with pytest.raises(type(error)):
        compose_runs(words, starts)
    assert len(starts.configs) == 1


@pytest.mark.parametrize("error", [UserError("mine"), Fault("disk"), ValueError("odd"), ZeroDivisionError()])
def test_the_failure_of_a_single_run_comes_out_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        compose_runs([], Starts({0: error}))
    assert raised.value is error


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("head=sigmod", f"^head=sigmod does not exist; choose one of {', '.join(names('head'))}$"),
        (
            "backbone=resnet",
            f"^backbone=resnet does not exist; choose one of {', '.join(names('backbone'))}$",
        ),
        ("hed=sigmoid", r"^hed is no key of this config; did you mean head\?"),
        ("sed=1", r"^sed is no key of this config; did you mean seed\?"),
        ("dataset.nam=x", r"^dataset\.nam is no key of this config; .*--cfg job"),
        ("optimizer.learning_rate=1", r"^optimizer\.learning_rate is no key of this config"),
        ("head=sigmoid,softmax", "multirun"),
        ("head=[", r"input '\['"),
        ("seed", "seed"),
        ("seed=${nothing}", "nothing"),
        ("trainer.monitor=???", "monitor"),
        ("hydra.run.dir=${nothing}", "nothing"),
        ("+head=softmax", "head"),
    ],
)
def test_an_override_that_cannot_be_read_is_one_sentence(word: str, message: str) -> None:
    starts = Starts()
    with pytest.raises(UserError, match=message) as refused:
        compose_runs([word], starts)
    assert not starts.configs
    assert "\n" not in str(refused.value)
