import re
from functools import cache

import pytest
import torch

import mlc.options
from mlc.calibration.base import Calibrator
from mlc.decisions.base import Decision
from mlc.errors import UserError
from mlc.experiment.options import what_fits_what
from mlc.experiment.recipe import group_names
from mlc.outputs.base import LabelOutput
from tests.contract.grid import LABELS, TARGETS, build, build_loss, fits, head_output, names
from tests.unit.experiment.shipped import brought

SINGLE = "where every training row has exactly one label"
HEADS = pytest.mark.parametrize("head", names("head"))
RULES = sorted({*names("decision")} - {"auto"})
CALIBRATORS = sorted({*names("calibration")} - {"auto"})


@cache
def everything() -> str:
    return what_fits_what(None, None)


def blocks(head: str) -> dict[str, dict[str, list[str]]]:
    """What is said of a head: for each kind of data that it reads in its own way, the names by group."""
    (text,) = re.findall(rf"^head={head}: .*\n((?:  .*\n)+)", everything(), flags=re.MULTILINE)
    found = {}
    for block in text.split("  model ")[1:]:
        model, *lines = block.splitlines()
        groups = (line.strip().partition("=") for line in lines)
        world = "single" if SINGLE in model else "several"
        found[world] = {group: [name.strip() for name in listed.split(",")] for group, _, listed in groups}
    return found


def accepts(part: Calibrator | Decision, output: LabelOutput) -> bool:
    try:
        part.check(output)
    except UserError:
        return False
    return True


def calibrator(name: str) -> Calibrator:
    made: Calibrator = build("calibration", name, n_labels=LABELS)
    return made


def rule(name: str) -> Decision:
    made: Decision = build("decision", name, n_labels=LABELS)
    return made


def linked(head: str, loss: str, world: str) -> LabelOutput:
    with torch.no_grad():
        return build_loss(loss, world).link(head_output(head, world))


@HEADS
def test_every_head_says_which_losses_fit(head: str) -> None:
    for world, found in blocks(head).items():
        assert set(found["loss"]) == {loss for loss in names("loss") if fits(head, loss, world)}
        assert len(found["loss"]) == len(set(found["loss"]))


@HEADS
def test_what_it_says_fits_can_be_fitted_and_decides(head: str) -> None:
    for world, found in blocks(head).items():
        output, y_BL = linked(head, found["loss"][0], world), TARGETS[world]
        for name in found["calibration"]:
            made = calibrator(name)
            made.check(output)
            made.fit(output, y_BL)
            assert made(output).score_logits().shape == y_BL.shape
        calibrated = calibrator(found["calibration"][0])(output)
        for name in found["decision"]:
            made_rule = rule(name)
            made_rule.check(calibrated)
            made_rule.fit(calibrated, y_BL)
            assert made_rule(calibrated).shape == y_BL.shape


@HEADS
def test_what_it_leaves_out_is_refused(head: str) -> None:
    for world, found in blocks(head).items():
        output = linked(head, found["loss"][0], world)
        calibrated = calibrator(found["calibration"][0])(output)
        assert not any(accepts(calibrator(name), output) for name in {*CALIBRATORS} - {*found["calibration"]})
        assert not any(accepts(rule(name), calibrated) for name in {*RULES} - {*found["decision"]})


@HEADS
def test_the_heads_own_loss_comes_first(head: str) -> None:
    for found in blocks(head).values():
        assert found["loss"][0] == brought("head", head)["loss"]


@pytest.mark.parametrize(
    ("head", "world", "calibration", "decision"),
    [
        ("sigmoid", "several", "temperature", "fixed"),
        ("softmax", "several", "platt", "global_threshold"),
        ("softmax", "single", "temperature", "most_probable"),
        ("factorised", "several", "platt", "by_count"),
        ("classifier_chain", "several", "platt", "greedy"),
    ],
)
def test_defaults_come_first(head: str, world: str, calibration: str, decision: str) -> None:
    found = blocks(head)[world]
    assert (found["calibration"][0], found["decision"][0]) == (calibration, decision)


def test_only_softmax_reads_single_labels_in_its_own_way() -> None:
    assert [head for head in names("head") if "single" in blocks(head)] == ["softmax"]


@pytest.mark.parametrize(
    "group", sorted({*group_names(), "experiment"} - {"head", "loss", "decision", "calibration"})
)
def test_every_other_choice_is_listed(group: str) -> None:
    (text,) = re.findall(rf"^{group}=\n((?:  .*\n)+)", everything(), flags=re.MULTILINE)
    assert [line.split()[0] for line in text.splitlines()] == names(group)
    assert all(len(line.split()) > 2 for line in text.splitlines()), "every config says what it is"


def test_one_pair() -> None:
    text = what_fits_what("sigmoid", "asymmetric")
    assert re.search(r"loss= +asymmetric, ", text)
    assert re.search(r"calibration= +platt, ", text), "scores must become probabilities first"
    assert "temperature" not in text
    assert "factorised" not in text.partition("loss=")[0]


def test_one_loss_names_its_heads() -> None:
    (line,) = (line for line in what_fits_what(None, "zlpr").splitlines() if "head= " in line)
    heads = [name.strip() for name in line.partition("=")[2].split(",")]
    assert heads == [head for head in names("head") if fits(head, "zlpr", "several")]


@pytest.mark.parametrize("loss", names("loss"))
def test_every_loss_fits_a_head(loss: str) -> None:
    (line,) = (line for line in what_fits_what(None, loss).splitlines() if "head= " in line)
    assert line.partition("=")[2].strip()


@pytest.mark.parametrize(
    ("head", "loss", "message"),
    [
        ("sigmod", None, r"^head=sigmod does not exist; did you mean sigmoid\?$"),
        (None, "zlrp", r"^loss=zlrp does not exist; did you mean zlpr\?$"),
        ("nothing_like_it_at_all", None, "it has binary_softmax, .*sigmoid"),
        ("softmax", "zlpr", "^loss=zlpr does not fit head=softmax; what fits is categorical_cross_entropy"),
    ],
)
def test_what_does_not_exist_or_fit(head: str | None, loss: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        what_fits_what(head, loss)


def test_the_door(capsys: pytest.CaptureFixture[str]) -> None:
    mlc.options.options(["head=sigmoid", "loss=asymmetric"])
    assert capsys.readouterr().out == what_fits_what("sigmoid", "asymmetric") + "\n"
    with pytest.raises(UserError, match=r"did you mean head\?"):
        mlc.options.options(["hed=sigmoid"])


def test_asking_disturbs_no_random_state() -> None:
    before = torch.get_rng_state()
    what_fits_what("label_networks", None)
    assert torch.equal(torch.get_rng_state(), before)
