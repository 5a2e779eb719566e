"""Trying another calibrator or rule on a trained network."""

from pathlib import Path

import pytest

from tests.integration.doors import Doors, contents, results
from tests.integration.test_bad_input import assert_sentence
from tests.integration.tiny_mulan import LABELS, mulan


def shown(out: str, title: str) -> list[str]:
    """The cells of a line of the summary table."""
    (line,) = (line for line in out.splitlines() if line.startswith(title))
    return line.removeprefix(title).split()


@pytest.mark.parametrize(
    "words",
    [
        ["decision=expected_f1"],
        ["calibration=isotonic"],
        ["calibration=none", "decision=most_probable"],
        ["calibration=auto"],
        ["decision=auto"],
    ],
    ids=" ".join,
)
def test_tables_are_printed_and_nothing_is_stored(doors: Doors, run: Path, words: list[str]) -> None:
    before = contents(Path.cwd())
    outcome = doors.evaluate("run=run", *words)
    assert (outcome.code, outcome.err) == (0, "")
    assert all(label in outcome.out for label in LABELS)
    assert outcome.out.endswith("Nothing was stored.\n")
    assert contents(Path.cwd()) == before


def test_the_rule_is_fitted_as_in_a_run_of_its_own(doors: Doors, run: Path) -> None:
    words = ("decision=per_label_threshold", "calibration=platt")
    outcome = doors.evaluate("run=run", *words)
    # Epochs are measured without the calibrator, so the same network is the best one.
    assert doors.train(*mulan("other", *words)).code == 0
    splits = results(Path("other"))["splits"]
    assert shown(outcome.out, "micro-F1") == [f"{splits[name]['micro_f1']:.4f}" for name in ("valid", "test")]
    assert shown(outcome.out, "class-wise ECE after calibration") == [
        f"{splits[name]['classwise_ece']:.4f}" for name in ("valid", "test")
    ]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["decision=greedy"], ["decision=greedy", "head=classifier_chain"]),
        (["decision=expected_f2"], ["decision=expected_f2 does not exist", "did you mean expected_f1?"]),
        (["calibration=plat"], ["calibration=plat does not exist", "did you mean platt?"]),
        (["calibration="], ["calibration= does not exist"]),
        (["decison=fixed"], ["did you mean decision"]),
        (["head=softmax"], ["Usage"]),
    ],
)
def test_mistakes(doors: Doors, run: Path, words: list[str], parts: list[str]) -> None:
    before = contents(run)
    assert_sentence(doors.evaluate("run=run", *words), *parts)
    assert contents(run) == before


def test_a_calibrator_that_does_not_fit(doors: Doors, tiny: Path, no_figures: None) -> None:
    assert doors.train(*mulan("shares", "head=softmax", "trainer.max_epochs=1")).code == 0
    assert_sentence(
        doors.evaluate("run=shares", "calibration=temperature"),
        "calibration=temperature",
        "calibration=platt",
    )
