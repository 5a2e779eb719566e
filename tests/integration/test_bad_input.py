"""Every mistake ends in one clear sentence, exit code 2, and nothing left behind."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from mlc.errors import UserError
from mlc.experiment.recipe import read_recipe
from mlc.training.job import config_yaml
from tests.integration.doors import Doors, Outcome, config, contents, digits, program, results
from tests.integration.tiny_mulan import mulan


def assert_sentence(outcome: Outcome, *parts: str) -> None:
    """One line that names these parts."""
    assert outcome.code == 2, outcome
    assert outcome.err.startswith("error: "), outcome.err
    assert outcome.err.count("\n") == 1, outcome.err
    for part in parts:
        assert part in outcome.err, outcome.err


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["heads=sigmoid"], ["heads", "did you mean head"]),
        (["optimizer.rate=1"], ["optimizer.rate"]),
        (["+optimizer.rate=1"], ["optimizer.rate", "lr"]),
        (["+extra=1"], ["extra"]),
        (["head=sigmoit"], ["head=sigmoit", "sigmoid", "softmax", "factorised"]),
        (["head=softmax", "loss=binary_cross_entropy"], ["does not fit", "loss=categorical_cross_entropy"]),
        (["head=sigmoid", "loss=factorised_kl_mse"], ["does not fit", "loss=binary_cross_entropy"]),
        (
            ["head=factorised", "decision=most_probable"],
            ["decision=most_probable", "global_threshold"],
        ),
        (["head=softmax", "calibration=temperature"], ["calibration=temperature", "calibration=platt"]),
        (["decision=top_k", "decision.k=11"], ["k=11"]),
        (["decision=greedy"], ["decision=greedy", "head=classifier_chain"]),
        (["decision=top_k", "decision.k=0"], ["decision.k=0"]),
        (["dataset.valid_fraction=2"], ["dataset.valid_fraction=2", "less than 1"]),
        (["dataset.n_train=0"], ["dataset.n_train=0"]),
        (["dataset.n_train=1"], ["n_train=1"]),
        (["optimizer.lr=-1"], ["-1"]),
        (["optimizer.lr=fast"], ["optimizer.lr=fast"]),
        (["optimizer.lr=nan"], ["optimizer.lr=nan"]),
        (["optimizer.lr=null"], ["optimizer.lr=null"]),
        (["backbone.widths=[]"], ["backbone.widths"]),
        (["backbone.dropout=1.5"], ["backbone.dropout=1.5"]),
        (["trainer.device=tpu"], ["trainer.device=tpu", "cuda"]),
        (["trainer.device=cuda:99"], ["trainer.device=cuda:99", "trainer.device=cpu"]),
        (["trainer.monitor=accuracy"], ["trainer.monitor=accuracy", "micro_f1"]),
        (["trainer.max_epochs=-1"], ["trainer.max_epochs=-1"]),
        (["trainer.batch_size=0"], ["trainer.batch_size=0"]),
        (["trainer.precision=fp8"], ["trainer.precision=fp8", "bf16"]),
        (["seed=-1"], ["seed=-1"]),
        (["seed=abc"], ["seed=abc"]),
        (["optimizer.lr=${nowhere}"], ["nowhere"]),
        (["optimizer.lr=[1"], ["[1"]),
        (["head._target_=os.system"], ["os.system", "refused"]),
        (["sigmoid"], ["sigmoid"]),
        (["head"], ["head"]),
    ],
    ids=lambda value: " ".join(value) if value and "=" in value[0] else None,
)
def test_options(doors: Doors, words: list[str], parts: list[str]) -> None:
    assert_sentence(doors.train(*digits("run"), *words), *parts)
    assert not Path("run").exists()


def test_a_head_that_needs_positions_on_a_table(doors: Doors, tiny: Path) -> None:
    assert_sentence(doors.train(*mulan("run", "head=label_attention")), "tokens", "backbone=cnn")
    assert not Path("run").exists()


def test_missing_data_root(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLC_DATA", "nowhere")
    assert_sentence(doors.train(*mulan("run")), "MLC_DATA=nowhere does not exist")
    assert not list(Path.cwd().iterdir())


def test_missing_data_file(doors: Doors, tiny: Path) -> None:
    (tiny / "test.arff").unlink()
    assert_sentence(doors.train(*mulan("run")), "test.arff is missing")
    assert not Path("run").exists()


@pytest.mark.parametrize("file", ["train.arff", "test.arff", "labels.xml"])
@pytest.mark.parametrize("fraction", [0.0, 0.05, 0.503, 0.97])
def test_a_file_that_is_cut(doors: Doors, tiny: Path, file: str, fraction: float) -> None:
    path = tiny / file
    whole = path.read_bytes()
    path.write_bytes(whole[: math.ceil(fraction * len(whole))])
    assert_sentence(doors.train(*mulan("run")), file)
    assert not Path("run").exists()


def test_files_that_do_not_fit_each_other(doors: Doors, tiny: Path) -> None:
    text = (tiny / "test.arff").read_text(encoding="utf-8")
    (tiny / "test.arff").write_text(text.replace("f0", "g0"), encoding="utf-8")
    assert_sentence(doors.train(*mulan("run")), "test.arff", "train.arff")


def test_a_monitor_that_is_not_defined_here(doors: Doors, tiny: Path) -> None:
    outcome = doors.train(*mulan("run", "head=softmax", "trainer.monitor=nll"))
    assert "trainer.monitor=nll is not defined" in outcome.err
    assert outcome.err.count("\n") == 1
    assert outcome.code == 2
    assert not Path("run").exists(), "the mistake is found before the folder is used"


def test_a_folder_that_holds_a_run_is_left_alone(doors: Doors, run: Path) -> None:
    before = contents(run)
    assert_sentence(doors.train(*mulan("run")), "already holds a run", "resume=run", "hydra.run.dir")
    assert contents(run) == before


@pytest.mark.parametrize("folder", ["taken", "taken/run", "data/tiny/train.arff"])
def test_a_folder_that_cannot_be_made(doors: Doors, tiny: Path, folder: str) -> None:
    Path("taken").write_text("mine", encoding="utf-8")
    assert_sentence(doors.train(*mulan(folder)), folder.split("/run")[0], "cannot be made", "hydra.run.dir=")
    assert Path("taken").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("word", ["resume=nowhere", "resume=", "resume=data", "resume=data/tiny/train.arff"])
def test_resuming_what_is_no_run(doors: Doors, tiny: Path, word: str) -> None:
    before = contents(Path("data"))
    assert_sentence(doors.train(word), "run")
    assert contents(Path("data")) == before


@pytest.mark.parametrize("size", [0, 7, 200, -1])
def test_truncated_checkpoint(doors: Doors, run: Path, size: int) -> None:
    newest = max((run / "checkpoints").glob("step_*.safetensors"))
    expected = results(run)["splits"]
    for path in (newest, run / "classifier.safetensors"):
        path.write_bytes(path.read_bytes()[:size])
    before = contents(run)
    assert_sentence(doors.evaluate("run=run"), "classifier.safetensors", "train the run again")
    words = ("run=run", "input=data/tiny/test.arff", "output=p.csv")
    assert_sentence(doors.predict(*words), "classifier.safetensors", "train the run again")
    assert contents(run) == before
    assert not Path("p.csv").exists()
    outcome = doors.train("resume=run")
    assert (outcome.code, outcome.err) == (0, "")
    assert f"{newest.name} is damaged" in outcome.out
    assert results(run)["splits"] == expected
    assert doors.evaluate("run=run").code == 0


def test_a_flipped_bit_in_a_checkpoint(doors: Doors, run: Path) -> None:
    path = run / "classifier.safetensors"
    data = bytearray(path.read_bytes())
    data[-2] ^= 1
    path.write_bytes(data)
    assert_sentence(doors.evaluate("run=run"), "classifier.safetensors", "checksum")


def test_all_networks_truncated(doors: Doors, run: Path) -> None:
    expected = results(run)["splits"]
    for path in (run / "checkpoints").glob("epoch_*.safetensors"):
        path.write_bytes(path.read_bytes()[:300])
    (run / "results.json").unlink()
    outcome = doors.train("resume=run")
    assert outcome.code == 0
    assert "is written again from the checkpoint after it" in outcome.out
    assert results(run)["splits"] == expected


def test_a_run_that_has_not_finished(doors: Doors, run: Path) -> None:
    (run / "classifier.safetensors").unlink()
    assert_sentence(doors.evaluate("run=run"), "has not finished", "resume=run")


def test_a_config_that_has_been_changed(doors: Doors, run: Path) -> None:
    changed = config(run)
    changed["backbone"]["widths"] = [8]
    (run / "config.yaml").write_text(yaml.safe_dump(changed), encoding="utf-8")
    for outcome in (doors.evaluate("run=run"), doors.train("resume=run", "trainer.max_epochs=3")):
        assert_sentence(outcome, "config.yaml")


@pytest.mark.parametrize("target", ["os.system", "subprocess.Popen", "builtins.eval", "mlc.data.root.Path"])
def test_a_strangers_config_runs_nothing(doors: Doors, run: Path, target: str) -> None:
    original = config(run)
    node = {"_target_": target, "command": "touch executed", "args": "touch executed"}
    changes = dict.fromkeys(set(original) - {"choices", "seed", "init_from", "auxiliary"}, node)
    beside = {
        "feature": "layer1",
        "weight": 1.0,
        "targets": "shared",
        "head": original["head"],
        "loss": original["loss"],
    }
    changes |= {"auxiliary.head": beside | {"head": node}, "auxiliary.loss": beside | {"loss": node}}
    for place, changed in changes.items():
        content = {**original, place.partition(".")[0]: changed}
        with pytest.raises(UserError, match=re.escape(f"{place}._target_={target} is refused")):
            read_recipe(content)
    (run / "config.yaml").write_text(config_yaml(content), encoding="utf-8")
    assert_sentence(doors.train("resume=run"), f"{place}._target_={target} is refused")
    assert_sentence(doors.evaluate("run=run"), f"{place}._target_={target} is refused")
    words = ("run=run", "input=data/tiny/test.arff", "output=p.csv")
    assert_sentence(doors.predict(*words), f"{place}._target_={target} is refused")
    assert not Path("executed").exists()


@pytest.mark.parametrize(
    "text", ["", "- 1\n", "a: [", "!!python/object/apply:os.system ['touch executed']\n", "\x00", "seed: 0\n"]
)
def test_a_broken_config(doors: Doors, run: Path, text: str) -> None:
    (run / "config.yaml").write_text(text, encoding="utf-8")
    assert_sentence(doors.train("resume=run"))
    assert_sentence(doors.evaluate("run=run"))
    assert not Path("executed").exists()


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "run= is missing"),
        (["run="], "run= is missing"),
        (["run=nowhere"], "run=nowhere is no folder"),
        (["run=data"], "is no run"),
        (["run=run", "run=run"], "twice"),
        (["ran=run"], "did you mean run"),
        (["run"], "Usage"),
    ],
)
def test_evaluate(doors: Doors, run: Path, words: list[str], part: str) -> None:
    assert_sentence(doors.evaluate(*words), part)


@pytest.mark.parametrize(
    ("given", "output", "parts"),
    [
        ("nowhere.csv", "p.csv", ["nowhere.csv"]),
        ("data", "p.csv", ["data: tables are read from"]),
        ("rows.txt", "p.csv", ["rows.txt", ".csv"]),
        ("good.csv", "p.txt", ["p.txt", ".jsonl"]),
        ("good.csv", "nowhere/p.csv", ["nowhere", "does not exist"]),
        ("good.csv", "folder.csv", ["folder.csv"]),
        ("narrow.csv", "p.csv", ["narrow.csv", "colour"]),
        ("ragged.csv", "p.csv", ["ragged.csv, line 3"]),
        ("letters.csv", "p.csv", ["letters.csv, line 3", "f1", "'two'"]),
        ("value.csv", "p.csv", ["value.csv, line 2", "colour", "'pink'"]),
        ("twice.csv", "p.csv", ["twice.csv", "f0"]),
        ("empty.csv", "p.csv", ["empty.csv"]),
        ("wide.npy", "p.csv", ["wide.npy", "(3, 9)"]),
        ("cut.npy", "p.csv", ["cut.npy"]),
    ],
)
def test_predict(doors: Doors, run: Path, given: str, output: str, parts: list[str]) -> None:
    header = "f0,f1,f2,f3,colour\n"
    texts = {
        "good.csv": f"{header}1,2,3,4,red\n",
        "rows.txt": f"{header}1,2,3,4,red\n",
        "narrow.csv": "f0,f1,f2,f3\n1,2,3,4\n",
        "ragged.csv": f"{header}1,2,3,4,red\n1,2,3\n",
        "letters.csv": f"{header}1,2,3,4,red\n1,two,3,4,red\n",
        "value.csv": f"{header}1,2,3,4,pink\n",
        "twice.csv": "f0,f0,f1,f2,f3,colour\n1,1,2,3,4,red\n",
        "empty.csv": "",
    }
    for name, text in texts.items():
        Path(name).write_text(text, encoding="utf-8")
    np.save("wide.npy", np.zeros((3, 9)))
    Path("cut.npy").write_bytes(Path("wide.npy").read_bytes()[:-8])
    Path("folder.csv").mkdir()
    before = contents(Path.cwd())
    assert_sentence(doors.predict("run=run", f"input={given}", f"output={output}"), *parts)
    assert contents(Path.cwd()) == before, "an old or half a file must not be left"


def test_a_failed_prediction_keeps_the_old_output(doors: Doors, run: Path) -> None:
    Path("rows.csv").write_text("f0,f1,f2,f3,colour\n1,2,3,4,red\n1,2,3,4,x\n", encoding="utf-8")
    Path("p.csv").write_text("old", encoding="utf-8")
    assert_sentence(doors.predict("run=run", "input=rows.csv", "output=p.csv"), "rows.csv, line 3")
    assert Path("p.csv").read_text(encoding="utf-8") == "old"


def test_a_program_ends_as_the_functions_do(tmp_path: Path) -> None:
    process = program("mlc.train", *digits("run"), "head=sigmoit")
    out, err = process.communicate(timeout=60)
    assert_sentence(Outcome(process.returncode, out, err), "head=sigmoit")
    assert out == ""
    assert not list(tmp_path.iterdir())
