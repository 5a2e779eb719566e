"""A training run from the command line to the files it leaves."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mlc.experiment.assemble import read_trained_run
from mlc.training.evaluation import evaluate, predict_split
from tests.integration.doors import Doors, config, digits, results, shipped, small, table
from tests.integration.tiny_mulan import LABELS, TEST_ROWS, TRAIN_ROWS, mulan

METRICS = {
    *("rows", "loss", "nll", "map", "lrap", "ranking_loss", "coverage_error", "one_error", "log_loss"),
    *("micro_f1", "macro_f1", "samples_f1", "micro_precision", "macro_precision"),
    *("micro_recall", "macro_recall", "subset_accuracy", "hamming_loss", "count_mae", "empty_fraction"),
    *(f"{name}_at_{k}" for name in ("precision", "ndcg") for k in (1, 3, 5)),
    *("brier", "classwise_ece", "brier_uncalibrated", "classwise_ece_uncalibrated"),
    "null_reasons",
}
LEVEL_METRICS = {"level_accuracy", "level_mae", "level_exact", "level_quadratic_kappa"}
# Before and after calibration, and defined for every head.
ALWAYS = ("log_loss", "brier", "classwise_ece", "brier_uncalibrated", "classwise_ece_uncalibrated")
VALID_ROWS = 12  # of the training rows of the table
# head: (loss, decision, calibration) that it takes where nothing else is said, on several labels per row
DEFAULTS = {
    "sigmoid": ("binary_cross_entropy", "fixed", "temperature"),
    "softmax": ("categorical_cross_entropy", "global_threshold", "platt"),
    "factorised": ("factorised_kl_mse", "by_count", "platt"),
    "factorised_poisson": ("factorised_kl_poisson", "by_count", "platt"),
    "factorised_negative_binomial": ("factorised_kl_negative_binomial", "by_count", "platt"),
    "factorised_categorical": ("factorised_kl_categorical", "by_count", "platt"),
    "conditional_bernoulli": ("negative_log_likelihood", "fixed", "platt"),
    "binary_softmax": ("binary_cross_entropy", "fixed", "temperature"),
    "label_attention": ("binary_cross_entropy", "fixed", "temperature"),
    "label_networks": ("binary_cross_entropy", "fixed", "temperature"),
    "label_sets": ("negative_log_likelihood", "most_probable", "temperature"),
    "levels": ("negative_log_likelihood", "fixed", "temperature"),
    "classifier_chain": ("negative_log_likelihood", "greedy", "platt"),
}


def test_no_head_is_forgotten() -> None:
    assert sorted(DEFAULTS) == shipped("head")


@pytest.mark.parametrize("head", ["sigmoid", "levels"])
def test_what_a_run_leaves(doors: Doors, head: str) -> None:
    outcome = doors.train(*digits("run", f"head={head}"))
    assert (outcome.code, outcome.err) == (0, "")
    folder = Path("run")
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    (events,) = (name for name in files if name.startswith("events.out.tfevents."))
    assert files == {
        events,
        *(
            ".lock",
            "config.yaml",
            "provenance.json",
            "train.log",
            "results.json",
            "per_label.csv",
            "classifier.safetensors",
        ),
        *(f"checkpoints/step_{step:012}.safetensors" for step in (3, 6)),
        "checkpoints/epoch_000001.safetensors",  # the best one of both states
        *("figures/reliability.png", "figures/label_f1.png"),
    }
    _check_choices(folder, head)
    _check_results(folder, METRICS | LEVEL_METRICS if head == "levels" else METRICS, rows=(170, 30, 50))
    rows = table(folder / "per_label.csv")
    assert [row["label"] for row in rows] == [str(digit) for digit in range(10)]
    for column in ("support", "f1", "ap", "ece", "ece_uncalibrated"):
        assert all(row[column] for row in rows), column
    assert (folder / "train.log").read_text(encoding="utf-8") == outcome.out
    points = EventAccumulator(str(folder)).Reload().Tags()
    assert {"train/loss", "valid/micro_f1", "final/test_micro_f1", "f1/0"} <= set(points["scalars"])
    assert {"figures/reliability", "figures/label_f1"} <= set(points["images"])


def _check_choices(folder: Path, head: str) -> None:
    loss, decision, calibration = DEFAULTS[head]
    expected = {"head": head, "loss": loss, "decision": decision, "calibration": calibration}
    found = config(folder)
    assert expected.items() <= found["choices"].items()
    assert results(folder)["run"]["choices"] == found["choices"]
    for group in ("loss", "decision", "calibration"):
        assert found[group]["_target_"].startswith("mlc."), f"{group} must be named, not left to auto"


def _check_results(folder: Path, metrics: set[str], *, rows: tuple[int, int, int]) -> None:
    found = results(folder)
    assert found["run"]["rows"] == dict(zip(("train", "valid", "test"), rows, strict=True))
    assert found["splits"].keys() == {"valid", "test"}
    for split in found["splits"].values():
        assert split.keys() == metrics
        nulls = {name for name, value in split.items() if value is None}
        assert nulls == split["null_reasons"].keys()
        assert all(reason.strip() for reason in split["null_reasons"].values())
        for name in ALWAYS:
            assert math.isfinite(split[name]), name


def test_softmax_on_one_label_per_row_takes_the_most_probable(
    doors: Doors, tiny_single_label: Path, no_figures: None
) -> None:
    assert doors.train(*mulan("run", "head=softmax")).code == 0
    found = config(Path("run"))["choices"]
    assert (found["decision"], found["calibration"]) == ("most_probable", "temperature")
    assert results(Path("run"))["splits"]["test"]["empty_fraction"] == 0


def test_label_names_and_rows_are_those_of_the_files(run: Path) -> None:
    assert tuple(row["label"] for row in table(run / "per_label.csv")) == LABELS
    rows = results(run)["run"]["rows"]
    assert rows["train"] + rows["valid"] == TRAIN_ROWS
    assert rows["test"] == TEST_ROWS


def test_training_learns(doors: Doors, tiny: Path, no_figures: None) -> None:
    assert doors.train(*mulan("run", "trainer.max_epochs=40", "optimizer.lr=0.01")).code == 0
    assert results(Path("run"))["splits"]["test"]["micro_f1"] > 0.7


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [*((name, "cosine") for name in shipped("optimizer")), *(("adam", name) for name in shipped("schedule"))],
)
def test_every_optimizer_and_every_schedule(
    doors: Doors, tiny: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str, schedule: str
) -> None:
    """Which optimiser does not matter to a schedule, which only multiplies its rate."""
    monkeypatch.setattr("mlc.training.run.finish", lambda *_: None)  # only the epoch matters here
    words = mulan("run", f"optimizer={optimizer}", f"schedule={schedule}", "trainer.max_epochs=1")
    outcome = doors.train(*words)
    assert (outcome.code, outcome.err) == (0, "")
    assert "epoch 1  loss " in outcome.out


@pytest.mark.parametrize("decision", sorted({*shipped("decision")} - {"auto"}))
def test_every_decision_rule_by_override(doors: Doors, tiny: Path, no_figures: None, decision: str) -> None:
    words = {"top_k": ["decision.k=2"], "greedy": ["head=classifier_chain"]}.get(decision, [])
    assert doors.train(*mulan("run", f"decision={decision}", "calibration=none", *words)).code == 0
    assert config(Path("run"))["choices"]["decision"] == decision


@pytest.mark.parametrize("calibration", sorted({*shipped("calibration")} - {"auto"}))
def test_every_calibrator_by_override(doors: Doors, tiny: Path, no_figures: None, calibration: str) -> None:
    assert doors.train(*mulan("run", f"calibration={calibration}")).code == 0
    assert config(Path("run"))["choices"]["calibration"] == calibration
    test = results(Path("run"))["splits"]["test"]
    assert (test["brier"] == test["brier_uncalibrated"]) == (calibration == "none")


def test_bf16_trains_with_other_rounding(doors: Doors, no_figures: None) -> None:
    values = {}
    for precision in ("fp32", "bf16"):
        assert doors.train(*digits(precision, f"trainer.precision={precision}")).code == 0
        values[precision] = results(Path(precision))["splits"]["test"]["loss"]
        assert results(Path(precision))["run"]["precision"] == precision
    assert values["bf16"] != values["fp32"]
    assert values["bf16"] == pytest.approx(values["fp32"], rel=0.02)


def test_no_epochs_measures_the_untrained_network(doors: Doors, tiny: Path, no_figures: None) -> None:
    assert doors.train(*mulan("run", "trainer.max_epochs=0")).code == 0
    found = results(Path("run"))["run"]
    assert (found["epochs"], found["best_epoch"], found["examples_per_s"]) == (0, 0, None)


@pytest.mark.parametrize("head", DEFAULTS)
def test_every_head_and_streaming_gives_the_same_metrics(
    doors: Doors, tiny: Path, no_figures: None, head: str
) -> None:
    words = ["trainer.eval_batch_size=7", *(["head.max_sets=8"] if head == "label_sets" else [])]
    outcome = doors.train(*small("run", head, *words))
    assert (outcome.code, outcome.err) == (0, "")
    _check_choices(Path("run"), head)
    pictures = head == "label_attention"
    rows = (170, 30, 50) if pictures else (TRAIN_ROWS - VALID_ROWS, VALID_ROWS, TEST_ROWS)
    _check_results(Path("run"), METRICS | LEVEL_METRICS if head == "levels" else METRICS, rows=rows)
    exact = results(Path("run"))
    assert "exact" in exact["run"]["evaluation"]

    # The limit is less than what any head gives for all test rows (at least 30 x 4 numbers of 5 bytes).
    trained = read_trained_run(Path("run"))
    settings = replace(trained.recipe.settings, memory_limit_mb=0.00058)
    test = trained.recipe.data(trained.facts.preparation).test
    predictions = predict_split(trained.classifier.network, test, settings, "cpu")
    assert "histograms" in predictions.why
    streaming = evaluate(trained.classifier, predictions)
    expected, found = exact["splits"]["test"], dict(streaming.metrics)
    bound = found.pop("map_error_bound")
    assert bound is not None
    null_reasons = expected.pop("null_reasons")
    assert found.keys() == expected.keys()
    assert found["map"] is not None
    assert abs(found.pop("map") - expected.pop("map")) <= bound + 1e-9
    assert streaming.reasons == null_reasons
    for name, value in expected.items():
        assert found[name] == (None if value is None else pytest.approx(value, rel=1e-5, abs=1e-6)), name


@pytest.mark.parametrize("limit_mb", ["0.0001", "1e-9"])  # the second is less than a byte
def test_streaming_validation_fits_on_a_sample_and_says_so(
    doors: Doors, tiny: Path, no_figures: None, limit_mb: str
) -> None:
    outcome = doors.train(*mulan("run", f"trainer.memory_limit_mb={limit_mb}", "trainer.eval_batch_size=5"))
    assert (outcome.code, outcome.err) == (0, "")
    found = results(Path("run"))
    rows = found["run"]["rows"]["valid"]
    assert f" of {rows} validation rows" in found["run"]["fit"]
    assert f"fitted on {rows} of" not in found["run"]["fit"]
    assert found["splits"]["valid"]["map_error_bound"] >= 0
