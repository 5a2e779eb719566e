"""A second head on an inner layer."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.integration.doors import Doors, config, results, table
from tests.integration.test_bad_input import assert_sentence
from tests.integration.test_resume import SAVE, Killed, assert_same_end, kill_at, parts
from tests.integration.tiny_mulan import TEST_ROWS, mulan

AUXILIARY = ("auxiliary=sigmoid", "auxiliary.weight=0.5")


def first_loss(folder: str) -> float:
    events = EventAccumulator(folder, size_guidance={"scalars": 0}).Reload()
    return float(events.Scalars("train/loss")[0].value)


def test_it_changes_training_and_comes_back(doors: Doors, tiny: Path, no_figures: None) -> None:
    words = ("trainer.log_every_steps=1", "backbone.dropout=0", "trainer.max_epochs=1")
    outcome = doors.train(*mulan("run", *AUXILIARY, *words))
    assert (outcome.code, outcome.err) == (0, "")
    assert config(Path("run"))["choices"]["auxiliary"] == "sigmoid"
    assert doors.train(*mulan("plain", *words)).code == 0
    # Both heads start at the training frequencies, with random weights.
    assert first_loss("run") > 1.2 * first_loss("plain")
    own = {key for key in parts(Path("run")) if "auxiliary" in key}
    assert {"network.auxiliary.head.logits.weight", "last.auxiliary.head.logits.weight"} <= own
    assert not any("auxiliary" in key for key in parts(Path("plain")))
    assert "All metrics equal" in doors.evaluate("run=run").out
    assert doors.predict("run=run", "input=data/tiny/test.arff", "output=p.csv").code == 0
    assert len(table(Path("p.csv"))) == TEST_ROWS


def test_a_weight_of_almost_nothing_changes_almost_nothing(
    doors: Doors, tiny: Path, no_figures: None
) -> None:
    plain = ("optimizer=sgd", "trainer.max_epochs=1")
    assert doors.train(*mulan("plain", *plain)).code == 0
    assert doors.train(*mulan("run", *plain, "auxiliary=sigmoid", "auxiliary.weight=1e-12")).code == 0
    found, expected = (results(Path(name))["splits"]["test"]["loss"] for name in ("run", "plain"))
    assert found == pytest.approx(expected, rel=1e-6)


def test_resume(doors: Doors, tiny: Path, no_figures: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doors.train(*mulan("undisturbed", *AUXILIARY)).code == 0
    revive = kill_at(monkeypatch, SAVE, call=4)
    with pytest.raises(Killed):
        doors.train(*mulan("run", *AUXILIARY))
    revive()
    assert doors.train("resume=run").code == 0
    assert_same_end(Path("run"), Path("undisturbed"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["auxiliary.feature=layer7"], ["layer7", "pooled", "layer1"]),
        (["auxiliary.weight=0"], ["auxiliary.weight=0", "greater than 0"]),
        (["auxiliary.weight=-1"], ["auxiliary.weight=-1"]),
        (["auxiliary.feature=3"], ["auxiliary.feature=3"]),
        (["auxiliary.wait=1"], ["auxiliary.wait", "did you mean weight"]),
        (["+auxiliary.wait=1"], ["auxiliary.wait", "did you mean weight"]),
        (["~auxiliary.weight"], ["auxiliary.weight is missing"]),
        (["auxiliary.head.prior_bias=3"], ["auxiliary.head.prior_bias=3"]),
        (["+auxiliary.head.width=3"], ["auxiliary.head.width"]),
        (["auxiliary.loss._target_=mlc.losses.zlpr.ZLPR"], ["is no option of ZLPR"]),
        (["auxiliary.feature=tokens"], ["tokens", "backbone=cnn"]),
        (["auxiliary.weight=heavy"], ["auxiliary.weight=heavy"]),
        (
            [
                "~auxiliary.loss",
                "+auxiliary.loss._target_=mlc.losses.categorical_cross_entropy.CategoricalCrossEntropy",
            ],
            ["auxiliary.loss does not fit this auxiliary.head", "auxiliary.loss=binary_cross_entropy"],
        ),
    ],
)
def test_mistakes(doors: Doors, tiny: Path, words: list[str], message: list[str]) -> None:
    assert_sentence(doors.train(*mulan("run", "auxiliary=sigmoid", *words)), *message)
    assert not Path("run").exists()
