import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

import mlc.evaluate
import mlc.predict
from mlc.errors import Fault, Stopped, UserError
from mlc.experiment.command_line import (
    VERBATIM,
    existing_folder,
    exit_code,
    quote_verbatim,
    read_words,
    take,
)
from mlc.training import processes

PARSER = OverridesParser.create()
PIECES = [
    *"aZ0äß 日,=#[](){}:*~+|<>!?.;&%@^`\"'\\/$-_\t",
    "${",
    "\\${",
    "\\'",
    "\\\\",
    "null",
    "1e-3",
    "true",
    "a,b",
]
TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1),
)


def as_hydra_reads(word: str) -> object:
    """The value after Hydra's override grammar and OmegaConf's interpolation."""
    (override,) = PARSER.parse_overrides([word])
    assert not override.is_sweep_override()
    config = OmegaConf.create({"value": override.value()})
    return OmegaConf.to_container(config, resolve=True)["value"]


@given(TEXTS)
@example("C:\\data\\")
@example("it's")
@example("it\\'s\\\\")
@example("${oc.env:HOME}")
@example("\\${x}")
@example("\\\\${x}\\\\")
@example("${")
@example("a=b,c=[d]#e")
@example(" leading and trailing ")
@example("null")
@example("'")
@example('"quoted"')
@settings(max_examples=300, deadline=None)
def test_a_verbatim_value_comes_through_as_it_was_typed(text: str) -> None:
    (word,) = quote_verbatim([f"dataset.path={text}"])
    assert as_hydra_reads(word) == text


@pytest.mark.parametrize("key", sorted(VERBATIM))
@pytest.mark.parametrize("plus", ["", "+", "++"])
def test_every_verbatim_key_is_quoted_also_when_added(key: str, plus: str) -> None:
    (word,) = quote_verbatim([f"{plus}{key}=a,b c"])
    assert word.startswith(f"{plus}{key}=")
    assert as_hydra_reads(word) == "a,b c"


@pytest.mark.parametrize(
    "word",
    ["head=a,b", "optimizer.lr=1e-3", "-m", "--cfg", "job", "seed=range(3)", "dataset.path", "run=", ""],
)
def test_other_words_are_left_to_hydra(word: str) -> None:
    assert quote_verbatim([word]) == [word]


def test_take() -> None:
    assert take(["a=1", "resume=runs/x=1", "b=2"], "resume") == ("runs/x=1", ["a=1", "b=2"])
    assert take(["a=1", "resumed=2", "resume"], "resume") == (None, ["a=1", "resumed=2", "resume"])
    assert take(["resume="], "resume") == ("", [])
    assert take([], "resume") == (None, [])


def test_take_refuses_a_second_value() -> None:
    with pytest.raises(UserError, match="resume= is given 2 times"):
        take(["resume=a", "resume=a"], "resume")


KEYS = ["run", "input", "output"]


def read(*words: str) -> dict[str, str]:
    return read_words(words, usage="python -m door run=<folder>", known=KEYS, required=["run", "input"])


@given(TEXTS)
def test_words_are_read_as_they_were_typed(text: str) -> None:
    assert read(f"run={text}", "input=b") == {"run": text, "input": "b"}


@pytest.mark.parametrize("word", ["inptu=x", "input", "--help", "x=1", "=x", ""])
def test_a_word_that_is_not_understood_shows_the_usage(word: str) -> None:
    with pytest.raises(UserError) as refused:
        read("run=a", "input=b", word)
    assert str(refused.value).startswith(f"{word} is not understood")
    assert str(refused.value).endswith("Usage: python -m door run=<folder>")


def test_a_misspelt_key_gets_the_nearest_one() -> None:
    with pytest.raises(UserError, match=r"did you mean input\?"):
        read("inptu=x")


@pytest.mark.parametrize("words", [("run=a",), ("run=a", "input="), ()])
def test_a_missing_key_shows_the_usage(words: tuple[str, ...]) -> None:
    missing = "input" if words else "run"
    with pytest.raises(UserError, match=f"{missing}= is missing.*Usage: python -m door"):
        read(*words)


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(UserError, match="run= is given twice"):
        read("run=a", "run=b", "input=c")


def test_existing_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert existing_folder(str(tmp_path), key="run") == tmp_path
    monkeypatch.setenv("HOME", str(tmp_path))
    assert existing_folder("~", key="run") == tmp_path


@pytest.mark.parametrize("name", ["not_there", "file"])
def test_what_is_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"resume=.* is no folder: .*resume=runs/<name>"):
        existing_folder(str(tmp_path / name), key="resume")


def raising(error: BaseException) -> Callable[[], None]:
    def door() -> None:
        raise error

    return door


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("no such file"), 2, "error: no such file\n"),
        (Fault("the disk is full"), 1, "fault: the disk is full\n"),
        (KeyboardInterrupt(), 130, "stopped\n"),
        (KeyboardInterrupt("go on with this"), 130, "stopped; go on with this\n"),
    ],
)
def test_a_failing_door_says_one_sentence(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(raising(error)) == code
    captured = capsys.readouterr()
    assert captured.err == said
    assert captured.out == ""


def test_a_door_that_went_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(lambda: None) == 0
    assert capsys.readouterr().err == ""


def test_what_nobody_foresaw_keeps_its_trace() -> None:
    with pytest.raises(ZeroDivisionError):
        exit_code(raising(ZeroDivisionError()))


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("tags", "tags"),
        ("Größe, €", "Größe, €"),
        ("[a,b c, Größe]", ["a", "b c", "Größe"]),
        ("['a, b','c']", ["a, b", "c"]),
        ("[]", []),
        ("null", None),
    ],
)
def test_columns_are_one_name_or_a_list(value: str, read: object) -> None:
    (word,) = quote_verbatim([f"dataset.labels={value}"])
    assert as_hydra_reads(word) == read


def test_null_is_no_name_where_an_option_may_be_null() -> None:
    assert [as_hydra_reads(word) for word in quote_verbatim(["dataset.weight=null"])] == [None]


@pytest.mark.parametrize(
    ("error", "first", "said"),
    [
        (Fault("full"), True, "process 1: fault: full\n"),
        (UserError("no device"), True, "process 1: error: no device\n"),
        (Fault("full"), False, ""),
        (UserError("no device"), False, ""),
        (OSError(28, "No space left"), False, ""),
        (Stopped("stopped by SIGINT"), True, ""),
        (KeyboardInterrupt(), True, ""),
    ],
)
def test_one_of_several_processes_says_what_the_first_has_not(
    error: BaseException,
    first: bool,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(processes, "is_first_to_say", lambda line: first)
    assert exit_code(raising(error)) > 0
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("door", [mlc.evaluate.evaluate, mlc.predict.predict])
def test_doors_for_one_process_refuse_several(
    door: Callable[[list[str]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    name = door.__module__
    with pytest.raises(UserError, match=f"^{name} works in one process: start it with python -m {name}"):
        door(["run=x"])


@pytest.mark.parametrize("length", [10, 1_000_000])  # in the buffer until the end, and past it
def test_a_reader_that_goes_is_no_fault(
    length: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        assert exit_code(lambda: print("x" * length)) == 0
    monkeypatch.undo()
    assert capsys.readouterr().err == ""


def test_another_pipe_that_breaks_is_a_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(raising(BrokenPipeError(32, "Broken pipe"))) == 1
    assert capsys.readouterr().err.startswith("fault: Broken pipe")
